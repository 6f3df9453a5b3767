"""What an attempt has finished, one file a step, so that the next attempt goes on instead of starting again.

    <attempt>/checkpoint/<name>.pt        torch.save of {"inputs", "milestone", "value"}; loads with weights_only=True

A record is tensors, numbers, strings, lists and dicts. It is never changed, only replaced by rename, so a later attempt
may link it. A record made for other inputs, or torn, is no record.
"""

import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.serialization import get_unsafe_globals_in_checkpoint

from daemon.training.durable import write_file

FOLDER = "checkpoint"
KEEP = 2

Milestone = Callable[[int], None]
"""Called whenever a record is durable, with a number that only grows within one job."""


class Ledger:
    """The durable records of one attempt, and the count of all that were ever made for the job (its milestone)."""

    def __init__(self, attempt: Path, inputs: str, milestone: Milestone) -> None:
        self.folder = attempt / FOLDER
        self.inputs = inputs
        self._report = milestone
        self.milestone = max([self._of(path) for path in self.folder.glob("*.pt")], default=0)

    def adopt(self, earlier: Path) -> str:
        """Take over the records in the `earlier` attempt's folder; says in one line what came of it."""
        taken = [path for path in sorted((earlier / FOLDER).glob("*.pt")) if self._adopt(path)]
        if not taken:
            return f"{earlier}: no checkpoint for these inputs; started from the beginning"
        self._report(self.milestone)
        return f"{earlier}: went on after milestone {self.milestone}"

    def recall(self, name: str, compute: Callable[[], Any], replacing: str = "") -> Any:
        """The value of step `name`: read if it was finished before, else computed and made durable.

        The running records of the series `replacing` are then no longer needed, and go.
        """
        record = self._read(self.folder / f"{name}.pt")
        if record is not None:
            return record["value"]
        value = compute()
        self.save(name, value)
        for path in self._steps(replacing) if replacing else []:
            path.unlink()
        return value

    def save(self, name: str, value: Any) -> None:
        """Make a record durable, then report the milestone.

        Raises:
            FullError: the disk is full or the folder cannot be written.
        """
        record = {"inputs": self.inputs, "milestone": self.milestone + 1, "value": value}
        write_file(self.folder / f"{name}.pt", lambda path: torch.save(record, path))
        self.milestone += 1
        self._report(self.milestone)

    def save_step(self, series: str, step: int, value: Any) -> None:
        """A record of a running loop: the last two are kept."""
        self.save(f"{series}-{step:06d}", value)
        for path in self._steps(series)[:-KEEP]:
            path.unlink()

    def last_step(self, series: str) -> Any:
        """The newest readable record of `series`, or None."""
        for path in reversed(self._steps(series)):
            record = self._read(path)
            if record is not None:
                return record["value"]
        return None

    def _steps(self, series: str) -> list[Path]:
        return sorted(self.folder.glob(f"{series}-[0-9]*.pt"))

    def _of(self, path: Path) -> int:
        record = self._read(path)
        return 0 if record is None else int(record["milestone"])

    def _read(self, path: Path) -> dict[str, Any] | None:
        """The record, or None where there is none, it is torn, or it was made for other inputs."""
        try:
            with zipfile.ZipFile(path) as archive:
                whole = archive.testzip() is None  # torch does not look at the checksums that it writes
            if not whole or get_unsafe_globals_in_checkpoint(path):
                return None
            record = torch.load(path, weights_only=True, map_location="cpu")
        except (OSError, EOFError, RuntimeError, ValueError, zipfile.BadZipFile):
            return None
        if not isinstance(record, dict) or record.get("inputs") != self.inputs:
            return None
        return record

    def _adopt(self, path: Path) -> bool:
        record = self._read(path)
        own = self.folder / path.name
        if record is None or own.exists():
            return False
        write_file(own, lambda partial: _link(path, partial))
        self.milestone = max(self.milestone, int(record["milestone"]))
        return True


def _link(source: Path, target: Path) -> None:
    """A second name for the same bytes; a copy where the disk is another one."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
