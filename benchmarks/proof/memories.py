"""The pairs of the example memories."""

import json
from functools import cache
from pathlib import Path

from graph.behaviours.patterns import BUILTIN
from graph.memory import MemoryGraph
from graph.mining.pairs import mine
from graph.schema import Behaviour, Pair

EXAMPLES = Path(__file__).parents[2] / "examples"


@cache
def pairs_of(behaviour: Behaviour) -> list[Pair]:
    told = json.loads((EXAMPLES / behaviour.name / "memory.json").read_text())
    return mine(MemoryGraph.from_records(told["nodes"], told["edges"]).episodes("node-link"), behaviour)[0]


def example_pairs() -> list[list[Pair]]:
    """Of the two that the demo watches."""
    return [pairs_of(behaviour) for behaviour in BUILTIN[:2]]
