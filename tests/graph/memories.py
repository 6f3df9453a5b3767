"""Small memories, written by hand, from which the tests of this folder start."""

import json
from types import SimpleNamespace

from graph.memory import MemoryGraph

FIRST_MS = 1_772_438_400_000  # 2026-03-02T08:00:00Z


def node(node_id, kind, text="", ts=FIRST_MS, **more):
    return {"id": node_id, "kind": kind, "text": text, "ts": ts, "actor": "human", **more}


def edge(source, target, kind, **more):
    return {"source": source, "target": target, "key": 0, "kind": kind, **more}


def exchange(n, session="s-1", rejected="I'd suggest plain HTTP instead.", accepted="Right, gRPC it is.", words="No."):
    """Direction n, answered badly, corrected, answered well: the shape that a pair comes of."""
    ts = FIRST_MS + n * 60_000
    nodes = [
        node(f"d-{n}", "direction", f"Use gRPC for service number {'x' * (n + 1)}", ts),
        node(f"r-{n}a", "response", f"{rejected}", ts + 1000, actor="agent"),
        node(f"o-{n}a", "outcome", words, ts + 2000, signal="human_turn"),
        node(f"c-{n}", "correction", "gRPC, as I said.", ts + 3000),
        node(f"r-{n}b", "response", f"{accepted}", ts + 4000, actor="agent"),
        node(f"o-{n}b", "outcome", "good", ts + 5000, signal="human_turn"),
    ]
    edges = [
        edge(f"d-{n}", session, "part_of"),
        edge(f"r-{n}a", session, "part_of"),
        edge(f"r-{n}b", session, "part_of"),
        edge(f"r-{n}a", f"d-{n}", "responds_to"),
        edge(f"r-{n}a", f"o-{n}a", "rejected_by"),
        edge(f"c-{n}", f"r-{n}a", "corrects"),
        edge(f"r-{n}b", f"d-{n}", "responds_to"),
        edge(f"r-{n}b", f"c-{n}", "responds_to"),
        edge(f"r-{n}b", f"o-{n}b", "accepted_by"),
    ]
    return nodes, edges


def memory(*exchanges, sessions=("s-1",)):
    """Nodes and edges of some exchanges in some sessions."""
    nodes = [node(name, "session", f"about {name}") for name in sessions]
    edges = []
    for more_nodes, more_edges in exchanges:
        nodes += more_nodes
        edges += more_edges
    return nodes, edges


def node_link(nodes, edges, key="edges", **more):
    return {"directed": True, "multigraph": True, "graph": {}, "nodes": nodes, key: edges, **more}


def write(path, nodes, edges, key="edges", **more):
    path.write_text(json.dumps(node_link(nodes, edges, key, **more)))
    return path


def look(source, path, cursor=None):
    """One read of a source whose only unit is itself, as a graph."""
    found = SimpleNamespace(changed=False, graph=None, cursor=cursor, problems=())
    for batch in source.read(path, {} if cursor is None else {"": cursor}):
        found.cursor = batch.cursor
        if batch.whole:
            found.changed, found.graph = True, MemoryGraph.from_records(batch.nodes, batch.edges)
            found.problems = (*batch.problems, *found.graph.problems)
    return found
