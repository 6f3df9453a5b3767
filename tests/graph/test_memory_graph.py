"""A memory graph is tolerant of what it is given and exact in what it says."""

import math
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memories import FIRST_MS, edge, exchange, memory, node

from graph.memory import MemoryGraph
from graph.records import milliseconds, plain
from graph.schema import NodeKind, Outcome
from graph.weights import is_question


def graph_of(*exchanges, **more):
    return MemoryGraph.from_records(*memory(*exchanges, **more))


def test_an_exchange_becomes_two_episodes_with_what_the_memory_knows():
    bad, good = graph_of(exchange(0)).episodes("node-link")
    assert (bad.outcome, bad.signal, bad.weight, bad.pairable) == (Outcome.CORRECTED, "human_turn", 0.8, True)
    assert (good.outcome, good.weight, good.words) == (Outcome.ACCEPTED, 0.9, "good")
    assert bad.session == good.session == "s-1"
    assert bad.direction_id == good.direction_id == "d-0"
    assert (bad.ts, good.ts) == (FIRST_MS + 2000, FIRST_MS + 5000)
    assert bad.source_ref == "node-link::r-0a"


def test_a_duplicate_id_keeps_the_later_node_and_tells():
    nodes, edges = memory(exchange(0))
    graph = MemoryGraph.from_records([*nodes, node("r-0a", "response", "The later text.")], edges)
    assert graph.node("r-0a")["text"] == "The later text."
    assert [(p.where, "duplicate" in p.what) for p in graph.problems] == [("r-0a", True)]


def test_a_dangling_edge_is_dropped_and_told():
    nodes, edges = memory(exchange(0))
    graph = MemoryGraph.from_records(
        nodes, [*edges, edge("r-0a", "nowhere", "responds_to"), edge(None, "d-0", "follows")]
    )
    assert [p.where for p in graph.problems] == ["r-0a → nowhere", "None → d-0"]
    assert "nowhere" not in graph.graph
    assert len(graph.episodes("x")) == 2


def test_unknown_kinds_are_left_out_once_and_their_edges_silently():
    nodes, edges = memory(exchange(0))
    graph = MemoryGraph.from_records(
        [*nodes, node("m-1", "mood", "sunny")], [*edges, edge("d-0", "m-1", "mentions"), edge("d-0", "r-0a", "likes")]
    )
    assert [p.where for p in graph.problems] == ["m-1", "d-0 → r-0a"]


def test_an_edge_the_wrong_way_round_is_told_and_makes_no_episode():
    nodes, edges = memory(exchange(0))
    turned = [e for e in edges if (e["source"], e["kind"]) != ("r-0a", "responds_to")]
    graph = MemoryGraph.from_records(nodes, [*turned, edge("d-0", "r-0a", "responds_to")])
    assert [e.response for e in graph.episodes("x")] == ["Right, gRPC it is."]
    assert {p.where for p in graph.problems} == {"d-0 → r-0a", "r-0a"}


@pytest.mark.parametrize("weight", [math.nan, math.inf, -1, 2, "much", True, [1]])
def test_a_weight_that_is_none_counts_as_one_and_is_told(weight):
    nodes, edges = memory(exchange(0))
    broken = [{**e, "weight": weight} if e["kind"] == "accepted_by" else e for e in edges]
    graph = MemoryGraph.from_records(nodes, broken)
    assert graph.episodes("x")[1].weight == 0.9
    assert "weight" in graph.problems[0].what


def test_a_response_without_text_or_outcome_or_direction_is_no_episode():
    nodes, edges = memory(exchange(0), exchange(1), exchange(2))
    nodes = [{**n, "text": " "} if n["id"] == "r-0a" else n for n in nodes]
    edges = [e for e in edges if e["source"] != "r-1a" or e["kind"] != "rejected_by"]
    edges = [e for e in edges if e["source"] != "r-2a" or e["kind"] != "responds_to"]
    graph = MemoryGraph.from_records(nodes, edges)
    assert sorted(e.source_ref for e in graph.episodes("x")) == ["x::r-0b", "x::r-1b", "x::r-2b"]
    assert {p.where for p in graph.problems} == {"r-0a", "r-2a"}


def test_a_response_to_a_correction_alone_answers_the_direction_behind_it():
    nodes, edges = memory(exchange(0))
    edges = [e for e in edges if (e["source"], e["target"]) != ("r-0b", "d-0")]
    assert [e.direction_id for e in MemoryGraph.from_records(nodes, edges).episodes("x")] == ["d-0", "d-0"]


def test_what_came_last_counts_so_an_undo_after_an_ok_is_a_rejection():
    nodes, edges = memory(exchange(0))
    nodes.append(node("o-undo", "outcome", "", FIRST_MS + 9000, signal="undo"))
    last = MemoryGraph.from_records(nodes, [*edges, edge("r-0b", "o-undo", "rejected_by")]).episodes("x")[-1]
    assert (last.response, last.outcome, last.signal, last.weight) == (
        "Right, gRPC it is.",
        Outcome.REJECTED,
        "undo",
        1.0,
    )


