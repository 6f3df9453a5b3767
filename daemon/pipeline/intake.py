"""A batch of a memory source becomes rows, and the rows that it touched become episodes: all in one transaction.

    batch ─redact─▶ rows ─judge─▶ more rows ─▶ save_graph ─▶ touched ids
                                                                │ their neighbourhood, as a MemoryGraph
                                                                ▼
                                            episodes of the responses in it, and only of those

networkx never holds more than a batch or a neighbourhood.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from graph.behaviours.patterns import behaviours_in
from graph.episodes import episodes_of
from graph.judging import Judged, judge_memory, that_count
from graph.memory import MemoryGraph
from graph.records import CleanEdge, Problem, clean_edges, clean_nodes
from graph.redaction.redact import redact
from graph.schema import Behaviour, EdgeKind, Episode, NodeKind
from graph.sources.base import Batch
from store.evidence import BehaviourRow, Change, EpisodeRow, LabelRow, save_behaviours, save_episodes, save_labels
from store.graph import EdgeRow, NodeRow, chain, forget_unit, neighbourhood, node_id, nodes_by_id, owners, save_graph
from store.sources import Source, list_sources, save_unit

HUBS = frozenset({NodeKind.SESSION.value, NodeKind.PATTERN.value, NodeKind.SOURCE.value})
"""Kinds that join what has little to do with each other: a neighbourhood ends there."""

_TOUCHES = 3  # outcome → proposal → response; correction → proposal → response → direction
_CONTEXT = 4  # response → correction → proposal → response → direction
_JUDGE_SCOPE = "judge"
_AS_THEY_ARE = frozenset({"id", "file", "native_id", "name", "kind", "ts", "source", "target"})


@dataclass(frozen=True)
class Rows:
    """Nodes and edges as the store keeps them."""

    nodes: tuple[NodeRow, ...]
    edges: tuple[EdgeRow, ...]

    def of(self, turns: Collection[str]) -> "Rows":
        """What was judged of these turns."""
        return Rows(
            tuple(row for row in self.nodes if row.attributes.get("turn") in turns),
            tuple(row for row in self.edges if row.attributes.get("turn") in turns),
        )


def take_in(conn: Connection, source: Source, batches: Sequence[Batch], now: int) -> tuple[Change, tuple[Problem, ...]]:
    """Store batches and what follows from them; how episodes changed, and what was left out."""
    touched: set[str] = set()
    problems: list[Problem] = []
    for batch in batches:
        ids, faults = _store(conn, source, batch, now)
        touched |= ids
        problems += faults
    return derive_episodes(conn, source, touched, now), tuple(problems)


def _store(conn: Connection, source: Source, batch: Batch, now: int) -> tuple[set[str], tuple[Problem, ...]]:
    """Store one batch with its cursor; the ids that it touched, and what was left out."""
    if batch.cursor is None:
        return forget_unit(conn, source.id, batch.unit, now, keep_evidence=not batch.whole), batch.problems
    told, problems = _told(batch)
    rows = _with_judgements(conn, told)
    touched = save_graph(conn, source.id, batch.unit, rows.nodes, rows.edges, now, batch.whole)
    patterns = Rows(tuple(row for row in told.nodes if row.kind == NodeKind.PATTERN), ())
    if patterns.nodes:
        save_behaviours(conn, [behaviour_row(b, "graph") for b in behaviours_in(memory_of(patterns))], now)
    if batch.whole and touched:  # a pattern that changed speaks for every response
        touched |= {row.id for row in rows.nodes if row.kind == NodeKind.RESPONSE}
    last = f"{problems[-1].where}: {problems[-1].what}" if problems else None
    save_unit(conn, source.id, batch.unit, dict(batch.cursor), now, batch.unknown, len(problems), last)
    return touched, problems


def _told(batch: Batch) -> tuple[Rows, tuple[Problem, ...]]:
    """What the batch says as rows, redacted, and what could not be used of it."""
    raw = [_redacted(node) for node in batch.nodes]
    cleaned = clean_nodes(raw)
    edges, faults = clean_edges(batch.edges, cleaned, open_ends=True)
    ids = {key: node_id(batch.scope, key) for key in {*cleaned.nodes, *_ends(edges)}}
    rows = Rows(
        tuple(_node_row(batch.scope, key, body) for key, body in cleaned.nodes.items()),
        tuple(_edge_row(ids[edge.source], ids[edge.target], edge.attributes) for edge in edges),
    )
    if not batch.whole:
        return rows, (*batch.problems, *cleaned.problems, *faults)
    return rows, (*batch.problems, *MemoryGraph.from_records(raw, batch.edges).problems)


def _ends(edges: Iterable[CleanEdge]) -> Iterable[str]:
    return (end for edge in edges for end in (edge.source, edge.target))


def _redacted(node: Mapping[str, Any]) -> Any:
    if not isinstance(node, Mapping):
        return node
    return {
        key: redact(value).text if isinstance(value, str) and key not in _AS_THEY_ARE else value
        for key, value in node.items()
    }


def _with_judgements(conn: Connection, told: Rows) -> Rows:
    """The rows and, for each human turn among them that follows a response, how it took that response."""
    known = {row.id for row in told.nodes}
    missing = {end for edge in told.edges if edge.kind == EdgeKind.FOLLOWS for end in (edge.src, edge.dst)} - known
    elsewhere = nodes_by_id(conn, sorted(missing)) if missing else []
    judged = judged_rows(memory_of(Rows((*told.nodes, *elsewhere), told.edges)))
    return Rows((*told.nodes, *judged.nodes), (*told.edges, *judged.edges))


def judged_rows(memory: MemoryGraph, turns: Collection[str] | None = None) -> Rows:
    """What the rules say of (these turns of) a memory whose ids are the store's."""
    return rows_of(judge_memory(memory, turns))


