"""Pairs from long responses and like directions, without repeats, within the caps."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memories import FIRST_MS
from mined_episodes import LISTENING, mine_pairs

from graph.mining.duplicates import first_of_alike
from graph.mining.limits import source_of
from graph.mining.pairs import MiningLimits, mine
from graph.schema import Episode


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
