"""One LangGraph thread, told from its checkpoints and writes in the order of time.

    checkpoint ─▶ enter()          a fork takes up the turn as it was at the checkpoint that it starts from
    write      ─▶ message() | decided()

Kept of a turn: the direction, the first response, the last (told at the turn's end, for only then is it the last),
and each whose action a human decided on. A message that is written again, say by a node that returns the whole list, is
known by its id; one that was written before anybody gave it an id is known by its words.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from graph.sources.langgraph_review import Decision, Request
from graph.sources.langgraph_values import Message
from graph.sources.telling import Telling

_CALLS = 8
"""Messages of a turn that are remembered for the calls in them."""


@dataclass(frozen=True)
class Said:
    """A message with the id of its node and its time, UTC ms."""

    node: str
    message: Message
    ts: int | None
    text: str
    """Its own text, or the nearest before it in the turn."""
    to: str | None
    """The direction or the correction that it answers."""


@dataclass(frozen=True)
class Turn:
    """Where a thread stands: what is answered now, what was said to it."""

    begin: tuple[str, str, int | None] | None = None
    """The direction: its node, its words, its time."""
    to: str | None = None
    opened: bool = False
    last: Said | None = None
    asking: tuple[Said, ...] = ()


@dataclass
class Thread:
    """Tells one thread into `telling`. `forked` are the checkpoints from which the thread went on more than once."""

    name: str
    telling: Telling
    forked: frozenset[str] = frozenset()
    turn: Turn = field(default_factory=Turn)
    _previous: str | None = None
    _standing: dict[str, Turn] = field(default_factory=dict)
    _ids: set[str] = field(default_factory=set)
    _nameless: Counter[tuple[str, int]] = field(default_factory=Counter)

    @property
    def session(self) -> str:
        """The node of the thread, told."""
        return self.telling.session(self.name)

    def enter(self, checkpoint: str, parent: str | None) -> None:
        """What follows was written at `checkpoint`, made from `parent`."""
        if parent != self._previous and parent in self._standing:
            self.turn = self._standing[parent]
        self._previous = checkpoint
        if checkpoint in self.forked:
            self._standing[checkpoint] = self.turn

    def message(self, message: Message, ts: int | None, place: str) -> None:
        """A message that a node or the human wrote; `place` names it if it has no id."""
        if self.recognises(message):
            return
        node = f"message:{self.name}/{message.id or place}"
        if message.role == "human":
            if message.text:
                self._human(node, message.text, ts)
        else:
            self._agent(node, message, ts)

    def decided(self, requests: Iterable[Request], decisions: Iterable[Decision], ts: int | None, place: str) -> None:
        """What a human decided on the actions that the agent asked about, one by one."""
        for index, (request, decision) in enumerate(zip(requests, decisions, strict=False)):
            own = f"{self.name}/{place}/{index}"
            if decision.edge is None:
                if decision.words:
                    self._tell(self._asked(request, own, ts))
                    self._human(f"answer:{own}", decision.words, ts)
                continue
            self._outcome(request, decision, own, ts)

    # ------------------------------------------------------------ the human

    def _human(self, node: str, text: str, ts: int | None) -> None:
        last = self.turn.last
        if last is not None:
            self._tell(last)
        follows = None if last is None else last.node
        self.telling.direction(node, text, ts, self.session, None, follows, native_id=_own(node))
        self.turn = Turn((node, text, ts), to=node)

    @property
    def is_between_turns(self) -> bool:
        """Whether nothing was said yet to the last direction, so that a batch may end here."""
        return not self.turn.opened and not self.turn.asking

    def go_on(self, telling: Telling) -> None:
        """Tell what comes in `telling`, beginning with the direction that is open."""
        self.telling = telling
        if self.turn.begin is not None:
            node, text, ts = self.turn.begin
            telling.direction(node, text, ts, self.session, None, native_id=_own(node))

    def _outcome(self, request: Request, decision: Decision, own: str, ts: int | None) -> None:
        asked = self._asked(request, own, ts)
        self._tell(asked)
        proposal = f"proposal:{own}"
        self.telling.proposal(proposal, request.call.text, asked.ts, asked.node, None, native_id=own)
        assert decision.edge is not None
        end = f"outcome:{own}"
        self.telling.outcome(end, decision.edge, proposal, decision.signal, decision.words, ts, None, native_id=own)
        if decision.correction:
            correction = f"correction:{own}"
            self.telling.correction(correction, decision.correction, ts, proposal, None, native_id=own)
            self.turn = replace(self.turn, to=correction, opened=False)

    # ------------------------------------------------------------ the agent

    def _agent(self, node: str, message: Message, ts: int | None) -> None:
        turn = self.turn
        before = turn.last.text if turn.last else ""
        said = Said(node, message, ts, message.text or before, turn.to)
        if message.text and not turn.opened:
            self._tell(said)
        last = said if message.text else turn.last
        asking = (*turn.asking[1 - _CALLS :], said) if message.calls else turn.asking
        self.turn = Turn(turn.begin, turn.to, turn.opened or bool(message.text), last, asking)

    def _asked(self, request: Request, own: str, ts: int | None) -> Said:
        """The message with the call that was asked about: that very call, else one of its name, else the last."""
        asking = self.turn.asking[::-1]
        same = [said for said in asking if request.call in said.message.calls]
        named = [said for said in asking if request.call.name in {call.name for call in said.message.calls}]
        found = next(iter((*same, *named, *asking[:1])), self.turn.last)
        if found is not None and found.text:
            return found
        text = request.description or request.call.text  # an agent that only calls has said no more than this
        if found is not None:
            return replace(found, text=text)
        return Said(f"request:{own}", Message("agent", "", text), ts, text, self.turn.to)

    def _tell(self, said: Said) -> None:
        self.telling.response(said.node, said.text, said.ts, self.session, None, said.to, native_id=_own(said.node))

    # ------------------------------------------------------------ known already

    def recognises(self, message: Message) -> bool:
        """Whether it was written before; asked once for each message that is written, whoever wrote it."""
        words = (message.role, hash(message.text))
        if not message.id:
            self._nameless[words] += 1
            return False
        if message.id in self._ids:
            return True
        self._ids.add(message.id)
        if self._nameless[words] > 0:
            self._nameless[words] -= 1
            return True
        del self._nameless[words]
        return False


def _own(node: str) -> str:
    return node.partition("/")[2]


def time_of(checkpoint: str) -> int | None:
    """UTC ms of a checkpoint: its id is a UUID of version 6, which begins with its time (RFC 9562, 5.6)."""
    digits = checkpoint.replace("-", "")
    if len(digits) != 32 or digits[12] != "6":
        return None
    try:
        ticks = int(digits[:12] + digits[13:16], 16)  # 100 ns since 1582-10-15
    except ValueError:
        return None
    since_1970 = (ticks - 0x01B21DD213814000) // 10_000
    return since_1970 if since_1970 >= 0 else None


def forked_in(parents: Mapping[str, str | None]) -> frozenset[str]:
    """Checkpoints from which a later one than the next was made; `parents` by checkpoint, in the order of time."""
    before: str | None = None
    forked = set()
    for checkpoint, parent in parents.items():
        if parent is not None and parent != before:
            forked.add(parent)
        before = checkpoint
    return frozenset(forked)


def distinct(edges: Iterable[Mapping[str, object]]) -> tuple[Mapping[str, object], ...]:
    """Each edge once."""
    return tuple({(edge["source"], edge["target"], edge["kind"]): edge for edge in edges}.values())
