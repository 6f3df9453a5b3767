"""What every memory source promises, whatever its format.

    read(path, {unit: cursor}) ─▶ batches ─▶ one store transaction a batch: its nodes, its edges, its unit's cursor

Killed between two batches, the next read goes on where the last committed one ended; a batch read twice adds nothing,
for a node is known by its scope and id. So memory stays flat however large the source is, and a change costs what
changed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from graph.records import Problem

__all__ = ["BATCH_NODES", "DEFAULT_MAX_BYTES", "Batch", "Cursor", "MemorySource", "Problem"]

Cursor = Mapping[str, Any]
"""Where the last read of a unit ended, as plain JSON."""

DEFAULT_MAX_BYTES = 64 * 2**20

BATCH_NODES = 2_000
"""About how many nodes a batch of an appended file holds."""


@dataclass(frozen=True)
class Batch:
    """What one look at a unit found, small enough to be held.

    Attributes:
        unit: The file within the source (a relative path), or "" for the source as a whole.
        scope: Within one scope an id means one thing, in whichever unit or source it is told. `claude-code` for records
            with ids that are unique everywhere; the kind and path where ids are only the file's own.
        cursor: What the next read of this unit is given; it commits with the rows. None: the unit is no more.
        nodes: Raw nodes, {"id", "kind", "text", "ts", "actor", ...}: see `graph.records`.
        edges: Raw edges, {"source", "target", "kind", ...}; an end may be a node that the store knows already.
        whole: These are all that the unit says: what it said before and says no more is gone.
        problems: What was left out, and where.
        unknown: Record types that are not understood, and how many of each lie between the last cursor and this one.
    """

    unit: str
    scope: str
    cursor: Cursor | None
    nodes: tuple[Mapping[str, Any], ...] = ()
    edges: tuple[Mapping[str, Any], ...] = ()
    whole: bool = False
    problems: tuple[Problem, ...] = ()
    unknown: Mapping[str, int] = field(default_factory=dict)


class MemorySource(Protocol):
    """One format. A source reads; it never writes, locks, or follows a link out of what it was given."""

    @property
    def kind(self) -> str:
        """The name by which a person asks for it."""

    def read(self, path: Path, seen: Mapping[str, Cursor]) -> Iterator[Batch]:
        """What changed in `path` since `seen`, the cursors by unit that earlier batches left; nothing when nothing did.

        A file of many that cannot be read is a batch with the cursor it had and a problem, so that it does not stop the
        others.

        Raises:
            GraphError: Nothing of it can be read; what is known stays, and the next look may succeed.
        """
