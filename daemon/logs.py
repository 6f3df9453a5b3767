"""Structured logs on standard error: JSON lines for the journal, key=value for a terminal. Levels as in syslog.

Under systemd each line begins with `<N>`, the priority that journald takes off again (sd-daemon(3)). What libraries log
through `logging` comes out in the same form.
"""

import logging
import os
import sys
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor, WrappedLogger

_PRIORITY = {"debug": 7, "info": 6, "warning": 4, "error": 3, "exception": 3, "critical": 2}


def configure_logs(level: int = logging.INFO) -> None:
    """Send every log line to standard error, in the form that suits who reads it. Call it once, at the start."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.UnicodeDecoder(),
    ]
    form = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_rendering()],
    )
    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter(form)
    root = logging.getLogger()
    root.handlers[:] = [lines]
    root.setLevel(level)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def in_journal() -> bool:
    """Whether standard error goes to journald."""
    return "JOURNAL_STREAM" in os.environ


def _rendering() -> "list[Processor]":
    if in_journal():
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(), _with_priority]
    return [
        structlog.processors.format_exc_info,
        structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event"], drop_missing=True),
    ]


def _with_priority(_: "WrappedLogger", method: str, line: "EventDict | str") -> str:
    return f"<{_PRIORITY.get(method, 6)}>{line}"