def rows_of(judged: Judged) -> Rows:
    """Judgements as rows."""
    cleaned = clean_nodes(judged.nodes)
    made = {key: node_id(_JUDGE_SCOPE, key) for key in cleaned.nodes}
    edges, _ = clean_edges(judged.edges, cleaned, open_ends=True)
    return Rows(
        tuple(_node_row(_JUDGE_SCOPE, key, body) for key, body in cleaned.nodes.items()),
        tuple(
            _edge_row(made.get(edge.source, edge.source), made.get(edge.target, edge.target), edge.attributes)
            for edge in edges
        ),
    )


def save_judged(conn: Connection, judged: Rows, turns: Collection[str], now: int) -> None:
    """Store judgements of turns that are known already, each with the unit of its turn."""
    homes = owners(conn, turns)
    for source in list_sources(conn, removed=True):
        touched: set[str] = set()
        for unit in sorted({unit for owner, unit in homes.values() if owner == source.id}):
            own = judged.of({turn for turn, home in homes.items() if home == (source.id, unit)})
            touched |= save_graph(conn, source.id, unit, own.nodes, own.edges, now)
        if touched:
            derive_episodes(conn, source, touched, now)


def derive_episodes(conn: Connection, source: Source, touched: Collection[str], now: int) -> Change:
    """Bring the episodes of every response near `touched` up to date."""
    near, _ = neighbourhood(conn, touched, _TOUCHES, HUBS)
    responses = {row.id for row in near if row.kind == NodeKind.RESPONSE}
    nodes, edges = neighbourhood(conn, responses, _CONTEXT, HUBS)
    asked = [row.id for row in nodes if row.kind == NodeKind.DIRECTION]
    earlier, links = chain(conn, asked, EdgeKind.SUPERSEDES)
    memory = memory_of(Rows((*nodes, *earlier), (*edges, *links)))
    episodes = episodes_of(memory, source.kind, responses)
    change = save_episodes(conn, source.id, responses | set(touched), [_episode_row(e) for e in episodes], now)
    save_labels(conn, [row for episode in episodes for row in _label_rows(episode)])
    return change


def memory_of(rows: Rows) -> MemoryGraph:
    """A graph of rows, which were cleaned when they were made; of each turn's judgements the one that counts."""
    nodes = {
        row.id: row.attributes
        | {"native_id": row.native_id, "kind": NodeKind(row.kind), "text": row.text, "ts": row.ts, "actor": row.actor}
        for row in rows.nodes
    }
    edges = {(e.src, e.kind, e.dst, e.method, e.method_version): e for e in rows.edges}
    return MemoryGraph.from_clean(nodes, that_count(map(_clean_edge, edges.values())))


def _clean_edge(edge: EdgeRow) -> CleanEdge:
    body = edge.attributes | {"kind": EdgeKind(edge.kind), "weight": edge.weight, "ts": edge.ts}
    how = {"method": edge.method, "method_version": edge.method_version}
    return CleanEdge(edge.src, edge.dst, body | {key: value for key, value in how.items() if value})


def _node_row(scope: str, key: str, body: Mapping[str, Any]) -> NodeRow:
    columns = {"native_id", "kind", "text", "ts", "actor"}
    return NodeRow(
        node_id(scope, key),
        scope,
        key,
        body["native_id"],
        body["kind"].value,
        body["text"],
        body["ts"],
        body["actor"],
        attributes={name: value for name, value in body.items() if name not in columns},
    )


def _edge_row(src: str, dst: str, body: Mapping[str, Any]) -> EdgeRow:
    columns = {"kind", "weight", "ts", "method", "method_version"}
    return EdgeRow(
        src,
        dst,
        body["kind"].value,
        str(body.get("method") or ""),
        str(body.get("method_version") or ""),
        body["weight"],
        body["ts"],
        attributes={name: value for name, value in body.items() if name not in columns},
    )


def _episode_row(episode: Episode) -> EpisodeRow:
    body = episode.model_dump(mode="json", exclude={"labels", "node"})
    return EpisodeRow(**body, response_node=episode.node)


def _label_rows(episode: Episode) -> Sequence[LabelRow]:
    return [LabelRow(episode_id=episode.id, **label.model_dump()) for label in episode.labels]


def behaviour_row(behaviour: Behaviour, origin: str) -> BehaviourRow:
    """The behaviour as the store keeps it."""
    return BehaviourRow(**behaviour.model_dump(), origin=origin)
