"""Damaged files and garbage: refused or read, never another error."""

import json

import networkx as nx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from memories import node_link
from memory_files import EDGES, FUZZ, NODES, plain_graph

from graph.errors import GraphError, TornFileError
from graph.memory import MemoryGraph
from graph.sources.graphml import parse_graphml
from graph.sources.node_link import parse_node_link

SOUND_JSON = json.dumps(node_link(NODES, EDGES)).encode()
SOUND_TEXTS = {n["text"] for n in NODES}
SOUND_GRAPHML = "\n".join(nx.generate_graphml(plain_graph(NODES, EDGES))).encode()
MUTATIONS = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.integers(0, 12),
        st.binary(max_size=4) | st.sampled_from([b'"', b"{", b"}", b",", b"<", b">", b"NaN"]),
    ),
    min_size=1,
    max_size=5,
)


def mutated(data, mutations):
    for place, length, new in mutations:
        at = int(place * len(data))
        data = data[:at] + new + data[at + length :]
    return data


@settings(max_examples=400 * FUZZ, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(MUTATIONS, st.sampled_from([(parse_node_link, SOUND_JSON), (parse_graphml, SOUND_GRAPHML)]))
def test_mutated_files_are_read_or_refused(mutations, parser):
    """A damaged file is a GraphError or a graph: never another error, and never an episode without its texts."""
    parse, sound = parser
    try:
        records = parse(mutated(sound, mutations), "m")
    except GraphError:
        return
    graph = MemoryGraph.from_records(records.nodes, records.edges)
    for episode in graph.episodes("x"):
        texts = {graph.node(n)["text"] for n in graph.graph}
        assert {episode.direction, episode.response} <= texts
        episode.model_dump_json().encode()


@settings(max_examples=300 * FUZZ, deadline=None)
@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_garbage_is_no_memory(data):
    for parse in (parse_node_link, parse_graphml):
        with pytest.raises(GraphError):
            parse(data, "m")


@settings(max_examples=200, deadline=None)
@given(st.integers(1, len(SOUND_JSON) - 1))
def test_a_file_cut_anywhere_is_torn(length):
    with pytest.raises(TornFileError):
        parse_node_link(SOUND_JSON[:length], "m")
