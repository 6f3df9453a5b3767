"""A Claude Code conversation told turn by turn: what was asked, what was said first and last, and how it ended.

    prompt ─▶ said, said, [call ─▶ rejected, "because ..." ─▶ said], said ─▶ prompt
       direction   first        proposal  outcome, correction   answer   last ◀─follows─ direction

A turn begins with what the human typed. Of the agent's messages in it these are told: the first with text, the last
with text once the turn has ended, the first with text after a correction, and each that the format itself says
something about. A message without text of its own takes the nearest text before it in the turn (not from before a
correction), or else its call.

A *segment* begins with a prompt: a user record without tool results, so that every call before it has been settled.
What is told of a segment does not depend on what was read before it, but for `before`: the response that the prompt
follows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from graph.schema import EdgeKind
from graph.sources.claude_records import Call, Marker, Said, Typed, call_text
from graph.sources.telling import MAX_TEXT, Telling

_RECENT = 128
"""Messages and calls of a turn that are held: a result comes soon after its call."""

_Value = TypeVar("_Value")


@dataclass
class _Message:
    """One message of the agent, put together from the records that share its id."""

    id: str
    session: str
    ts: object
    place: int
    to: tuple[str, ...]
    near: str
    text: str = ""
    records: set[str] = field(default_factory=set)

    def add(self, text: str) -> None:
        if text and len(self.text) < 2 * MAX_TEXT:
            self.text = f"{self.text}\n\n{text}" if self.text else text


@dataclass(frozen=True)
class _Called:
    """A call, the message that made it, and the time and byte offset of its record."""

    call: Call
    message: _Message
    ts: object
    offset: int


@dataclass(frozen=True)
class _Place:
    """Where a record stands: its uuid, time, session node, and byte offset."""

    uuid: str
    ts: object
    session: str
    offset: int


class Before(NamedTuple):
    """The response that a prompt follows, and when it was begun."""

    id: str
    ts: str


@dataclass
class _Turn:
    """What is known of the turn that is open."""

    direction: str | None = None
    near: str = ""
    corrections: tuple[str, ...] = ()
    first: _Message | None = None
    last: _Message | None = None
    current: _Message | None = None
    call: str | None = None


class Turns:
    """Tells the records of one file, in their order.

    Attributes:
        before: The response that what is typed next would follow, if nothing more is said.
        safe: Offset and `before` of the last prompt; reading may begin there again.
    """

    def __init__(self, file: str, start: int, before: Before | None) -> None:
        self.before = before
        self.safe = (start, before)
        self._file = file
        self._start = start
        self._turn = _Turn()
        self._telling = Telling(file)
        self._kept: dict[str, _Message] = {}
        self._messages: dict[str, _Message] = {}
        self._calls: dict[str, _Called] = {}

    @property
    def size(self) -> int:
        """About how many nodes have been told since the last batch."""
        return len(self._telling.nodes) + len(self._kept)

    @property
    def is_open(self) -> bool:
        """Whether what has been read since `safe` may still be gone on with."""
        return self._turn.direction is not None or bool(self._messages) or self.size > 0

    def say(self, record: Mapping[str, Any], said: Said, uuid: str, offset: int, session: str) -> None:
        """The agent says something, or calls tools."""
        message = self._message(said, _Place(uuid, record.get("timestamp"), session, offset))
        if uuid in message.records:
            return
        message.records.add(uuid)
        turn = self._turn
        if said.text:
            message.add(said.text)
            turn.near, turn.last = message.text, message
            turn.first = turn.first or self._keep(message)
            if turn.corrections and message.to == turn.corrections:
                self._keep(message)
                turn.corrections = ()
        turn.current = message
        for call in said.calls:
            _hold(self._calls, call.id, _Called(call, message, record.get("timestamp"), offset))
            turn.call = call.id

    def _message(self, said: Said, place: _Place) -> _Message:
        found = self._messages.get(said.message)
        if found is None:
            turn = self._turn
            to = turn.corrections or ((turn.direction,) if turn.direction is not None else ())
            # A message that goes on after a prompt is told apart from its part before it.
            message_id = place.uuid if self.before and said.message == self.before.id else said.message
            found = _Message(message_id, place.session, place.ts, place.offset, to, turn.near)
            _hold(self._messages, said.message, found)
        return found

    def hear(self, record: Mapping[str, Any], typed: Typed, uuid: str, offset: int, session: str) -> bool:
        """The human, or the harness for them, answers; whether a segment begins with this record."""
        place = _Place(uuid, record.get("timestamp"), session, offset)
        marks = [marker for marker in typed.markers if marker.sure or self._is_plan(marker.call)]
        for number, marker in enumerate(marks):
            self._mark(marker, uuid if number == 0 else f"{uuid}#{marker.call or number}", place)
        if not typed.words:
            return False
        direction = f"{uuid}#words" if marks else uuid
        follows = self._end_turn(place.ts)
        begins = typed.prompt and not marks
        if begins:
            self._end_segment()
            self.safe = (offset, self.before)
        self._direct(direction, typed.words, place, None if offset == self._start else follows)
        self._turn = _Turn(direction)
        return begins

    def _end_segment(self) -> None:
        for message in self._kept.values():
            self._tell(message)
        for held in (self._kept, self._messages, self._calls):
            held.clear()

    def _direct(self, direction: str, words: str, place: _Place, follows: str | None) -> None:
        self._open = (direction, words, place)
        session = self._telling.session(place.session)
        self._telling.direction(direction, words, place.ts, session, place.offset, follows, native_id=place.uuid)

    def _end_turn(self, ts: object) -> str | None:
        """The response that what is typed now follows: not one that was begun later, as where a log repeats itself."""
        turn = self._turn
        last = turn.last or (turn.current if turn.current is not None and turn.current.id in self._kept else None)
        if last is not None:
            self.before = Before(self._keep(last).id, last.ts if isinstance(last.ts, str) else "")
        if self.before is not None and isinstance(ts, str) and ts < self.before.ts:
            self.before = None
        return self.before.id if self.before else None

    def take(self) -> Telling:
        """What was told up to now; the prompt that is open is told again with what comes after it."""
        self._end_segment()
        told, self._telling = self._telling, Telling(self._file)
        if self._turn.direction is not None:
            self._direct(*self._open, None)
        return told

    def _tell(self, message: _Message) -> None:
        session = self._telling.session(message.session)
        to = message.to[-1] if message.to else None
        self._telling.response(message.id, message.text or message.near, message.ts, session, message.place, to)
        for other in message.to[:-1]:
            self._telling.edge(message.id, other, EdgeKind.RESPONDS_TO, message.ts)

    def _keep(self, message: _Message) -> _Message:
        if not (message.text or message.near):
            calls = (called.call for called in self._calls.values() if called.message is message)
            message.near = next((call_text(call.tool, call.arguments) for call in calls), "")
        return self._kept.setdefault(message.id, message)

    def _is_plan(self, call: str) -> bool:
        return call in self._calls and self._calls[call].call.tool == "ExitPlanMode"

    def _mark(self, marker: Marker, outcome: str, place: _Place) -> None:
        of, native = self._subject(marker), place.uuid
        tell = self._telling
        tell.outcome(outcome, marker.kind, of, marker.signal, marker.reason, place.ts, place.offset, native_id=native)
        if of is None:  # the human interrupted before anything was said: that judges no response
            tell.edge(outcome, tell.session(place.session), EdgeKind.PART_OF, place.ts)
        elif marker.reason and marker.kind is EdgeKind.REJECTED_BY:
            correction = f"correction:{outcome}"
            tell.correction(correction, marker.reason, place.ts, of, place.offset, native_id=native)
            self._turn.corrections = (*self._turn.corrections, correction)
            self._turn.near = ""

    def _subject(self, marker: Marker) -> str | None:
        """The proposal that a marker is about, else the message; None where nothing was said in this turn."""
        wanted = self._turn.call if marker.signal == "interrupt_tool" else marker.call
        called = self._calls.get(wanted) if wanted is not None else None
        if called is None:
            return None if self._turn.current is None else self._keep(self._turn.current).id
        call, message = called.call, self._keep(called.message)
        if call.id in self._telling.nodes:
            return call.id
        text = call_text(call.tool, {**call.arguments, "plan": marker.plan} if marker.plan else call.arguments)
        return self._telling.proposal(call.id, text, called.ts, message.id, called.offset, tool=call.tool)


def _hold(held: dict[str, _Value], key: str, value: _Value) -> None:
    """Keep the newest few."""
    if len(held) >= _RECENT:
        del held[next(iter(held))]
    held[key] = value