def test_an_outcome_of_a_proposal_is_an_outcome_of_its_response():
    nodes, edges = memory(exchange(0))
    nodes += [
        node("p-1", "proposal", "rm -rf build"),
        node("r-9", "response", "Cleaning."),
        node("o-9", "outcome", "no", signal="tool_rejected_with_reason"),
    ]
    edges += [edge("r-9", "p-1", "proposes"), edge("p-1", "o-9", "rejected_by"), edge("r-9", "d-0", "responds_to")]
    found = {e.response: e for e in MemoryGraph.from_records(nodes, edges).episodes("x")}
    assert (found["Cleaning."].outcome, found["Cleaning."].weight) == (Outcome.REJECTED, 1.0)


@pytest.mark.parametrize(
    ("signal", "words", "corrected", "weight", "pairable"),
    [
        ("tool_rejected_with_reason", "Use the old one.", True, 1.0, True),
        ("tool_rejected_with_reason", "Why the old one?", True, 0.3, False),
        ("tool_rejected", "", True, 0.6, True),
        ("tool_rejected", "", False, 0.6, False),
        ("undo", "", False, 1.0, True),
        ("interrupted", "", False, 0.4, False),
        ("failure_report", "It crashes.", True, 0.3, False),
        ("no_such_signal", "No.", False, 0.5, True),
    ],
)
def test_a_rejection_weighs_what_its_signal_says(signal, words, corrected, weight, pairable):
    nodes, edges = memory(exchange(0))
    nodes = [{**n, "text": words, "signal": signal} if n["id"] == "o-0a" else n for n in nodes]
    edges = edges if corrected else [e for e in edges if e["kind"] != "corrects"]
    bad = MemoryGraph.from_records(nodes, edges).episodes("x")[0]
    assert (bad.weight, bad.pairable) == (weight, pairable)


@pytest.mark.parametrize(
    "words",
    [
        "Why?",
        "What does --debug do here?",
        "No, why would you do that?",
        "which one do you mean? Thanks.",
        "(is it safe?)",
        "why errorbar=None",
        "what does this do",
        "Could you explain that.",
        "how come",
        "真的吗？",
        "And why the second one",
    ],
)
def test_words_that_ask_are_a_question(words):
    assert is_question(words)


@pytest.mark.parametrize(
    "words",
    [
        "",
        "No.",
        "Use the old one.",
        "What? No. Use the old one.",
        "When I say lock, I mean lock.",
        "What a mess.",
        "Why? Because I said so.",
        "Is that so? I told you to use gRPC.",
        "However you like, but not this.",
        "Whatever.",
        "? no, never",
    ],
)
def test_words_that_tell_are_none(words):
    assert not is_question(words)


def taken_up(*more_edges, to="c"):
    """A direction, a rejected response, its correction, and a response to `to` that was only answered."""
    nodes = [
        node("d", "direction", "Use gRPC."),
        node("r", "response", "HTTP it is.", FIRST_MS + 1),
        node("no", "outcome", "no", FIRST_MS + 2, signal="human_turn"),
        node("c", "correction", "gRPC, as I said.", FIRST_MS + 3),
        node("d2", "direction", "gRPC, as I said.", FIRST_MS + 3),
        node("r2", "response", "Right, gRPC.", FIRST_MS + 4),
        node("next", "outcome", "now the tests", FIRST_MS + 5, signal="human_turn"),
    ]
    edges = [
        edge("r", "d", "responds_to"),
        edge("r", "no", "rejected_by"),
        edge("c", "r", "corrects"),
        edge("r2", to, "responds_to"),
        edge("r2", "next", "answered_by"),
    ]
    episodes = MemoryGraph.from_records(nodes, [*edges, *more_edges]).episodes("x")
    return [(e.direction, e.response, e.outcome, e.signal, e.weight) for e in episodes]


def test_a_response_that_takes_up_a_correction_and_is_not_corrected_again_is_accepted_a_little():
    corrected = ("Use gRPC.", "HTTP it is.", Outcome.CORRECTED, "human_turn", 0.8)
    taken = ("Use gRPC.", "Right, gRPC.", Outcome.ACCEPTED, "taken_up", 0.4)
    assert taken_up() == [corrected, taken]
    assert taken_up(edge("d2", "d", "supersedes"), to="d2") == [corrected, taken]


def test_a_response_that_was_only_answered_says_nothing_by_itself():
    assert taken_up(to="d2") == [("Use gRPC.", "HTTP it is.", Outcome.CORRECTED, "human_turn", 0.8)]


