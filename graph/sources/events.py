"""The log that an agent writes itself, JSON Lines (`graph.events`): a file, or a folder tree of *.jsonl.

    direction    direction:ID ─part_of▶ session:S, ─follows▶ response:ID
    response     response:ID ─responds_to▶ direction:ID, ─proposes▶ proposal:ID, ─part_of▶ session:S
    outcome      response:ID ─accepted_by | rejected_by | answered_by▶ outcome:ID, correction:ID ─corrects▶ response:ID
    label        response:ID ─instance_of▶ behaviour:NAME
    preference   preference:ID ─prefers | avoids▶ behaviour:NAME
    pattern      pattern:NAME

Every line stands alone, so the safe point is the end of the last whole line. What an event refers to may have been told
in an earlier batch, or come in a later one: edges have open ends. `behaviour:NAME` has a name and no cues, so that a
label never redefines a pattern. All files of one source are one scope, `events:PATH`: a log may be rotated within its
folder and refer to what was told before. The same log in two places is two memories.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from graph.events import (
    MAX_LINE,
    DirectionEvent,
    Event,
    EventError,
    LabelEvent,
    OutcomeEvent,
    PatternEvent,
    PreferenceEvent,
    ResponseEvent,
    line_id,
    read_event,
)
from graph.schema import EdgeKind, NodeKind
from graph.sources.appended import Appended, Line, open_appended
from graph.sources.base import BATCH_NODES, DEFAULT_MAX_BYTES, Batch, Cursor, Problem
from graph.sources.log_tree import read_tree
from graph.sources.telling import Telling, bounded

_BOM = b"\xef\xbb\xbf"
_NAMES = 50
_NAME = 60
_ENDS = {
    "accepted": EdgeKind.ACCEPTED_BY,
    "rejected": EdgeKind.REJECTED_BY,
    "corrected": EdgeKind.REJECTED_BY,
    "neutral": EdgeKind.ANSWERED_BY,
}


@dataclass(frozen=True)
class EventsSource:
    """Event logs that agents append to."""

    max_bytes: int = DEFAULT_MAX_BYTES
    kind: str = "events"

    def read(self, path: Path, seen: Mapping[str, Cursor]) -> Iterator[Batch]:
        """New events in `path`, a log or a folder tree of *.jsonl, about `BATCH_NODES` nodes a batch.

        A malformed line, or one of more than 1 MiB, is a problem; unknown events and keys are counted by name.

        Raises:
            SourceMissingError: There is nothing at `path`.
            GraphError: `path` is a file that cannot be read.
        """
        root = Path(os.path.abspath(path))  # noqa: PTH100 - a scope must not depend on `..`, nor on where links lead
        scope = f"{self.kind}:{root}"

        def read_log(file: Path, folder: Path, unit: str, cursor: Cursor | None) -> Iterator[Batch]:
            log = open_appended(file, folder, cursor, min(MAX_LINE, self.max_bytes))
            if log is not None:
                with closing(log):
                    yield from _batches(log, unit, scope)

        return read_tree(root, seen, scope, lambda name: name.endswith(".jsonl"), read_log)


def _batches(log: Appended, unit: str, scope: str) -> Iterator[Batch]:
    page, end, told = _Page(str(log.path), scope), log.start, 0
    for line in log.lines():
        end = line.offset
        # Too long a line is told when the cursor passes it, so with the line after it.
        page.problems.extend(log.problems[told:])
        told = len(log.problems)
        if page.full:
            yield page.batch(unit, log.entry(end))
            page = _Page(str(log.path), scope)
        page.take(line)
        end = line.offset + len(line.data) + 1
    yield page.batch(unit, log.entry(end))


@dataclass
class _Page:
    """What the lines of one batch say."""

    file: str
    scope: str
    telling: Telling = field(init=False)
    problems: list[Problem] = field(default_factory=list)
    unknown: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.telling = Telling(self.file)

    @property
    def full(self) -> bool:
        return len(self.telling.nodes) + len(self.problems) >= BATCH_NODES or len(self.telling.edges) >= 4 * BATCH_NODES

    def take(self, line: Line) -> None:
        """One line. A blank one says nothing."""
        data = (line.data.removeprefix(_BOM) if line.offset == 0 else line.data).strip()
        if not data:
            return
        try:
            event, unknown = _decoded(data)
        except EventError as error:
            self.problems.append(Problem(f"{self.file}:{line.offset}", f"{error}; left out"))
            return
        for name in unknown:
            self._count(name)
        if event is not None:
            self._tell(event, getattr(event, "id", None) or line_id(data), line.offset)

    def _count(self, name: str) -> None:
        name = name[:_NAME]
        if name not in self.unknown and len(self.unknown) >= _NAMES:
            name = "…"
        self.unknown[name] = self.unknown.get(name, 0) + 1

    def batch(self, unit: str, cursor: Cursor) -> Batch:
        """The batch that commits with `cursor`."""
        told = self.telling
        nodes = tuple(told.nodes.values())
        return Batch(unit, self.scope, cursor, nodes, tuple(told.edges), False, tuple(self.problems), self.unknown)

    def _tell(self, event: Event, own: str, place: int) -> None:
        match event:
            case DirectionEvent():
                follows = None if event.follows is None else f"response:{event.follows}"
                session = self._session(event.session)
                self.telling.direction(f"direction:{own}", event.text, event.ts, session, place, follows, native_id=own)
            case ResponseEvent():
                self._response(event, own, place)
            case OutcomeEvent():
                self._outcome(event, own, place)
            case PreferenceEvent():
                node = self.telling.preference(f"preference:{own}", event.text, event.ts, place, native_id=own)
                self._wish(node, event.prefers, EdgeKind.PREFERS, event.ts)
                self._wish(node, event.avoids, EdgeKind.AVOIDS, event.ts)
            case PatternEvent():
                self._pattern(event, place)
            case LabelEvent():
                weight = {} if event.weight is None else {"weight": event.weight}
                self.telling.edge(
                    f"response:{event.response}",
                    self._behaviour(event.behaviour),
                    EdgeKind.INSTANCE_OF,
                    event.ts,
                    pole=event.pole,
                    method="marker",
                    **weight,
                )

    def _session(self, session: str) -> str:
        return self.telling.session(session, file="")  # it may span files, and must be the same in each

    def _response(self, event: ResponseEvent, own: str, place: int) -> None:
        node = f"response:{own}"
        session, to = self._session(event.session), f"direction:{event.direction}"
        self.telling.response(node, event.text, event.ts, session, place, to, native_id=own)
        if event.proposal is not None:
            self.telling.proposal(f"proposal:{own}", event.proposal, event.ts, node, place, native_id=own)

    def _outcome(self, event: OutcomeEvent, own: str, place: int) -> None:
        of, kind = f"response:{event.response}", _ENDS[event.polarity]
        self.telling.outcome(
            f"outcome:{own}", kind, of, event.signal, event.words or "", event.ts, place, native_id=own
        )
        if event.weight is not None:  # it is the edge just told that weighs less
            self.telling.edges[-1]["weight"] = event.weight
        correction = event.correction or (event.words if event.polarity == "corrected" else None)
        if correction is not None:
            self.telling.correction(f"correction:{own}", correction, event.ts, of, place, native_id=own)

    def _wish(self, preference: str, behaviour: str | None, kind: EdgeKind, ts: object) -> None:
        if behaviour is not None:
            self.telling.edge(preference, self._behaviour(behaviour), kind, ts)

    def _behaviour(self, name: str) -> str:
        node_id = f"behaviour:{name}"
        self.telling.nodes[node_id] = {"id": node_id, "kind": NodeKind.PATTERN, "name": name, "native_id": name}
        return node_id

    def _pattern(self, event: PatternEvent, place: int) -> None:
        node_id = f"pattern:{event.name}"
        said = event.model_dump(exclude_none=True, include={"positive", "negative", "positive_cues", "negative_cues"})
        self.telling.nodes[node_id] = {
            "id": node_id,
            "kind": NodeKind.PATTERN,
            "name": event.name,
            "native_id": event.name,
            "text": bounded(event.description or ""),
            "ts": event.ts,
            "file": self.file,
            "place": place,
            **said,
        }


def _decoded(data: bytes) -> tuple[Event | None, tuple[str, ...]]:
    try:
        read = read_event(orjson.loads(data))
    except orjson.JSONDecodeError as error:
        raise EventError(f"not JSON ({error.msg} at character {error.pos})") from None
    return read.event, read.unknown
