"""Pairs: one direction, answered once well and once badly, in the same session, and nothing twice."""

import json
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memories import FIRST_MS, edge, exchange, memory, node

from graph.behaviours.patterns import BUILTIN
from graph.memory import MemoryGraph
from graph.mining.duplicates import first_of_alike
from graph.mining.limits import source_of
from graph.mining.pairs import MiningLimits, assign_splits, mine, mine_pairs, normalised
from graph.mining.splits import SHARES
from graph.schema import ChatMessage, Episode, pairs_digest
from graph.weights import ACCEPTED, REJECTED

LISTENING = BUILTIN[0]
EXAMPLES = Path(__file__).parents[2] / "examples"


def episodes(*exchanges, sessions=("s-1",), nodes=(), edges=()):
    own_nodes, own_edges = memory(*exchanges, sessions=sessions)
    return MemoryGraph.from_records([*own_nodes, *nodes], [*own_edges, *edges]).episodes("x")


def pairs(*exchanges, **more):
    return mine_pairs(episodes(*exchanges, **more), LISTENING)


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


@pytest.mark.parametrize("behaviour", BUILTIN[:2], ids=lambda b: b.name)
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
    ],
    ids=["listening", "not_rushing"],
)
def test_the_pairs_of_the_examples_stay_as_they_were_measured(behaviour, size, digest):
    """The published effects were measured on exactly these pairs."""
    found = mine_pairs(example(behaviour.name), behaviour)
    assert (len(found), pairs_digest(found)) == (size, digest)


def said(n, response, outcome, direction="Use gRPC for the billing service.", session="s-1", **more):
    body = {"id": f"e-{n:05}", "session": session, "direction_id": direction, "direction": direction, "weight": 0.8,
            "response": response, "outcome": outcome, "signal": "human_turn", "pairable": True, "ts": FIRST_MS + n,
            "source_ref": f"claude-code:{session}.jsonl:{n}"}  # fmt: skip
    return Episode(**body | more)


PAGE = (
    "\n\n## What changed\n\n- the client\n- the server\n\n" + "The server now reads its port from the settings. " * 30
)


def test_long_responses_are_compared_by_their_openings():
    yes = "Right, gRPC it is. I'll wire it into the billing service." + PAGE
    no = "I'd suggest plain HTTP instead. It is easier to trace for a service like this." + PAGE
    (pair,) = mine_pairs([said(1, no, "corrected"), said(2, yes, "accepted")], LISTENING)
    assert pair.positive == "Right, gRPC it is. I'll wire it into the billing service."
    assert pair.negative == "I'd suggest plain HTTP instead. It is easier to trace for a service like this."


def test_what_is_left_of_a_cut_response_still_shows_its_pole():
    no = "The billing service talks to four others in two networks, so a change of protocol is felt, I'd suggest HTTP."
    yes = "Right."
    pairs, report = mine([said(1, no, "corrected"), said(2, yes, "accepted")], LISTENING)
    assert pairs == []
    assert (report.negatives, report.incomparable) == (1, 1)


def test_a_like_direction_of_the_same_session_gives_the_counterpart():
    bad = said(1, "I'd suggest plain HTTP instead.", "corrected", "Use gRPC for the billing service, please.")
    good = said(2, "Right, gRPC for billing.", "accepted", "Use gRPC for the billing service of the shop.")
    pairs, report = mine([bad, good], LISTENING)
    assert [pair.episodes for pair in pairs] == [(good.id, bad.id)]
    assert pairs[0].prompt[0].content == bad.direction
    assert 0.3 < pairs[0].weight < 0.8
    assert (report.by_direction, report.by_similarity, report.no_counterpart) == (0, 1, 0)


@pytest.mark.parametrize(
    "other",
    [
        {"session": "s-2"},
        {"direction": "Send the minutes of the meeting to everybody."},
        {"pairable": False},
        {"outcome": "neutral"},
    ],
    ids=str,
)
def test_no_counterpart_is_taken_from_elsewhere(other):
    bad = said(1, "I'd suggest plain HTTP instead.", "corrected", "Use gRPC for the billing service, please.")
    fields = {"outcome": "accepted", "direction": "Use gRPC for the billing service of the shop."} | other
    pairs, report = mine([bad, said(2, "Right, gRPC for billing.", **fields)], LISTENING)
    assert pairs == []
    assert report.no_counterpart == 1


def test_short_directions_are_alike_without_being_about_one_matter():
    pairs = mine_pairs(
        [said(1, "I'd suggest we wait.", "corrected", "push it"), said(2, "Right, pushing.", "accepted", "push it!")],
        LISTENING,
    )
    assert pairs == []


def test_an_accepted_response_serves_one_like_direction_only():
    bad = [
        said(n, f"I'd suggest {w} instead.", "corrected", f"Use gRPC for the billing service {w}.")
        for n, w in enumerate(("HTTP", "Thrift"))
    ]
    good = said(9, "Right, gRPC for billing.", "accepted", "Use gRPC for the billing service.")
    _, report = mine([*bad, good], LISTENING)
    assert (report.by_similarity, report.no_counterpart) == (1, 1)


WORDS = [
    *("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heath", "inlet"),
    *("jetty", "knoll", "larch", "maple", "north", "oasis", "pearl", "quail", "river"),
]


