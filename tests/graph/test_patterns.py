"""A label needs the sound of a response and the outcome that belongs to it, or the memory's own word."""

import json

import pytest
from memories import edge, exchange, memory, node
from mode_examples import HELD_OUT, TUNED

from graph.behaviours.cues import cue_fault, cues_of, matches
from graph.behaviours.patterns import BUILTIN, behaviour_name, behaviours_in, classify
from graph.errors import GraphError
from graph.memory import MemoryGraph
from graph.schema import Behaviour, Episode, Label

LISTENING, NOT_RUSHING, MODE_AWARENESS = BUILTIN
BREVITY = Behaviour(name="brevity", positive_cues=("^yes",), negative_cues=("in general",), version="7")


def episode(response, outcome="accepted", **more):
    body = {"id": "e", "session": "s", "direction_id": "d", "direction": "Do it.", "signal": "human_turn", "weight": 1,
            "pairable": True, "source_ref": "x:y:z", "ts": 0}  # fmt: skip
    return Episode(**body | {"response": response, "outcome": outcome} | more)


def pole(behaviour, response, outcome):
    label = classify(episode(response, outcome), behaviour)
    return label.pole if label else None


@pytest.mark.parametrize(
    ("response", "outcome", "expected"),
    [
        ("Yes.", "accepted", "positive"),
        ("Yes.", "rejected", None),
        ("In general, it depends.", "rejected", "negative"),
        ("In general, it depends.", "corrected", "negative"),
        ("In general, it depends.", "accepted", None),
        ("Yes. In general.", "accepted", None),
        ("Yes. In general.", "rejected", None),
        ("Perhaps.", "accepted", None),
        ("Yes.", "neutral", None),
        ("In general.", "neutral", None),
    ],
)
def test_cue_and_outcome_must_agree(response, outcome, expected):
    assert pole(BREVITY, response, outcome) == expected


def test_a_rule_label_says_which_version_of_the_cues():
    label = classify(episode("YES"), BREVITY)
    assert (label.behaviour, label.method, label.method_version) == ("brevity", "rule", "7")


def test_the_memorys_own_word_wins_over_cue_and_outcome():
    said = Label(behaviour="brevity", pole="negative", method="marker", method_version="1", weight=0.5)
    other = said.model_copy(update={"behaviour": "listening"})
    assert classify(episode("Yes.", labels=(other, said)), BREVITY) is said
    guess = said.model_copy(update={"method": "model"})
    assert classify(episode("Yes.", labels=(guess,)), BREVITY).pole == "positive"


@pytest.mark.parametrize(
    "response",
    [
        "Right, let me pull it in.",
        "Sure, switching to tabs.",
        "Got it. No ORM, plain SQL.",
        "Will do: one commit per file.",
        "I'll use vLLM's loader for it.",
        "Okay, as you said, only the header.",
        "You’re right, I'll keep the old name.",
        "Done the way you asked for it.",
        "Using your fixture now.",
        "Understood, nothing but the parser.",
        "Let me use the old API then.",
    ],
)
def test_a_direction_taken_sounds_like_listening(response):
    assert pole(LISTENING, response, "accepted") == "positive"


@pytest.mark.parametrize(
    "response",
    [
        "Actually, I think we should write our own.",
        "I'd suggest Redis for this.",
        "How about a queue?",
        "Have you considered Rust?",
        "A cleaner approach is to split the class.",
        "It might be better to wait for the release.",
        "Why not use httpx?",
        "We could also drop the cache instead.",
        "I would rather keep both.",
        "Wouldn't it be simpler to use a view?",
        "Maybe we should move this to a plugin.",
        "Are you sure? Most teams use Postgres here.",
        "I think a table would fit better.",
        "Alternatively, a cron job does the same.",
    ],
)
def test_an_alternative_suggested_sounds_like_not_listening(response):
    assert pole(LISTENING, response, "rejected") == "negative"


