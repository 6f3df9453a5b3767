"""Codex CLI rollouts, `~/.codex/sessions/YYYY/MM/DD/rollout-*.jsonl`: what was asked, answered, stopped, rolled back.

    open_appended ─▶ lines ─▶ Rollout ─▶ batches, each ending where a turn begins

See `graph.sources.codex_turns` for what the records mean.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from graph.sources.appended import Appended, open_appended
from graph.sources.base import BATCH_NODES, DEFAULT_MAX_BYTES, Batch, Cursor, Problem
from graph.sources.codex_turns import Rollout, TurnStart
from graph.sources.log_tree import read_tree

SCOPE = "codex"

_NAME = re.compile(r"rollout-.*\.jsonl")
_SESSION = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


@dataclass(frozen=True)
class CodexSource:
    """A rollout, or every `rollout-*.jsonl` in a folder tree."""

    max_bytes: int = DEFAULT_MAX_BYTES
    kind: str = "codex"

    def read(self, path: Path, seen: Mapping[str, Cursor]) -> Iterator[Batch]:
        """What was appended; see `MemorySource.read`."""
        yield from read_tree(path, seen, SCOPE, lambda name: _NAME.fullmatch(name) is not None, self._read_log)

    def _read_log(self, path: Path, folder: Path, unit: str, cursor: Cursor | None) -> Iterator[Batch]:
        log = open_appended(path, folder, cursor, self.max_bytes)
        if log is None:
            return
        try:
            yield from _batches(log, unit, _start(cursor) if cursor and log.start else TurnStart(session=_named(unit)))
        finally:
            log.close()


def _batches(log: Appended, unit: str, start: TurnStart) -> Iterator[Batch]:
    rollout = Rollout(str(log.path), start)
    done = start.offset
    for line in log.lines():
        if rollout.take(line) and len(rollout.tell.nodes) >= BATCH_NODES and rollout.safe.offset > done:
            done = rollout.safe.offset
            yield _batch(log, unit, rollout)
            rollout.tell_again()
    yield _batch(log, unit, rollout)


def _batch(log: Appended, unit: str, rollout: Rollout) -> Batch:
    cursor = _cursor(log, rollout.safe)
    too_long = [problem for problem in log.problems if int(problem.where.rpartition(":")[2]) < cursor["offset"]]
    log.problems.clear()
    unknown, malformed = rollout.left_behind()
    problems = (*too_long, *(Problem(f"{log.path}:{offset}", what) for offset, what in malformed))
    told = rollout.tell
    return Batch(unit, SCOPE, cursor, tuple(told.nodes.values()), tuple(told.edges), problems=problems, unknown=unknown)


def _cursor(log: Appended, place: TurnStart) -> dict[str, Any]:
    state = asdict(place)
    del state["offset"]
    return {**log.entry(place.offset), "state": state}


def _start(cursor: Cursor) -> TurnStart:
    state = cursor["state"]
    pairs = {name: tuple((pair[0], pair[1]) for pair in state[name]) for name in ("live", "rolled")}
    return TurnStart(**{**state, **pairs, "offset": cursor["offset"]})


def _named(unit: str) -> str:
    """The session by the name of its file, for a rollout without `session_meta`."""
    found = _SESSION.search(unit)
    return found[0] if found else unit
