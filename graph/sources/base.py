"""What every memory source promises, whatever its format."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from graph.memory import MemoryGraph
from graph.records import Problem

__all__ = ["DEFAULT_MAX_BYTES", "Cursor", "MemorySource", "Problem", "Reading"]

Cursor = Mapping[str, Any]
"""Where the last read ended, as plain JSON; it is stored in the transaction that stores what was read."""

DEFAULT_MAX_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Reading:
    """What a look at a source found. `graph` is None exactly when nothing changed; `problems` were left out of it."""

    changed: bool
    graph: MemoryGraph | None
    cursor: dict[str, Any]
    problems: tuple[Problem, ...] = ()


class MemorySource(Protocol):
    """One format. A source reads; it never writes, locks, or follows a link out of what it was given."""

    @property
    def kind(self) -> str:
        """The name by which a person asks for it."""

    def read(self, path: Path, cursor: Cursor | None) -> Reading:
        """What is in `path` now, unless that is what `cursor` saw.

        Raises:
            GraphError: It cannot be read; nothing was changed, and the next look may succeed.
        """
