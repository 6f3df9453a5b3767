"""What became of each response: verdicts (response and outcome), and episodes (with the direction they answered)."""

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any

import orjson

from graph.behaviours.patterns import behaviour_name
from graph.memory import Edge, MemoryGraph
from graph.records import plain
from graph.schema import EdgeKind, Episode, Label, NodeKind, Outcome, Pole
from graph.weights import Judgement, judge_accepted, judge_rejected

_OUTCOME_EDGES = (EdgeKind.ACCEPTED_BY, EdgeKind.REJECTED_BY, EdgeKind.INTERRUPTED_BY, EdgeKind.ANSWERED_BY)
_JUDGED = {"rule", "model"}
_LONGEST_THREAD = 1000
TAKEN_UP = "taken_up"


@dataclass(frozen=True)
class Verdict:
    """How a response was taken. `response` and `outcome_node` are node ids; `ts` is UTC ms, 0 when unknown."""

    response: str
    outcome_node: str
    outcome: Outcome
    signal: str
    weight: float
    pairable: bool
    words: str
    ts: int


def outcomes_of(memory: MemoryGraph) -> Iterator[Verdict]:
    """Everything that the memory says about how responses were taken, by the response's time, then the outcome's."""
    for response in memory.of_kind(NodeKind.RESPONSE):
        subjects, ends = _ends(memory, response)
        for end in sorted(ends, key=lambda edge: (_end_time(memory, edge), edge.target)):
            yield _verdict(memory, response, subjects, end)


def verdicts_of(memory: MemoryGraph, responses: Collection[str] | None = None) -> Iterator[Verdict]:
    """One verdict for each response (of `responses`, if given) with an outcome, by the response's time.

    What a format records says more than what words were taken to mean, and an interruption says least. Among equals the
    last counts: an undo after an "ok". A response that was only answered has no verdict, unless it took up a
    correction: then what came next was no second correction, and it is `taken_up`.
    """
    for response in memory.of_kind(NodeKind.RESPONSE):
        if responses is not None and response not in responses:
            continue
        subjects, ends = _ends(memory, response)
        said = [end for end in ends if end.attributes["kind"] is not EdgeKind.ANSWERED_BY]
        if said:
            yield _verdict(memory, response, subjects, max(said, key=lambda edge: _finality(memory, edge)))
        elif ends and _took_up(memory, response):
            last = _verdict(memory, response, subjects, max(ends, key=lambda edge: _finality(memory, edge)))
            judgement = judge_accepted(TAKEN_UP)
            yield replace(
                last,
                outcome=Outcome.ACCEPTED,
                signal=TAKEN_UP,
                weight=judgement.weight,
                pairable=judgement.pairable,
            )


def _took_up(memory: MemoryGraph, response: str) -> bool:
    """Whether a response answers a correction: its own node, or a direction that says an earlier one again, better."""
    for edge in memory.out_edges(response, EdgeKind.RESPONDS_TO):
        if memory.node(edge.target)["kind"] is NodeKind.CORRECTION:
            return True
        if next(memory.out_edges(edge.target, EdgeKind.SUPERSEDES), None) is not None:
            return True
    return False


def _ends(memory: MemoryGraph, response: str) -> tuple[list[str], list[Edge]]:
    """A response with what it proposed, and every edge from these to an outcome."""
    subjects = [response, *(edge.target for edge in memory.out_edges(response, EdgeKind.PROPOSES))]
    return subjects, [edge for subject in subjects for edge in memory.out_edges(subject, *_OUTCOME_EDGES)]


def _end_time(memory: MemoryGraph, edge: Edge) -> int:
    return int(memory.node(edge.target)["ts"] or edge.attributes["ts"])


def _finality(memory: MemoryGraph, edge: Edge) -> tuple[int, int, bool, str]:
    """Recorded over understood over interrupted; then later is more final; at the same moment a no is."""
    kind = edge.attributes["kind"]
    rank = 0 if kind is EdgeKind.INTERRUPTED_BY else 1 if plain(edge.attributes.get("method")) in _JUDGED else 2
    return rank, _end_time(memory, edge), kind is not EdgeKind.ACCEPTED_BY, edge.target


def _verdict(memory: MemoryGraph, response: str, subjects: list[str], end: Edge) -> Verdict:
    node = memory.node(end.target)
    edge_kind = end.attributes["kind"]
    unnamed = "interrupt" if edge_kind is EdgeKind.INTERRUPTED_BY else "human_turn"
    signal = plain(end.attributes.get("signal") or node.get("signal")) or unnamed
    corrections = sorted(
        {edge.source for subject in subjects for edge in memory.in_edges(subject, EdgeKind.CORRECTS)}, key=memory.when
    )
    words = node["text"].strip()
    if edge_kind is EdgeKind.ANSWERED_BY:
        outcome, judgement = Outcome.NEUTRAL, Judgement(0.0, False)
    elif edge_kind is EdgeKind.ACCEPTED_BY:
        outcome, judgement = Outcome.ACCEPTED, judge_accepted(signal)
    else:
        words = words or (memory.node(corrections[0])["text"].strip() if corrections else "")
        outcome = Outcome.CORRECTED if corrections else Outcome.REJECTED
        judgement = judge_rejected(signal, words, bool(corrections))
    return Verdict(
        response=response,
        outcome_node=end.target,
        outcome=outcome,
        signal=signal,
        weight=judgement.weight * end.attributes["weight"],
        pairable=judgement.pairable,
        words=words,
        ts=_end_time(memory, end) or memory.when(response)[0],
    )


