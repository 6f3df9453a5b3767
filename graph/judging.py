"""What a human typed next, read as how they took the response before it: new nodes and edges for a memory.

    direction h ──follows──▶ response r      h's words and r's end are judged (`graph.turns.judge`)
        accepted     r ─accepted_by─▶ outcome:h
        rejected     r ─rejected_by─▶ outcome:h
        corrected    the same, and correction:h ─corrects─▶ r, h ─supersedes─▶ the direction that r answered
        neutral      r ─answered_by─▶ outcome:h

Each edge carries its method (`rule`, or `model` where the agent's own model checked it) and the judge's version, so
that a better judge can judge again without losing what the earlier one said: `that_count` says which of them count.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from graph.episodes import direction_of
from graph.memory import MemoryGraph
from graph.records import CleanEdge
from graph.schema import EdgeKind, NodeKind, Outcome
from graph.turns.judge import TURNS_VERSION, TurnVerdict, check_candidate, judge_turn

JUDGE = TURNS_VERSION.rsplit(" ", 1)[0] + " "
BY_RULE = "rule"
BY_MODEL = "model"

_EDGE = {
    Outcome.ACCEPTED: EdgeKind.ACCEPTED_BY,
    Outcome.REJECTED: EdgeKind.REJECTED_BY,
    Outcome.CORRECTED: EdgeKind.REJECTED_BY,
    Outcome.NEUTRAL: EdgeKind.ANSWERED_BY,
}


@dataclass(frozen=True)
class Judged:
    """Raw nodes and edges to be added to a memory."""

    nodes: tuple[Mapping[str, Any], ...]
    edges: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Turn:
    """A human turn and the response before it: their ids and what was said."""

    id: str
    response: str
    words: str
    before: str


def turns_of(memory: MemoryGraph) -> Iterator[Turn]:
    """Every human turn of `memory` that follows a response in it, by time."""
    for turn in memory.of_kind(NodeKind.DIRECTION):
        for edge in memory.out_edges(turn, EdgeKind.FOLLOWS):
            words, before = memory.node(turn)["text"], memory.node(edge.target)
            if before["kind"] is NodeKind.RESPONSE and words.strip():
                yield Turn(turn, edge.target, words, before["text"])


def judge_memory(memory: MemoryGraph, turns: Collection[str] | None = None) -> Judged:
    """Judge every human turn of `memory` (of `turns`, if given) that follows a response in it, by rules."""
    wanted = [turn for turn in turns_of(memory) if turns is None or turn.id in turns]
    verdicts = [check_candidate(judge_turn(t.words, t.before), t.words, t.before) for t in wanted]
    return told(memory, zip(wanted, verdicts, strict=True), {"method": BY_RULE, "method_version": TURNS_VERSION})


def told(memory: MemoryGraph, verdicts: Iterable[tuple[Turn, TurnVerdict]], how: Mapping[str, object]) -> Judged:
    """Verdicts as nodes and edges; `how` says who judged (`method`, `method_version`, ...)."""
    nodes: list[Mapping[str, Any]] = []
    edges: list[Mapping[str, Any]] = []
    for turn, verdict in verdicts:
        found = _told(memory, turn, verdict, how)
        nodes.extend(found.nodes)
        edges.extend(found.edges)
    return Judged(tuple(nodes), tuple(edges))


def _told(memory: MemoryGraph, turn: Turn, verdict: TurnVerdict, how: Mapping[str, object]) -> Judged:
    said = memory.node(turn.id)
    common = {key: said[key] for key in ("text", "ts", "file", "place", "line", "native_id") if key in said}
    common |= {"actor": "human", "turn": turn.id}
    outcome = {**common, "id": f"outcome:{turn.id}", "kind": NodeKind.OUTCOME}
    nodes: list[Mapping[str, Any]] = [outcome]

    def edge(source: str, target: str, kind: EdgeKind, **more: object) -> Mapping[str, Any]:
        body = {"source": source, "target": target, "kind": kind, "ts": said["ts"], "weight": weight}
        return {**body, **how, "turn": turn.id, **more}

    weight = round(verdict.probability, 4)
    says = {"signal": verdict.signal, "because": list(verdict.because)}
    edges = [edge(turn.response, outcome["id"], _EDGE[verdict.polarity], **says)]
    if verdict.polarity is Outcome.CORRECTED:
        correction = {**common, "id": f"correction:{turn.id}", "kind": NodeKind.CORRECTION}
        nodes.append(correction)
        edges.append(edge(correction["id"], turn.response, EdgeKind.CORRECTS))
        asked = direction_of(memory, turn.response)
        if asked is not None and asked != turn.id:
            edges.append(edge(turn.id, asked, EdgeKind.SUPERSEDES))
    return Judged(tuple(nodes), tuple(edges))


def that_count(edges: Iterable[CleanEdge]) -> list[CleanEdge]:
    """Edges of anybody else, and of each turn's judgements the one that counts.

    This version's; a model's, which says when it judged (`at`), over a rule's, and the latest model's.
    """
    kept = [edge for edge in edges if not outdated(edge.attributes.get("method_version"))]
    latest: dict[str, int] = {}
    for edge in kept:
        if (turn := _judged_turn(edge)) is not None:
            latest[turn] = max(latest.get(turn, 0), _judged_at(edge))
    return [e for e in kept if (turn := _judged_turn(e)) is None or _judged_at(e) == latest[turn]]


def _judged_turn(edge: CleanEdge) -> str | None:
    """The turn that this judge's edge speaks of; an attribute of that name in somebody else's graph is theirs."""
    turn, version = edge.attributes.get("turn"), str(edge.attributes.get("method_version"))
    return turn if isinstance(turn, str) and version.startswith(JUDGE) else None


def _judged_at(edge: CleanEdge) -> int:
    at = edge.attributes.get("at")
    return at if isinstance(at, int) else 0


def outdated(method_version: object) -> bool:
    """Whether an edge was made by another version of this judge."""
    version = str(method_version)
    return version.startswith(JUDGE) and version != TURNS_VERSION
