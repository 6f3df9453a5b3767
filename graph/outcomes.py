"""Outcomes of one source, without a store: what `reflexd mine` shows."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graph.memory import MemoryGraph
from graph.records import Problem, plain
from graph.redaction.redact import redact
from graph.schema import Frozen, NodeKind, Outcome
from graph.sources import get_source
from graph.sources.base import MemorySource

if TYPE_CHECKING:
    from graph.episodes import Verdict


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
    from graph.judging import judge_memory

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
    from graph.episodes import outcomes_of, source_ref

    memory = read_memory(get_source(kind), path)
    taken = {verdict.outcome_node: verdict for verdict in outcomes_of(memory)}
    records = [_record(memory, kind, verdict) for verdict in taken.values()]
    # An interruption before the agent had said anything: it happened, and says nothing about a response.
    alone = [node for node in memory.of_kind(NodeKind.OUTCOME) if node not in taken]
    return records + [
        OutcomeRecord(
            source_ref=source_ref(memory, kind, node_id),
            uuid=str(memory.node(node_id)["native_id"]),
            line=_line(memory.node(node_id)),
            polarity=Outcome.NEUTRAL,
            signal=plain(memory.node(node_id).get("signal")) or "outcome",
            weight=0.0,
            pairable=False,
            text=redact(memory.node(node_id)["text"]).text,
        )
        for node_id in alone
    ]


def _record(memory: MemoryGraph, kind: str, verdict: "Verdict") -> OutcomeRecord:
    from graph.episodes import source_ref

    node = memory.node(verdict.outcome_node)
    return OutcomeRecord(
        source_ref=source_ref(memory, kind, verdict.outcome_node if "place" in node else verdict.response),
        uuid=str(node["native_id"]),
        line=_line(node),
        polarity=verdict.outcome,
        signal=verdict.signal,
        weight=verdict.weight,
        pairable=verdict.pairable,
        text=redact(verdict.words).text,
    )


def _line(node: Mapping[str, Any]) -> int | None:
    line = node.get("line")
    return line if isinstance(line, int) else None
