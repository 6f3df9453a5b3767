"""Episodes from which pairs are mined."""

from pathlib import Path

from memories import memory

from graph.behaviours.patterns import BUILTIN
from graph.memory import MemoryGraph
from graph.mining.pairs import mine

LISTENING = BUILTIN[0]
EXAMPLES = Path(__file__).parents[2] / "examples"


def mine_pairs(*evidence, **limits):
    """The pairs alone, without the report."""
    return mine(*evidence, **limits)[0]


def episodes(*exchanges, sessions=("s-1",), nodes=(), edges=()):
    own_nodes, own_edges = memory(*exchanges, sessions=sessions)
    return MemoryGraph.from_records([*own_nodes, *nodes], [*own_edges, *edges]).episodes("x")


def pairs(*exchanges, **more):
    return mine_pairs(episodes(*exchanges, **more), LISTENING)