@pytest.mark.parametrize(
    "response",
    [
        "Let me look at the log first.",
        "May I ask which branch?",
        "Before I delete anything, here is the list.",
        "Which of the two do you mean?",
        "I'd like to see the query plan.",
        "Do you want both of them gone?",
        "First I want to reproduce it.",
        "I'll check who reads it.",
        "I haven't touched it yet.",
        "Here is a dry run, 12 rows would go.",
        "Let me quickly verify the backup.",
        "Could we try it on a copy?",
    ],
)
def test_looking_and_asking_sounds_like_not_rushing(response):
    assert pole(NOT_RUSHING, response, "accepted") == "positive"


@pytest.mark.parametrize(
    "response",
    [
        "Deleted the old branches.",
        "Done, all servers restarted.",
        "I've already pushed it.",
        "Went ahead and merged it.",
        "I just rewrote the module.",
        "The index is gone and deployed.",
        "OK. Dropped it.",
        "It's already live.",
    ],
)
def test_acting_at_once_sounds_like_rushing(response):
    assert pole(NOT_RUSHING, response, "rejected") == "negative"


@pytest.mark.parametrize("behaviour", BUILTIN, ids=lambda b: b.name)
@pytest.mark.parametrize(
    "response",
    [
        "It needs Python 3.8 or newer.",
        "I see.",
        "On node-3, next to the registry.",
        "41 GB, two more than last week.",
        "",
    ],
)
def test_plain_facts_show_neither_pole(behaviour, response):
    assert pole(behaviour, response, "accepted") is None
    assert pole(behaviour, response, "rejected") is None


@pytest.mark.parametrize("cue", [cue for b in BUILTIN for cue in (*b.positive_cues, *b.negative_cues)])
def test_built_in_cues_are_sound_and_quick(cue):
    assert cue_fault(cue) == ""
    for worst in (
        "I " * 60_000,
        "could you " * 20_000,
        "let me " * 20_000,
        "," * 100_000,
        "a" * 100_000,
        "first " * 20_000,
    ):
        matches((cue,), worst)  # a cue that loses itself would run for hours


@pytest.mark.parametrize("cue", ["(a+)+$", "(?:x*)*", "((a|b)*c)+", "(a{2,})*", "((a+))+"])
def test_a_repeated_repeat_is_refused(cue):
    assert "may never end" in cue_fault(cue)
    with pytest.raises(GraphError, match="behaviour brevity: cue"):
        classify(episode("a" * 40 + "!"), BREVITY.model_copy(update={"positive_cues": (cue,)}))


@pytest.mark.parametrize("cue", [r"(a+)?b", r"\(a+\)+", "[(a+)]+", "(ab)+c", "(?:a{1,3}b){2}", r"a+b+"])
def test_a_plain_repeat_is_fine(cue):
    assert cue_fault(cue) == ""


def test_a_broken_cue_is_an_error_that_names_behaviour_and_cue():
    with pytest.raises(GraphError, match=r"behaviour brevity: cue '\(' is not a regular expression"):
        classify(episode("x"), BREVITY.model_copy(update={"negative_cues": ("(",)}))
    assert "at most" in cue_fault("x" * 5000)


@pytest.mark.parametrize(
    ("value", "cues"),
    [
        (["a", "b", 3, ""], ("a", "b")),
        ("a", ("a",)),
        ('["a", "b"]', ("a", "b")),
        ("[a-z]+", ("[a-z]+",)),
        (None, ()),
        (5, ()),
        ({"a": 1}, ()),
    ],
)
def test_cues_come_as_lists_as_text_and_as_json(value, cues):
    assert cues_of(value) == cues


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("listening", "listening"),
        ("pattern-Not rushing", "not_rushing"),
        ("a.b", "a_b"),
        ("9lives", None),
        ("", None),
        ("né", None),
    ],
)
def test_names_of_patterns(given, name):
    assert behaviour_name(given) == name


