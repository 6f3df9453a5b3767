"""Corrections that say the same are found and named; corrections that say nothing in common are left alone."""

import random
import re

import pytest

from graph.behaviours.cues import cue_fault, matches
from graph.discovery.phrases import as_cue, characteristic
from graph.discovery.propose import DiscoveryLimits, propose_behaviours
from graph.schema import Behaviour, Episode

PLANTED = {
    "tests": [
        "you said done but you never ran the tests",
        "run the tests before you tell me it works",
        "tests are red, did you even run them",
        "again without running the tests, please run them",
        "no, run the tests first and then say it works",
        "you did not run the tests, two of them fail",
        "it does not work, the tests fail, run them before you say so",
        "please run all tests before you call it done",
    ],
    "german": [
        "please answer in german, not in english",
        "german please, not english",
        "I asked you to write to me in german",
        "again english, answer me in german",
        "no, in german, as always, and no english",
        "you switched back to english, german please",
        "why english again? answer in german",
    ],
    "scope": [
        "you changed other files too, only touch the parser",
        "leave the other files alone, I asked for one change",
        "revert the other files, only change what I asked",
        "no, don't touch other files, only this one",
        "you touched files I never asked about, only change the parser",
        "only change the file I asked for, not the other files",
    ],
}
SINGLE = [
    "the port is 5432 there",
    "use tabs",
    "call it ledger, not book",
    "that is the old logo",
    "the customer is called Maier",
    "no, Tuesday",
    "I meant the staging database",
    "make the title shorter",
    "the second paragraph repeats the first",
    "drop the cache",
    "twelve columns are too many",
    "the invoice goes to accounting",
    "keep the old endpoint for a month",
    "wrong branch",
    "no emoji in the commit message",
    "the date should come before the name",
    "blue, like the rest of the page",
    "that's not how the router does retries",
    "you forgot the header row",
    "the meeting is at nine",
    "pick the cheaper instance",
    "put it under docs",
    "sort by price",
    "too formal for her",
    "the lock must be released in both branches",
    "use the existing logger",
    "we don't ship to Canada",
    "the regex misses umlauts",
    "write it as a list",
    "no, undo that",
    "one sentence is enough",
    "the ticket is OPS-12",
    "that table has no index",
    "it should retry three times",
    "the mail went to the wrong list",
    "not in the constructor",
    "rename the flag back",
    "that breaks on Windows",
    "take the median instead",
    "ask Ines first",
]
OPENINGS = [
    "All green, I am done with the module.",
    "Done. The change is in the service layer.",
    "Here is the new version of it.",
    "The report covers both quarters now.",
    "I rewrote the section and tightened the wording.",
    "The query joins on the account id.",
]


def correction(n, words, session, response="Here is the new version of it.", **more):
    body = {"id": f"{n:05}", "session": session, "direction_id": f"d{n}", "direction": f"Task {n}", "weight": 0.8,
            "response": response, "outcome": "corrected", "signal": "human_turn", "pairable": True, "ts": n,
            "source_ref": f"x:{session}:{n}", "words": words}  # fmt: skip
    return Episode(**body | more)


def planted(seed):
    """All groups and the single ones, in a random order over eight sessions, and the group of each."""
    rng = random.Random(seed)
    texts = [(name, text) for name, group in PLANTED.items() for text in group] + [("", text) for text in SINGLE]
    rng.shuffle(texts)
    found = [correction(n, text, f"s{rng.randrange(8)}", rng.choice(OPENINGS)) for n, (_, text) in enumerate(texts)]
    return found, {episode.id: name for episode, (name, _) in zip(found, texts, strict=True)}


@pytest.mark.parametrize("seed", range(5))
def test_planted_groups_are_found_whole_and_pure(seed):
    episodes, group_of = planted(seed)
    found = {}
    for proposal in propose_behaviours(episodes):
        groups = [group_of[i] for i in proposal.episodes]
        name = max(set(groups), key=groups.count)
        assert groups.count(name) / len(groups) >= 0.8
        assert groups.count(name) / len(PLANTED[name]) >= 0.5
        found[name] = proposal
    assert len(found) >= 2
    assert found["scope"].size >= 6
    assert {"other", "files", "only"} & set(found["scope"].terms)


