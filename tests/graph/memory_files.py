"""Memory files, sound ones to start from."""

import os

import networkx as nx
from memories import exchange, memory

from graph.sources import get_source

FUZZ = int(os.environ.get("REFLEXD_FUZZ", "1"))
NODE_LINK = get_source("node-link")
GRAPHML = get_source("graphml")


def plain_graph(nodes, edges):
    """The graph as an agent would hold it in networkx."""
    graph = nx.MultiDiGraph()
    graph.add_nodes_from((n["id"], {k: v for k, v in n.items() if k != "id"}) for n in nodes)
    graph.add_edges_from((e["source"], e["target"], {k: e[k] for k in ("kind", "weight") if k in e}) for e in edges)
    return graph


def responses(reading):
    return [episode.response for episode in reading.graph.episodes("x")]


NODES, EDGES = memory(exchange(0), exchange(1))