def many(sessions, each, day_ms=0):
    """One pair a direction, all of them different."""
    found = []
    for s in range(sessions):
        for n in range(each):
            i = s * each + n
            a, b, c = WORDS[i % 18], WORDS[i // 18 % 18], WORDS[i // 324 % 18]
            common = {"direction": f"{a} {b} {c}", "session": f"s-{s}"}
            ts = FIRST_MS + s * day_ms + n
            found.append(said(2 * i, f"I'd suggest {b} {a} {c}.", "corrected", ts=ts, **common))
            found.append(said(2 * i + 1, f"Right, {c} {a} {b}.", "accepted", ts=ts, **common))
    return found


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (MiningLimits(per_session=3), "capped_session"),
        (MiningLimits(per_source=3), "capped_source"),
        (MiningLimits(per_day=3), "capped_day"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_caps_keep_the_heaviest_and_say_what_they_left_out(limits, reason):
    episodes = [e.model_copy(update={"weight": 0.5 + 0.01 * (n // 2)}) for n, e in enumerate(many(1, 8))]
    pairs, report = mine(episodes, LISTENING, limits)
    assert sorted(pair.weight for pair in pairs) == pytest.approx([0.55, 0.56, 0.57])
    assert (report.kept, getattr(report, reason)) == (3, 5)
    light = mine_pairs(episodes, LISTENING, MiningLimits())[0]
    assert light.weight == pytest.approx(0.5)
    assert light in mine_pairs(episodes, LISTENING, limits, pinned={light.id})
    assert len(mine_pairs(episodes, LISTENING, limits, pinned={light.id})) == 3


def test_undated_pairs_are_not_one_day():
    episodes = [e.model_copy(update={"ts": 0}) for e in many(1, 8)]
    assert len(mine_pairs(episodes, LISTENING, MiningLimits(per_day=3))) == 8


def test_the_source_is_kind_and_file_whatever_the_place_looks_like():
    assert source_of("claude-code:a/b.jsonl:120") == "claude-code:a/b.jsonl"
    assert source_of("node-link:memory.json:r:1") == "node-link:memory.json"


def test_near_duplicates_collapse_across_sessions():
    words = " ".join(WORDS)
    episodes = []
    for n, extra in enumerate(("at once", "at last")):
        common = {"direction": f"Please use {words} for it {extra}", "session": f"s-{n}"}
        episodes += [
            said(2 * n, f"I'd suggest {words} {extra}", "corrected", **common),
            said(2 * n + 1, f"Right, {words} {extra}", "accepted", **common),
        ]
    pairs, report = mine(episodes, LISTENING)
    assert [pair.group for pair in pairs] == ["s-0"]
    assert report.duplicate == 1
    assert len(mine_pairs(episodes, LISTENING, MiningLimits(near_duplicate=1.0))) == 2
    second = mine_pairs(episodes[2:], LISTENING)[0]
    assert second in mine_pairs(episodes, LISTENING, pinned={second.id})


def test_a_dropped_pair_stays_away_and_takes_what_repeats_it_along():
    episodes = many(2, 4)
    pairs = mine_pairs(episodes, LISTENING)
    twin = [
        e.model_copy(update={"id": f"t{e.id}", "session": "s-9", "ts": e.ts + 9})
        for e in episodes
        if e.id in pairs[0].episodes
    ]
    left, report = mine([*episodes, *twin], LISTENING, dropped={pairs[0].id})
    assert left == pairs[1:]
    assert report.dropped == 2


def test_every_rejected_response_is_accounted_for():
    rng = random.Random(4)
    shuffled = [
        e.model_copy(update={"direction": rng.choice(("a b c", e.direction)), "weight": rng.random()})
        for e in many(4, 12)
    ]
    for limits in (MiningLimits(), MiningLimits(per_session=2, per_source=5, per_day=9)):
        pairs, r = mine(shuffled, LISTENING, limits)
        assert r.negatives == r.by_direction + r.by_similarity + r.no_counterpart + r.incomparable
        left = r.duplicate + r.dropped + r.capped_session + r.capped_source + r.capped_day
        assert r.by_direction + r.by_similarity == r.kept + left
        assert r.kept == len(pairs)


def test_records_that_repeat_an_earlier_one_point_to_it():
    base = " ".join(WORDS)
    records = [
        (base, "yes"),
        (base + " too", "yes"),
        (base, "no"),
        ("", ""),
        ("...", "!"),
        ("", ""),
        (base.upper(), "Yes!"),
    ]
    assert first_of_alike(records) == [0, 0, 2, 3, 4, 3, 0]


TEXTS = st.lists(st.sampled_from(WORDS[:5]), max_size=12).map(" ".join)


@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=12), st.sampled_from([0.5, 0.8, 1.0]))
def test_nothing_alike_is_overlooked(records, threshold):
    """Against every pair compared one by one."""

    def shingles(text):
        words = text.split()
        return {tuple(words[i : i + n]) for n in (1, 2, 3) for i in range(len(words) - n + 1)}

    def alike(one, other):
        sides = [(shingles(a), shingles(b)) for a, b in zip(one, other, strict=True)]
        return all((not a and not b) or (a and b and len(a & b) >= threshold * len(a | b)) for a, b in sides)

    kept, expected = [], []
    for index, record in enumerate(records):
        same = next((earlier for earlier in kept if alike(record, records[earlier])), index)
        expected.append(same)
        if same == index:
            kept.append(index)
    assert first_of_alike(records, threshold) == expected


def test_twenty_thousand_episodes_are_no_matter():
    episodes = many(500, 20, day_ms=86_400_000)
    assert len(episodes) == 20_000
    _, report = mine(episodes, LISTENING, MiningLimits(per_session=100, per_day=100))
    assert report.negatives == 10_000
