"""aider's chat history, `.aider.chat.history.md`: what was asked and answered, what was undone or confirmed.

    open_appended ─▶ Parts (header, typed, tool, said) ─▶ History ─▶ batches, each ending where a turn begins

See `graph.sources.aider_text` for how parts are told apart, `graph.sources.aider_turns` for what they mean.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graph.sources.aider_text import Parts
from graph.sources.aider_turns import History, TurnStart
from graph.sources.appended import Appended, open_appended
from graph.sources.base import BATCH_NODES, DEFAULT_MAX_BYTES, Batch, Cursor
from graph.sources.log_tree import read_tree

HISTORY = ".aider.chat.history.md"
SCOPE = "aider"

_MAX_LINE = 4 * 2**20


@dataclass(frozen=True)
class AiderSource:
    """A chat history, or every `.aider.chat.history.md` in a folder tree."""

    max_bytes: int = DEFAULT_MAX_BYTES
    kind: str = "aider"

    def read(self, path: Path, seen: Mapping[str, Cursor]) -> Iterator[Batch]:
        """What was appended; see `MemorySource.read`."""
        yield from read_tree(path, seen, SCOPE, lambda name: name == HISTORY, self._read_log)

    def _read_log(self, path: Path, folder: Path, unit: str, cursor: Cursor | None) -> Iterator[Batch]:
        log = open_appended(path, folder, cursor, min(self.max_bytes, _MAX_LINE))
        if log is None:
            return
        try:
            yield from _batches(log, unit, _start(cursor) if cursor and log.start else TurnStart())
        finally:
            log.close()


def _batches(log: Appended, unit: str, start: TurnStart) -> Iterator[Batch]:
    parts = Parts(log.lines(), start.number, start.stripped)
    history = History(str(log.path), start, parts)
    doubted: TurnStart | None = None
    done = start.offset
    for part in parts:
        if parts.doubt is not None:
            doubted = doubted or history.safe
        began = history.take(part) and history.safe.offset > done
        if began and doubted is None and len(history.tell.nodes) >= BATCH_NODES:
            done = history.safe.offset
            yield _batch(log, unit, history, _cursor(log, history.safe, at_end=False))
            history.tell_again()
    if parts.doubt is not None:
        doubted = doubted or history.safe
    yield _batch(log, unit, history, _cursor(log, doubted or history.safe, at_end=True))


def _batch(log: Appended, unit: str, history: History, cursor: Cursor) -> Batch:
    behind = tuple(problem for problem in log.problems if int(problem.where.rpartition(":")[2]) < cursor["offset"])
    log.problems.clear()
    told = history.tell
    return Batch(unit, SCOPE, cursor, tuple(told.nodes.values()), tuple(told.edges), problems=behind)


def _cursor(log: Appended, place: TurnStart, at_end: bool) -> dict[str, Any]:
    entry = log.entry(place.offset)
    state = {name: value for name, value in vars(place).items() if name != "offset"}
    # Half way through, the file must not look as if it had been read to its end, however far one looked ahead.
    size = entry["size"] if at_end else place.offset
    return {**entry, "size": size, "state": {**state, "commits": [list(pair) for pair in place.commits]}}


def _start(cursor: Cursor) -> TurnStart:
    state = cursor["state"]
    commits = tuple((commit, response) for commit, response in state["commits"])
    return TurnStart(**{**state, "offset": cursor["offset"], "commits": commits})