def test_nothing_is_proposed_from_shuffled_words():
    """Forty times the same words, dealt out at random: at most one group in all may seem to mean something."""
    proposed = 0
    for seed in range(40):
        rng = random.Random(seed)
        episodes, _ = planted(seed)
        words = [word for episode in episodes for word in episode.words.split()]
        rng.shuffle(words)
        deal = iter(words)
        dealt = [e.model_copy(update={"words": " ".join(next(deal) for _ in e.words.split())}) for e in episodes]
        proposed += len(propose_behaviours(dealt))
    assert proposed <= 1


def test_single_corrections_are_no_behaviour():
    assert propose_behaviours([correction(n, text, f"s{n % 8}") for n, text in enumerate(SINGLE)]) == []
    assert propose_behaviours([]) == []


def test_the_same_episodes_give_the_same_proposals_in_any_order():
    episodes, _ = planted(0)
    expected = propose_behaviours(episodes)
    assert expected
    for seed in range(4):
        random.Random(seed).shuffle(episodes)
        assert propose_behaviours(episodes) == expected


def test_a_group_needs_enough_corrections_in_enough_sessions():
    def proposed(count, sessions):
        texts = PLANTED["scope"][:count]
        group = [correction(n, text, f"s{n % sessions}") for n, text in enumerate(texts)]
        others = [correction(90 + n, text, f"s{n % 8}") for n, text in enumerate(SINGLE)]
        return [p.name for p in propose_behaviours([*group, *others], (), DiscoveryLimits(least_episodes=5))]

    assert proposed(6, 3)
    assert proposed(4, 3) == []
    assert proposed(6, 2) == []


def test_what_a_known_behaviour_explains_is_not_proposed_again():
    episodes, group_of = planted(0)
    claims = [e.model_copy(update={"response": "All green."}) if group_of[e.id] == "tests" else e for e in episodes]
    known = Behaviour(name="checks", negative_cues=("^all green",))
    assert any("tests" in p.terms for p in propose_behaviours(claims))
    assert not any("tests" in p.terms for p in propose_behaviours(claims, [known]))


@pytest.mark.parametrize("change", [{"pairable": False}, {"outcome": "accepted"}, {"words": " "}], ids=str)
def test_only_corrections_with_words_count(change):
    episodes, _ = planted(0)
    assert propose_behaviours([e.model_copy(update=change) for e in episodes]) == []


def test_a_proposal_can_be_adopted():
    """Its cues are phrases of the corrected responses, and of those that the human then accepted."""
    rng = random.Random(1)
    episodes, group_of = planted(1)
    told = []
    for n, episode in enumerate(episodes):
        if group_of[episode.id] == "tests":
            told.append(
                episode.model_copy(
                    update={"response": f"All is well now, part {n} works as it should. {rng.choice(OPENINGS)}"}
                )
            )
            told.append(correction(500 + n, "thanks", episode.session, f"The test run passes, {n} of them.",
                                   direction_id=episode.direction_id, outcome="accepted"))  # fmt: skip
        else:
            told.append(episode)
    proposal = next(p for p in propose_behaviours(told) if "tests" in p.terms)
    behaviour = proposal.behaviour()
    assert re.fullmatch(r"[a-z][a-z0-9_]*", behaviour.name)
    assert behaviour.negative_cues
    assert behaviour.positive_cues
    assert all(cue_fault(cue) == "" for cue in (*behaviour.negative_cues, *behaviour.positive_cues))
    assert matches(behaviour.negative_cues, "All is well now, part 3 works as it should.")
    assert matches(behaviour.positive_cues, "The test run passes.")
    assert not matches(behaviour.negative_cues, "The test run passes.")
    assert proposal.examples
    assert set(proposal.episodes) <= {e.id for e in told}
    assert proposal.sessions == len({e.session for e in told if e.id in proposal.episodes})


def test_a_name_that_is_taken_gets_a_number():
    episodes, _ = planted(0)
    name = propose_behaviours(episodes)[0].name
    again = propose_behaviours(episodes, [Behaviour(name=name)])
    assert f"{name}_2" in [proposal.name for proposal in again]


def test_phrases_tell_texts_from_others():
    here = [["i", "will", "just", "commit"], ["i", "will", "just", "push"], ["we", "will", "just", "wait"]]
    there = [["i", "wait"], ["i", "will", "ask"], ["push", "it"]]
    best = characteristic(here, there, 3, 0.6, 2.0)
    assert best[0].words == ("will", "just")
    assert all(phrase.share >= 0.6 for phrase in best)
    assert ("i",) not in [phrase.words for phrase in best]
    assert re.search(as_cue(("will", "just")), "I will -- just wait")
    assert not re.search(as_cue(("will", "just")), "I will justify")
