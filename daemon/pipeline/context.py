"""What every stage is given: settings, folders, the store, the clock, the model process, and somebody to tell."""

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel

from daemon.child import ModelProcess, OnProgress, Report, ignore_progress
from daemon.errors import UnavailableError
from daemon.home import Home
from daemon.settings import Settings
from graph.schema import Behaviour
from store.clock import Clock
from store.engine import Store
from store.models import ModelRow, current_model


def ignore_words(_: str) -> None:
    """Says nothing."""


def worker_name() -> str:
    """Who holds a lease: host, boot and process, so that another boot's lease is known to be dead."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    return f"{socket.gethostname()}:{boot.read_text().strip() if boot.exists() else '-'}:{os.getpid()}"


@dataclass(frozen=True)
class Context:
    """Everything a stage may use; it holds no state of its own."""

    settings: Settings
    home: Home
    store: Store
    process: ModelProcess
    on_progress: OnProgress = ignore_progress
    say: Callable[[str], None] = ignore_words
    stopping: Callable[[], bool] = field(default=lambda: False)

    @property
    def clock(self) -> Clock:
        """The store's clock: there is only one."""
        return self.store.clock

    def ask(self, operation: str, request: BaseModel, report: type[Report]) -> Report:
        """One request to the model process, given up when the daemon is told to stop."""
        return self.process.ask(operation, request, report, on_progress=self.on_progress, beat=self.beat)

    def beat(self) -> None:
        """Called at least once a second during model work.

        Raises:
            KeyboardInterrupt: The daemon was told to stop.
        """
        if self.stopping():
            raise KeyboardInterrupt

    def now(self) -> int:
        """UTC milliseconds."""
        return self.store.clock.wall_ms()

    def model(self) -> ModelRow:
        """The model whose vectors are extracted and whose weights are trained.

        Raises:
            UnavailableError: None was added yet.
        """
        with self.store.read() as conn:
            row = current_model(conn)
        if row is None:
            raise UnavailableError(f"no model yet; `reflexd model add {self.settings.model}` provides one")
        return row

    def behaviours(self) -> list[Behaviour]:
        """Built-in behaviours, then those of the configuration (which may redefine or switch off a built-in one)."""
        return self.settings.known_behaviours()