def test_pattern_nodes_with_cues_are_behaviours():
    nodes = [
        node(
            "p-1",
            "pattern",
            "short answers",
            name="Brevity",
            positive="short",
            positive_cues=["^yes"],
            negative_cues='["long"]',
        ),
        node("p-2", "pattern", "no cues", name="listening"),
        node("p-3", "pattern", "a bad one", name="bad", positive_cues=["("]),
        node("p-4", "pattern", name="9", positive_cues=["x"]),
    ]
    graph = MemoryGraph.from_records(nodes, [])
    (found,) = behaviours_in(graph)
    assert (found.name, found.description, found.positive) == ("brevity", "short answers", "short")
    assert (found.positive_cues, found.negative_cues) == (("^yes",), ("long",))
    assert [p.where for p in graph.problems] == ["p-3"]


def test_other_cues_are_another_version():
    one, other = (
        behaviours_in(MemoryGraph.from_records([node("p", "pattern", name="b", positive_cues=[cue])], []))[0]
        for cue in "xy"
    )
    assert one.version != other.version


@pytest.mark.parametrize(
    ("more", "pattern", "expected"),
    [
        ({"pole": "negative"}, {}, "negative"),
        ({}, {"pole": "negative"}, "negative"),
        ({}, {}, "positive"),
        ({"pole": 7}, {"pole": json}, "positive"),
    ],
)
def test_an_instance_of_edge_labels_the_response(more, pattern, expected):
    nodes, edges = memory(exchange(0))
    nodes.append(node("pattern-odd", "pattern", **pattern))
    edges.append(edge("r-0a", "pattern-odd", "instance_of", weight=0.7, method="model", method_version="3", **more))
    (label,) = MemoryGraph.from_records(nodes, edges).episodes("x")[0].labels
    assert (label.behaviour, label.pole, label.weight) == ("odd", expected, 0.7)
    assert (label.method, label.method_version) == ("marker", "model:3")


def test_of_two_words_about_one_response_the_later_counts():
    nodes, edges = memory(exchange(0))
    nodes.append(node("odd", "pattern"))
    edges += [edge("r-0a", "odd", "instance_of", pole=p, ts=ts) for p, ts in (("negative", 9), ("positive", 5))]
    (label,) = MemoryGraph.from_records(nodes, edges).episodes("x")[0].labels
    assert label.pole == "negative"


def shown(direction, response, outcome):
    label = classify(episode(response, outcome, direction=direction), MODE_AWARENESS)
    return label.pole if label else None


@pytest.mark.parametrize(("direction", "response", "outcome", "expected"), TUNED)
def test_the_mode_that_was_asked_for_is_the_mode_of_the_answer(direction, response, outcome, expected):
    assert shown(direction, response, outcome) == expected


def test_modes_are_told_apart_on_exchanges_that_no_cue_was_fitted_to():
    assert len(HELD_OUT) >= 40
    found = [(shown(*example[:3]), example[3]) for example in HELD_OUT]
    assert [(got, wanted) for got, wanted in found if got is not None and got != wanted] == []
    right = sum(got == wanted for got, wanted in found)
    assert right / len(found) >= 0.9


@pytest.mark.parametrize(
    ("direction", "response", "pole"),
    [
        ("Explain the cache.", "I changed the cache.", "negative"),
        ("Change the cache.", "I changed the cache.", None),
        ("Change the cache.", "You can change the cache.", "negative"),
    ],
)
def test_the_same_words_are_right_or_wrong_by_what_was_asked(direction, response, pole):
    assert shown(direction, response, "rejected") == pole


def test_a_cue_may_ask_for_the_direction_too():
    cue = "why|explain ==> ^done"
    assert matches((cue,), "Done.", "Why?")
    assert not matches((cue,), "Done.", "Do it.")
    assert not matches((cue,), "Not done.", "Why?")
    assert matches(("^done",), "Done.")
    assert "is not a regular expression" in cue_fault("( ==> a")
    assert "is not a regular expression" in cue_fault("a ==> (")
    assert "may never end" in cue_fault("a ==> (b+)+")


def test_cues_look_at_the_stance_not_at_page_three():
    page = "Yes.\n\n" + "The module does this and that with the data that it is given. " * 40
    assert pole(BREVITY, page + "In general, it depends.", "accepted") == "positive"
    assert pole(BREVITY, page + "In general, it depends.", "rejected") is None
