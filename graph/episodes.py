"""What became of each response: verdicts (response and outcome), and episodes (with the direction they answered)."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from graph.memory import Edge, MemoryGraph
from graph.patterns import behaviour_name
from graph.records import plain
from graph.schema import EdgeKind, Episode, Label, NodeKind, Outcome, Pole
from graph.weights import judge_accepted, judge_rejected

_OUTCOME_EDGES = (EdgeKind.ACCEPTED_BY, EdgeKind.REJECTED_BY, EdgeKind.INTERRUPTED_BY)


@dataclass(frozen=True)
class Verdict:
    """How one response ended. `response` and `outcome_node` are node ids; `ts` is UTC milliseconds, 0 when unknown."""

    response: str
    outcome_node: str
    outcome: Outcome
    signal: str
    weight: float
    pairable: bool
    words: str
    ts: int


def verdicts_of(memory: MemoryGraph) -> Iterator[Verdict]:
    """One verdict for each response with an outcome, by the response's time. The last counts: an undo after an "ok"."""
    for response in memory.of_kind(NodeKind.RESPONSE):
        subjects = [response, *(edge.target for edge in memory.out_edges(response, EdgeKind.PROPOSES))]
        ends = [edge for subject in subjects for edge in memory.out_edges(subject, *_OUTCOME_EDGES)]
        if ends:
            last = max(ends, key=lambda edge: _finality(memory, edge))
            yield _verdict(memory, response, subjects, last)


def _end_time(memory: MemoryGraph, edge: Edge) -> int:
    return int(memory.node(edge.target)["ts"] or edge.attributes["ts"])


def _finality(memory: MemoryGraph, edge: Edge) -> tuple[int, bool, str]:
    """Later is more final; at the same moment a no is more final than a yes."""
    return _end_time(memory, edge), edge.attributes["kind"] is not EdgeKind.ACCEPTED_BY, edge.target


def _verdict(memory: MemoryGraph, response: str, subjects: list[str], end: Edge) -> Verdict:
    node = memory.node(end.target)
    edge_kind = end.attributes["kind"]
    signal = plain(node.get("signal")) or ("interrupted" if edge_kind is EdgeKind.INTERRUPTED_BY else "human_turn")
    corrections = sorted(
        {edge.source for subject in subjects for edge in memory.in_edges(subject, EdgeKind.CORRECTS)}, key=memory.when
    )
    words = node["text"].strip() or (memory.node(corrections[0])["text"].strip() if corrections else "")
    if edge_kind is EdgeKind.ACCEPTED_BY:
        outcome, judgement = Outcome.ACCEPTED, judge_accepted(signal)
        words = node["text"].strip()
    else:
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
    """The direction that a response answers: by its own edge, else through the correction that it took up."""
    targets = sorted((edge.target for edge in memory.out_edges(response, EdgeKind.RESPONDS_TO)), key=memory.when)
    directions = [target for target in targets if memory.node(target)["kind"] is NodeKind.DIRECTION]
    if directions:
        return directions[0]
    for correction in targets:
        for corrected in sorted(edge.target for edge in memory.out_edges(correction, EdgeKind.CORRECTS)):
            for edge in sorted(memory.out_edges(corrected, EdgeKind.RESPONDS_TO), key=lambda edge: edge.target):
                if memory.node(edge.target)["kind"] is NodeKind.DIRECTION:
                    return edge.target
    return None


def session_of(memory: MemoryGraph, response: str, direction: str) -> str:
    """The native id of the session; a memory without sessions counts as one, so that no split can divide it."""
    for node_id in (response, direction):
        found = sorted(edge.target for edge in memory.out_edges(node_id, EdgeKind.PART_OF))
        if found:
            return str(memory.node(found[0])["native_id"])
    return f"file:{memory.node(response).get('file', '')}"


def source_ref(memory: MemoryGraph, prefix: str, response: str) -> str:
    """`PREFIX:FILE:RESPONSE`."""
    node = memory.node(response)
    return f"{prefix}:{node.get('file', '')}:{node['native_id']}"


def episodes_of(memory: MemoryGraph, prefix: str) -> list[Episode]:
    """All episodes, by time, then id; the same evidence in two files is one episode, the first."""
    found: dict[str, Episode] = {}
    for verdict in verdicts_of(memory):
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