def direction_of(memory: MemoryGraph, response: str) -> str | None:
    """The direction that a response answers, by its own edge or through the correction that it took up.

    A direction that supersedes another one (it says again, and better, what was asked) stands for the first.
    """
    targets = sorted((edge.target for edge in memory.out_edges(response, EdgeKind.RESPONDS_TO)), key=memory.when)
    directions = [target for target in targets if memory.node(target)["kind"] is NodeKind.DIRECTION]
    if directions:
        return _first_asked(memory, directions[0])
    for correction in targets:
        for corrected in sorted(edge.target for edge in memory.out_edges(correction, EdgeKind.CORRECTS)):
            found = _proposer(memory, corrected)
            if found is not None and found != response and (asked := direction_of(memory, found)) is not None:
                return asked
    return None


def _proposer(memory: MemoryGraph, node_id: str) -> str | None:
    """The response that a response or a proposal belongs to."""
    if memory.node(node_id)["kind"] is NodeKind.RESPONSE:
        return node_id
    return min((edge.source for edge in memory.in_edges(node_id, EdgeKind.PROPOSES)), default=None)


def _first_asked(memory: MemoryGraph, direction: str) -> str:
    seen = {direction}
    while len(seen) < _LONGEST_THREAD:
        earlier = sorted(edge.target for edge in memory.out_edges(direction, EdgeKind.SUPERSEDES))
        asked = [e for e in earlier if e not in seen and memory.node(e)["kind"] is NodeKind.DIRECTION]
        if not asked:
            break
        direction = asked[0]
        seen.add(direction)
    return direction


def session_of(memory: MemoryGraph, response: str, direction: str) -> str:
    """The native id of the session; a memory without sessions counts as one, so that no split can divide it."""
    for node_id in (response, direction):
        found = sorted(edge.target for edge in memory.out_edges(node_id, EdgeKind.PART_OF))
        if found:
            return str(memory.node(found[0])["native_id"])
    return f"file:{memory.node(response).get('file', '')}"


def source_ref(memory: MemoryGraph, prefix: str, node_id: str) -> str:
    """`PREFIX:FILE:PLACE`, the place being the byte offset of a record, else the node's own id."""
    node = memory.node(node_id)
    return f"{prefix}:{node.get('file', '')}:{node.get('place', node['native_id'])}"


def episodes_of(memory: MemoryGraph, prefix: str, responses: Collection[str] | None = None) -> list[Episode]:
    """All episodes (of `responses`, if given), by time, then id; the same evidence in two files is one, the first."""
    found: dict[str, Episode] = {}
    for verdict in verdicts_of(memory, responses):
        direction = direction_of(memory, verdict.response)
        episode = None if direction is None else _episode(memory, prefix, verdict, direction)
        if episode is not None:
            found.setdefault(episode.id, episode)
    return sorted(found.values(), key=lambda episode: (episode.ts, episode.id))


def _episode(memory: MemoryGraph, prefix: str, verdict: Verdict, direction: str) -> Episode | None:
    asked, answered = memory.node(direction), memory.node(verdict.response)
    if not asked["text"].strip() or not answered["text"].strip():
        return None
    identity = {
        "session": session_of(memory, verdict.response, direction),
        "direction": asked["text"],
        "response": answered["text"],
        "outcome": verdict.outcome.value,
        "ids": [asked["native_id"], answered["native_id"], memory.node(verdict.outcome_node)["native_id"]],
    }
    return Episode(
        id=hashlib.sha256(orjson.dumps(identity, option=orjson.OPT_SORT_KEYS)).hexdigest(),
        session=identity["session"],
        direction_id=asked["native_id"],
        direction=asked["text"],
        response=answered["text"],
        outcome=verdict.outcome,
        signal=verdict.signal,
        weight=verdict.weight,
        pairable=verdict.pairable,
        source_ref=source_ref(memory, prefix, verdict.response),
        ts=verdict.ts,
        words=verdict.words,
        labels=_labels(memory, verdict.response),
        node=verdict.response,
    )


def _labels(memory: MemoryGraph, response: str) -> tuple[Label, ...]:
    """What the memory itself says about a response; of two edges for one behaviour the later one counts."""
    found: dict[str, Label] = {}
    edges = memory.out_edges(response, EdgeKind.INSTANCE_OF)
    for edge in sorted(edges, key=lambda edge: (edge.attributes["ts"], edge.target)):
        pattern = memory.node(edge.target)
        name = behaviour_name(pattern.get("name") or pattern["native_id"])
        if name is not None:
            found[name] = Label(
                behaviour=name,
                pole=_pole(edge.attributes.get("pole"), pattern.get("pole")),
                method="marker",
                method_version=":".join(
                    (
                        plain(edge.attributes.get("method")) or "marker",
                        plain(edge.attributes.get("method_version")) or "1",
                    )
                ),
                weight=edge.attributes["weight"],
            )
    return tuple(found[name] for name in sorted(found))


def _pole(*given: Any) -> Pole:
    """The first that is said; a response called an instance of a pattern, with no pole, shows the pattern."""
    for pole in given:
        if pole == "negative":
            return "negative"
        if pole == "positive":
            return "positive"
    return "positive"
