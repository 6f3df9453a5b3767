"""MemoryGraph: a networkx MultiDiGraph whose nodes and edges are known to be sound, and the questions asked of it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from graph.records import CleanEdge, Problem, clean_edges, clean_nodes, fits
from graph.schema import EdgeKind, Episode, NodeKind

if TYPE_CHECKING:
    import networkx as nx


@dataclass(frozen=True)
class Edge:
    """One edge with its attributes (`kind`, `weight`, `ts`, and what else the source wrote)."""

    source: str
    target: str
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class MemoryGraph:
    """A typed memory. `graph` is for networkx's own algorithms; the methods speak the words of the memory.

    Node attributes: kind (NodeKind), text, ts (UTC ms, 0 when unknown), actor, native_id, file, and the source's own.
    """

    graph: "nx.MultiDiGraph[str]"
    problems: tuple[Problem, ...] = ()

    @classmethod
    def from_records(cls, nodes: Iterable[object], edges: Iterable[object]) -> "MemoryGraph":
        """The graph of raw records: what cannot be used is left out and listed in `problems`, never raised."""
        import networkx as nx  # 200 ms that a look at unchanged files does not need

        cleaned = clean_nodes(nodes)
        sound, faults = clean_edges(edges, cleaned)
        graph: nx.MultiDiGraph[str] = nx.MultiDiGraph()
        graph.add_nodes_from(cleaned.nodes.items())
        graph.add_edges_from((edge.source, edge.target, dict(edge.attributes)) for edge in sound)
        return cls(graph, (*cleaned.problems, *faults, *_unanchored(cls(graph))))

    @classmethod
    def from_clean(cls, nodes: Mapping[str, Mapping[str, Any]], edges: Iterable[CleanEdge]) -> "MemoryGraph":
        """The graph of nodes and edges that were cleaned before; an edge that lacks a fitting end is left out."""
        import networkx as nx

        graph: nx.MultiDiGraph[str] = nx.MultiDiGraph()
        graph.add_nodes_from((node_id, dict(body)) for node_id, body in nodes.items())
        for edge in edges:
            begin, end = nodes.get(edge.source), nodes.get(edge.target)
            if begin is not None and end is not None and fits(edge.attributes["kind"], begin["kind"], end["kind"]):
                graph.add_edge(edge.source, edge.target, **edge.attributes)
        return cls(graph)

    def __len__(self) -> int:
        return len(self.graph)

    def node(self, node_id: str) -> Mapping[str, Any]:
        """The attributes of a node.

        Raises:
            KeyError: There is no such node.
        """
        found: Mapping[str, Any] = self.graph.nodes[node_id]
        return found

    def of_kind(self, kind: NodeKind) -> list[str]:
        """Ids of all nodes of one kind, by time, then id."""
        return sorted((n for n, body in self.graph.nodes.items() if body["kind"] is kind), key=self.when)

    def when(self, node_id: str) -> tuple[int, str]:
        """Sort key: time, then id."""
        return int(self.graph.nodes[node_id]["ts"]), node_id

    def out_edges(self, node_id: str, *kinds: EdgeKind) -> Iterator[Edge]:
        """Edges that leave a node, of the named kinds."""
        for source, target, body in self.graph.out_edges(node_id, data=True):
            if body["kind"] in kinds:
                yield Edge(source, target, body)

    def in_edges(self, node_id: str, *kinds: EdgeKind) -> Iterator[Edge]:
        """Edges that reach a node, of the named kinds."""
        for source, target, body in self.graph.in_edges(node_id, data=True):
            if body["kind"] in kinds:
                yield Edge(source, target, body)

    def episodes(self, source_ref_prefix: str) -> list[Episode]:
        """One episode for each response that has a direction and an outcome, by time, then id."""
        from graph.episodes import episodes_of

        return episodes_of(self, source_ref_prefix)


def _unanchored(memory: MemoryGraph) -> Iterator[Problem]:
    """Responses whose outcome is known but not what they answered: whoever forgot the edge wants to know."""
    from graph.episodes import direction_of, verdicts_of

    for verdict in verdicts_of(memory):
        if direction_of(memory, verdict.response) is None:
            yield Problem(verdict.response, "has an outcome but responds_to no direction; no episode comes of it")
