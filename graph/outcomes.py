"""Outcomes of one source, without a store: what `reflexd mine` shows."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from graph.episodes import Verdict, outcomes_of, source_ref
from graph.judging import judge_memory
from graph.memory import MemoryGraph
from graph.records import Problem, plain
from graph.redaction.redact import redact
from graph.schema import Frozen, NodeKind, Outcome
from graph.sources import get_source
from graph.sources.base import MemorySource


class OutcomeRecord(Frozen):
    """How one response was taken. `uuid` is the outcome's own id in its source, `line` its line where there is one."""

    source_ref: str
    uuid: str | None = None
    line: int | None = None
    polarity: Outcome
    signal: str
    weight: float
    pairable: bool
    text: str


def read_memory(source: MemorySource, path: Path) -> MemoryGraph:
    """Everything in a file or folder as one graph, with every human turn judged.

    Raises:
        GraphError: The source cannot be read.
    """
    nodes: dict[str, Mapping[str, Any]] = {}
    edges: list[Mapping[str, Any]] = []
    problems: list[Problem] = []
    for batch in source.read(path, {}):
        problems.extend(batch.problems)
        edges.extend(batch.edges)
        if batch.whole:
            nodes.update({f"{batch.unit}\0{index}": node for index, node in enumerate(batch.nodes)})
        else:
            nodes.update({str(node.get("id")): node for node in batch.nodes})
    told = MemoryGraph.from_records(nodes.values(), _distinct(edges))
    judged = judge_memory(told)
    if not judged.nodes:
        return MemoryGraph(told.graph, (*problems, *told.problems))
    whole = MemoryGraph.from_records([*nodes.values(), *judged.nodes], [*_distinct(edges), *judged.edges])
    return MemoryGraph(whole.graph, (*problems, *whole.problems))


def _distinct(edges: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Each edge once: an open turn is told again with the next batch."""
    found: dict[object, Mapping[str, Any]] = {}
    for index, edge in enumerate(edges):
        try:
            found[edge.get("source"), edge.get("target"), edge.get("kind"), edge.get("ts")] = edge
        except (AttributeError, TypeError):  # no object, or an end that is a list: told where edges are checked
            found[index] = edge
    return list(found.values())


def mine_outcomes(kind: str, path: Path) -> list[OutcomeRecord]:
    """Every outcome in a file or folder, by the time of its response.

    Raises:
        GraphError: The kind is unknown, or the source cannot be read.
    """
    memory = read_memory(get_source(kind), path)
    taken = list(outcomes_of(memory))
    # An interruption before the agent had said anything: it happened, and says nothing about a response.
    known = {verdict.outcome_node for verdict in taken}
    alone = [_of_nothing(memory, node_id) for node_id in memory.of_kind(NodeKind.OUTCOME) if node_id not in known]
    return [_record(memory, kind, verdict) for verdict in {v.outcome_node: v for v in (*taken, *alone)}.values()]


def _of_nothing(memory: MemoryGraph, node_id: str) -> Verdict:
    node = memory.node(node_id)
    signal = plain(node.get("signal")) or "outcome"
    return Verdict(node_id, node_id, Outcome.NEUTRAL, signal, 0.0, False, node["text"], node["ts"])


def _record(memory: MemoryGraph, kind: str, verdict: Verdict) -> OutcomeRecord:
    node = memory.node(verdict.outcome_node)
    line = node.get("line")
    return OutcomeRecord(
        source_ref=source_ref(memory, kind, verdict.outcome_node if "place" in node else verdict.response),
        uuid=str(node["native_id"]),
        line=line if isinstance(line, int) else None,
        polarity=verdict.outcome,
        signal=verdict.signal,
        weight=verdict.weight,
        pairable=verdict.pairable,
        text=redact(verdict.words).text,
    )
