"""Pairs: one direction, answered once well and once badly, in the same session, and nothing twice."""

import json
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memories import FIRST_MS, edge, exchange, memory, node
from mined_episodes import EXAMPLES, LISTENING, episodes, mine_pairs, pairs

from graph.behaviours.patterns import BUILTIN
from graph.memory import MemoryGraph
from graph.mining.pairs import assign_splits, normalised
from graph.mining.splits import SHARES
from graph.schema import ChatMessage, pairs_digest
from graph.weights import ACCEPTED, REJECTED


def test_an_exchange_becomes_a_pair_that_knows_where_it_comes_from():
    found = episodes(exchange(0))
    (pair,) = mine_pairs(found, LISTENING)
    assert pair.prompt == (ChatMessage(role="user", content="Use gRPC for service number x"),)
    assert (pair.positive, pair.negative) == ("Right, gRPC it is.", "I'd suggest plain HTTP instead.")
    assert (pair.group, pair.weight) == ("s-1", min(ACCEPTED["human_turn"], REJECTED["human_turn"]))
    assert pair.episodes == (found[1].id, found[0].id)


def test_a_question_gives_no_pair():
    assert pairs(exchange(0, words="Why plain HTTP?")) == []


def test_an_accepted_suggestion_and_a_rejected_yes_give_no_pair():
    assert pairs(exchange(0, rejected="Right, gRPC it is.", accepted="I'd suggest plain HTTP.")) == []


def test_two_directions_about_different_matters_never_make_one_pair():
    nodes, edges = memory(exchange(0), exchange(1))
    nodes = [{**n, "text": "Send the minutes to everybody who was there."} if n["id"] == "d-1" else n for n in nodes]
    kept = [e for e in edges if {e["source"], e["target"]}.isdisjoint({"o-0b", "o-1a"})]
    assert mine_pairs(MemoryGraph.from_records(nodes, kept).episodes("x"), LISTENING) == []


def test_two_sessions_never_make_one_pair():
    nodes, edges = memory(exchange(0), sessions=("s-1", "s-2"))
    moved = [{**e, "target": "s-2"} if (e["source"], e["kind"]) == ("r-0b", "part_of") else e for e in edges]
    assert mine_pairs(MemoryGraph.from_records(nodes, moved).episodes("x"), LISTENING) == []


def test_the_weaker_side_is_the_weight():
    nodes, edges = memory(exchange(0))
    nodes.append(node("listening", "pattern"))
    edges.append(edge("r-0a", "listening", "instance_of", pole="negative", weight=0.25))
    (pair,) = mine_pairs(MemoryGraph.from_records(nodes, edges).episodes("x"), LISTENING)
    assert pair.weight == pytest.approx(0.25 * REJECTED["human_turn"])
    edges[-1]["weight"] = 0
    assert mine_pairs(MemoryGraph.from_records(nodes, edges).episodes("x"), LISTENING) == []


def test_near_duplicates_collapse_to_the_earliest():
    twice = [
        exchange(5, accepted="right: gRPC it is", rejected="I'd suggest plain HTTP instead!"),
        exchange(3),
        exchange(4, accepted="Right, something else."),
    ]
    for n, (nodes, _) in zip((5, 3, 4), twice, strict=True):
        for each in nodes:
            if each["id"] == f"d-{n}":
                each["text"] = f"Use gRPC on port {n}"
    found = pairs(*twice)
    assert [pair.positive for pair in found] == ["Right, gRPC it is.", "Right, something else."]
    assert found[0].prompt[0].content == "Use gRPC on port 3"


def test_a_pair_whose_sides_say_the_same_is_none():
    marks = [edge("r-0a", "listening", "instance_of", pole="negative")]
    same = exchange(0, rejected="Right, gRPC it is!")
    assert pairs(same, nodes=[node("listening", "pattern")], edges=marks) == []


def test_each_rejected_response_meets_the_accepted_one_that_came_after_it():
    more = [
        node("r-2", "response", "I'd suggest Thrift.", FIRST_MS + 1500),
        node("o-2", "outcome", "no", FIRST_MS + 1600),
        node("r-3", "response", "Sure, gRPC with TLS.", FIRST_MS + 7000),
        node("o-3", "outcome", "yes", FIRST_MS + 8000),
    ]
    edges = [
        edge("r-2", "d-0", "responds_to"), edge("r-2", "o-2", "rejected_by"),
        edge("r-3", "d-0", "responds_to"), edge("r-3", "o-3", "accepted_by"),
    ]  # fmt: skip
    found = pairs(exchange(0), nodes=more, edges=edges)
    assert sorted((p.positive, p.negative) for p in found) == [
        ("Right, gRPC it is.", "I'd suggest Thrift."),
        ("Right, gRPC it is.", "I'd suggest plain HTTP instead."),
    ]


