"""Progress of long work: bars on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from daemon.child import OnProgress, ignore_progress
from daemon.protocol import Progress

_AGAIN_AFTER_S = 3600.0


class Remarks:
    """Says each remark once an hour: stages look again and again, and mostly find the same.

    `seconds` is a monotonic clock.
    """

    def __init__(self, out: Callable[[str], object], seconds: Callable[[], float] = time.monotonic) -> None:
        self._out = out
        self._seconds = seconds
        self._said: dict[str, float] = {}

    def __call__(self, text: str) -> None:
        """Say `text`, unless it was said within the last hour."""
        now = self._seconds()
        self._said = {said: when for said, when in self._said.items() if now - when < _AGAIN_AFTER_S}
        if text not in self._said:
            self._said[text] = now
            self._out(text)


@dataclass(frozen=True)
class Display:
    """Where progress and remarks go."""

    on_progress: OnProgress
    say: Callable[[str], None]


@dataclass
class _Bars:
    """One bar for each stage of the model's work, removed when the next one starts."""

    progress: Any
    tasks: dict[str, Any] = field(default_factory=dict)

    def __call__(self, step: Progress) -> None:
        if step.stage not in self.tasks:
            for task in self.tasks.values():
                self.progress.remove_task(task)
            self.tasks = {step.stage: self.progress.add_task(step.stage, total=None)}
        self.progress.update(
            self.tasks[step.stage],
            completed=step.done,
            total=step.total or None,
            description=f"{step.stage} {step.note}",
        )


@dataclass
class _Lines:
    """For logs and pipes: a line at each stage's start and end."""

    last: str = ""

    def __call__(self, step: Progress) -> None:
        if step.stage != self.last:
            self.last = step.stage
            print(f"  {step.stage} …", flush=True)  # noqa: T201 - this is the display


@contextmanager
def display(quiet: bool = False) -> Iterator[Display]:
    """Bars on a terminal, lines elsewhere, nothing when `quiet`."""
    if quiet:
        yield Display(ignore_progress, lambda _: None)
        return
    if not sys.stdout.isatty():
        yield Display(_Lines(), Remarks(lambda text: print(text, flush=True)))  # noqa: T201
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as RichProgress

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with RichProgress(*columns, console=Console(highlight=False), transient=True) as progress:
        yield Display(_Bars(progress), Remarks(lambda text: progress.console.print(text, markup=False)))
