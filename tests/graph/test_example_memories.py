"""The example memories say what their pages promise, and nothing gives their sides away but the behaviour."""

import json
import re
from collections import Counter
from datetime import datetime
from functools import lru_cache

import pytest
from mined_episodes import EXAMPLES, mine_pairs

from graph.behaviours.cues import matches
from graph.behaviours.patterns import BUILTIN
from graph.memory import MemoryGraph
from graph.mining.similarity import content_words
from graph.mining.stance import MAX_RATIO
from graph.schema import Outcome

NEUTRAL = EXAMPLES.parent / "daemon" / "neutral"
BEHAVIOURS = {behaviour.name: behaviour for behaviour in BUILTIN}
PAIRS = {"listening": 66, "not_rushing": 57, "mode_awareness": 60}
SHARED_BY_MOST = 0.8

each_example = pytest.mark.parametrize("name", sorted(PAIRS))


@lru_cache
def told(name):
    return json.loads((EXAMPLES / name / "memory.json").read_text(encoding="utf-8"))


@lru_cache
def graph_of(name):
    memory = told(name)
    return MemoryGraph.from_records(memory["nodes"], memory["edges"])


@lru_cache
def pairs_of(name, behaviour=None):
    return mine_pairs(graph_of(name).episodes("node-link"), BEHAVIOURS[behaviour or name])


def words(text):
    return re.findall(r"[\w']+", text.lower())


def said(memory, kind):
    return [node for node in memory["nodes"] if node["kind"] == kind]


def test_every_built_in_behaviour_has_an_example_and_every_example_is_tested():
    assert {path.parent.name for path in EXAMPLES.glob("*/memory.json")} == set(PAIRS) == set(BEHAVIOURS)


@each_example
def test_an_example_is_read_without_problems_and_gives_its_pairs(name):
    assert graph_of(name).problems == ()
    pairs = pairs_of(name)
    assert len(pairs) == PAIRS[name]
    assert {pair.behaviour for pair in pairs} == {name}


@each_example
def test_an_example_teaches_no_other_built_in_behaviour(name):
    assert {other: len(pairs_of(name, other)) for other in BEHAVIOURS if other != name} == {
        other: 0 for other in BEHAVIOURS if other != name
    }


@each_example
def test_the_page_of_an_example_states_what_is_in_it(name):
    page = (EXAMPLES / name / "README.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (.+?) \| (.+?) \|$", page, re.MULTILINE))
    memory = told(name)
    sessions = said(memory, "session")
    days = {session["ts"][:10] for session in sessions}
    stated = {label.split(",")[0].split(":")[0]: numbers(row) for label, row in rows.items()}
    assert stated["sessions"] == [len(sessions), len(days)]
    assert stated["directions"] == [len(said(memory, "direction"))]
    (of_pairs,) = (numbers(row) for label, row in rows.items() if label.endswith("pairs"))
    assert len(pairs_of(name)) in of_pairs


@each_example
def test_the_page_of_an_example_quotes_its_memory(name):
    page = (EXAMPLES / name / "README.md").read_text(encoding="utf-8")
    quoted = re.findall(r'^    (?:  (?:rejected|accepted|the human) +)?"(.+)"$', page, re.MULTILINE)
    assert len(quoted) >= 4
    assert set(quoted) <= {node["text"] for node in told(name)["nodes"]}


def numbers(text):
    return [int(number) for number in re.findall(r"\d+", text)]


@each_example
def test_an_example_goes_on_for_weeks_and_every_session_brings_pairs(name):
    pairs = pairs_of(name)
    memory = told(name)
    assert len({pair.group for pair in pairs}) == len(said(memory, "session")) >= 14
    assert len({session["ts"][:10] for session in said(memory, "session")}) >= 12
    assert max(Counter(pair.group for pair in pairs).values()) <= len(pairs) / 6


@each_example
def test_time_only_goes_forward_within_a_session(name):
    memory = told(name)
    at = {node["id"]: datetime.fromisoformat(node["ts"]) for node in memory["nodes"]}
    assert all(
        at[edge["source"]] >= at[edge["target"]]
        for edge in memory["edges"]
        if edge["kind"] in {"part_of", "responds_to"}
    )


@each_example
def test_the_two_sides_of_a_pair_are_of_like_length(name):
    """One by one, and together: a side that is longer as a rule would be a lesson in length."""
    ratios = [len(words(pair.positive)) / len(words(pair.negative)) for pair in pairs_of(name)]
    assert all(1 / MAX_RATIO <= ratio <= MAX_RATIO for ratio in ratios)
    assert 1 / 1.3 <= sum(ratios) / len(ratios) <= 1.3


@each_example
def test_no_word_and_no_cue_is_in_all_replies_of_a_side_and_not_of_the_other(name):
    pairs = pairs_of(name)
    sides = [[pair.positive for pair in pairs], [pair.negative for pair in pairs]]
    for own, other in (sides, sides[::-1]):
        share, elsewhere = shares(own), shares(other)
        assert all(share[word] - elsewhere[word] < SHARED_BY_MOST for word in share)
        first = Counter(words(text)[0] for text in own)
        assert first.most_common(1)[0][1] <= len(own) / 3


def shares(texts):
    counts = Counter(word for text in texts for word in set(words(text)))
    return Counter({word: count / len(texts) for word, count in counts.items()})


@each_example
def test_no_rejected_reply_is_said_twice(name):
    """Accepted ones may answer twice: a direction of `listening` is turned down twice before it is taken."""
    pairs = pairs_of(name)
    assert len({pair.negative for pair in pairs}) == len(pairs)
    assert len({pair.positive for pair in pairs}) >= len(pairs) - 1


@each_example
def test_an_example_has_more_than_pairs(name):
    """Questions, plain mistakes and what was accepted at once: a memory is no list of pairs."""
    episodes = graph_of(name).episodes("node-link")
    used = {one for pair in pairs_of(name) for one in pair.episodes}
    rest = [episode for episode in episodes if episode.id not in used]
    assert any(not episode.pairable for episode in rest)
    assert any(episode.outcome is Outcome.ACCEPTED for episode in rest)
    assert any(episode.outcome is Outcome.REJECTED for episode in rest)


@each_example
def test_no_direction_is_about_what_a_neutral_passage_is_about(name):
    """Neutral text measures what a vector does elsewhere, so elsewhere it must be."""
    passages = [set(content_words(line)) for file in NEUTRAL.glob("*.jsonl") for line in file.read_text().splitlines()]
    assert len(passages) > 50
    for pair in pairs_of(name):
        asked = set(content_words(pair.prompt[0].content))
        assert max(len(asked & passage) for passage in passages) <= 3


def test_mode_awareness_is_asked_for_in_both_modes():
    """Most directions ask to talk; some ask to act, and there the rejected reply is the one that only talks."""
    talks, acts = (
        [cue.partition(" ==> ")[0] for cue in BEHAVIOURS["mode_awareness"].positive_cues][place] for place in (0, -1)
    )
    asked = [pair.prompt[0].content for pair in pairs_of("mode_awareness")]
    acting = [direction for direction in asked if matches([acts], direction) and not matches([talks], direction)]
    assert len(acting) == 8
    assert sum(matches([talks], direction) for direction in asked) == len(asked) - len(acting)