def test_a_wordless_rejection_followed_by_a_question_is_a_question():
    nodes, edges = memory(exchange(0, words=""))
    nodes = [{**n, "text": "What does it do?"} if n["id"] == "c-0" else n for n in nodes]
    bad = MemoryGraph.from_records(nodes, edges).episodes("x")[0]
    assert (bad.weight, bad.pairable, bad.words) == (0.3, False, "What does it do?")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-03-02T08:00:00Z", FIRST_MS),
        ("2026-03-02T09:00:00+01:00", FIRST_MS),
        ("2026-03-02T08:00:00", FIRST_MS),
        (FIRST_MS, FIRST_MS),
        (float(FIRST_MS), FIRST_MS),
        ("yesterday", None),
        (math.nan, None),
        (-1, None),
        (10**30, None),
        (True, None),
        ("0001-01-01T00:00:00+14:00", None),
        (None, None),
    ],
)
def test_times_are_iso_or_milliseconds(value, expected):
    assert milliseconds(value) == expected


def test_a_time_that_cannot_be_read_is_told():
    graph = MemoryGraph.from_records([node("s", "session", ts="soon")], [])
    assert [(p.where, "soon" in p.what) for p in graph.problems] == [("s", True)]


def test_the_same_memory_in_any_order_has_the_same_episodes():
    nodes, edges = memory(exchange(0), exchange(1), exchange(2))
    one = MemoryGraph.from_records(nodes, edges).episodes("x")
    assert one == MemoryGraph.from_records(nodes[::-1], edges[::-1]).episodes("x")


def test_another_outcome_is_another_episode():
    nodes, edges = memory(exchange(0))
    turned = [{**e, "kind": "accepted_by"} if e["target"] == "o-0a" else e for e in edges]
    one, other = (MemoryGraph.from_records(nodes, each).episodes("x")[0] for each in (edges, turned))
    assert one.response == other.response
    assert one.id != other.id


def test_a_memory_without_sessions_counts_as_one_session():
    nodes, edges = memory(exchange(0), exchange(1), sessions=())
    graph = MemoryGraph.from_records(
        [{**n, "file": "m.json"} for n in nodes], [e for e in edges if e["kind"] != "part_of"]
    )
    assert {e.session for e in graph.episodes("x")} == {"file:m.json"}


def test_nodes_of_a_kind_come_by_time():
    graph = graph_of(exchange(1, "s-2"), exchange(0), sessions=("s-1", "s-2"))
    assert graph.of_kind(NodeKind.SESSION) == ["s-1", "s-2"]
    assert graph.of_kind(NodeKind.DIRECTION) == ["d-0", "d-1"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
IDS = st.sampled_from(["s-1", "d-0", "r-0a", "o-0a", "c-0", "", "\ud800"]) | JSON
RAW_NODES = st.fixed_dictionaries(
    {"id": IDS},
    optional={
        "kind": st.sampled_from([*map(str, NodeKind), "mood"]) | JSON,
        "text": JSON,
        "ts": JSON,
        "signal": JSON,
        "name": JSON,
        "positive_cues": JSON,
        "native_id": JSON,
        "file": JSON,
        "pole": JSON,
    },
)
EDGE_KINDS = st.sampled_from(
    [
        "responds_to",
        "rejected_by",
        "accepted_by",
        "answered_by",
        "instance_of",
        "corrects",
        "follows",
        "supersedes",
        "part_of",
    ]
)
RAW_EDGES = st.fixed_dictionaries(
    {"source": IDS, "target": IDS},
    optional={
        "kind": EDGE_KINDS | JSON,
        "weight": JSON,
        "ts": JSON,
        "pole": JSON,
        "method": JSON,
        "turn": JSON,
        "at": JSON,
        "signal": JSON,
    },
)


@given(st.lists(RAW_NODES | JSON, max_size=8), st.lists(RAW_EDGES | JSON, max_size=8))
def test_any_records_make_a_graph(more_nodes, more_edges):
    """Whatever is written in a memory, it is a graph, sound, with its problems told, and its episodes are texts."""
    nodes, edges = memory(exchange(0))
    graph = MemoryGraph.from_records([*nodes, *more_nodes], [*edges, *more_edges])
    for episode in graph.episodes("x"):
        episode.model_dump_json().encode()
        assert episode.direction.strip()
        assert episode.response.strip()
    assert all(problem.where.isprintable() or problem.what for problem in graph.problems)
    assert set(graph.graph) <= {n for n in graph.graph if isinstance(graph.node(n)["kind"], NodeKind)}


def test_lone_surrogates_become_replacement_characters():
    assert plain("a\ud800b") == "a\ufffdb"
    assert plain("\U0001f600") == "\U0001f600"


def test_looking_at_kinds_of_sources_does_not_load_networkx():
    import subprocess

    code = "import graph.sources, graph.mining.pairs, graph.behaviours.patterns, sys; print('networkx' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