def test_the_order_of_episodes_makes_no_difference():
    found = episodes(*[exchange(n, accepted=f"Right, number {'x' * n}.") for n in range(9)])
    one = mine_pairs(found, LISTENING)
    shuffled = found[:]
    random.Random(3).shuffle(shuffled)
    assert mine_pairs(shuffled, LISTENING) == one
    assert len(one) == 9


def test_normalised_text_knows_no_case_numbers_or_punctuation():
    assert normalised("Use  Port 8080, NOW!") == normalised("use port 9, now")
    assert normalised("use port") != normalised("use ports")


GROUPS = st.lists(st.tuples(st.text(min_size=1, max_size=4), st.integers(1, 12)), unique_by=lambda g: g[0], max_size=25)


@given(GROUPS)
def test_a_group_never_moves_and_sides_are_the_same_every_time(groups):
    so_far = {}
    for n in range(len(groups) + 1):
        now = assign_splits(groups[:n], so_far)
        assert now == assign_splits(groups[:n], so_far)
        assert so_far.items() <= now.items()
        assert set(now) == {group for group, _ in groups[:n]}
        if n >= 3:
            assert set(now.values()) == set(SHARES)
        so_far = now
    assert assign_splits(groups, {}) == so_far


@given(GROUPS, GROUPS)
def test_groups_that_grew_stay_where_they_are(groups, later):
    before = assign_splits(groups, {})
    after = assign_splits([*later, *groups], before)
    assert before.items() <= after.items()


@given(st.lists(st.integers(1, 6), min_size=30, max_size=60))
def test_shares_are_kept_to_within_a_group(sizes):
    groups = [(str(n), size) for n, size in enumerate(sizes)]
    sides = assign_splits(groups, {})
    held = Counter()
    for group, size in groups:
        held[sides[group]] += size
    for side, share in SHARES.items():
        assert abs(held[side] - share * sum(sizes)) <= 2 * max(sizes)


def test_what_was_assigned_before_weighs_in():
    assert assign_splits([("a", 5), ("b", 5)], {"a": "test"}) == {"a": "test", "b": "train"}
    assert assign_splits([], {"gone": "train"}) == {"gone": "train"}


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), max_size=12, unique=True))
def test_no_session_and_no_near_duplicate_is_on_two_sides(shape):
    """Whatever repeats itself in whichever sessions: a pair is on one side, and so is all that its session brought."""
    exchanges = [exchange(i * 10, f"s-{s}", accepted=f"Right, {'y' * text}.") for i, (s, text) in enumerate(shape)]
    for nodes, _ in exchanges:
        nodes[0]["text"] = "Use gRPC."
    found = pairs(*exchanges, sessions=[f"s-{n}" for n in range(6)])
    sides = assign_splits(sorted(Counter(pair.group for pair in found).items()), {})
    seen = {}
    for pair in found:
        content = normalised(pair.positive), normalised(pair.negative)
        assert seen.setdefault(content, sides[pair.group]) == sides[pair.group]
    assert len(found) == len({text for _, text in shape})


def example(name):
    told = json.loads((EXAMPLES / name / "memory.json").read_text())
    graph = MemoryGraph.from_records(told["nodes"], told["edges"])
    assert graph.problems == ()
    return graph.episodes("node-link")


@pytest.mark.parametrize("behaviour", BUILTIN, ids=lambda b: b.name)
def test_the_example_memories_are_understood(behaviour):
    """Each of the project's own memories teaches its own behaviour, in at least 12 sessions, and not the other ones."""
    found = example(behaviour.name)
    own = mine_pairs(found, behaviour)
    assert len(own) >= 40
    groups = Counter(pair.group for pair in own)
    assert len(groups) >= 12
    sides = assign_splits(list(groups.items()), {})
    assert sum(size for group, size in groups.items() if sides[group] != "train") >= len(own) / 3
    for other in BUILTIN:
        if other != behaviour:
            assert mine_pairs(found, other) == []
    unpairable = {episode.id for episode in found if not episode.pairable}
    assert unpairable
    assert unpairable.isdisjoint(i for pair in own for i in pair.episodes)


@pytest.mark.parametrize(
    ("behaviour", "size", "digest"),
    [
        (BUILTIN[0], 66, "1113b892ad6dcc7432b55fc9fe9fd9482fe559c33c4a1de9670857ab65fa1f45"),
        (BUILTIN[1], 57, "96288a2d77e5299f8b51e0f716aaa7ecd2a724a83ac71c68e1f7e26ec11bee23"),
        (BUILTIN[2], 60, "1bcf28516cd12121211887faa3de35cb7da167e0d3c4aace1080ca7122f0f071"),
    ],
    ids=["listening", "not_rushing", "mode_awareness"],
)
def test_the_pairs_of_the_examples_stay_as_they_were_measured(behaviour, size, digest):
    """The published effects were measured on exactly these pairs."""
    found = mine_pairs(example(behaviour.name), behaviour)
    assert (len(found), pairs_digest(found)) == (size, digest)
