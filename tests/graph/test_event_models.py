"""What may be written in an event log, and what is refused by name."""

import orjson
import pytest
from event_logs import ROOT, TALK

from graph.events import (
    EVENTS,
    MAX_LINE,
    EventError,
    event_line,
    event_schema,
    events_schema,
    parse_event,
    read_event,
)

# ---------------------------------------------------------------- what may be written


def test_the_published_schema_is_that_of_the_models():
    published = (ROOT / "docs" / "events.schema.json").read_bytes()
    assert orjson.loads(published) == events_schema(), "python -m graph.events > docs/events.schema.json"


@pytest.mark.parametrize("kind", sorted(EVENTS))
def test_every_example_of_the_schema_is_an_event_that_survives_being_written(kind):
    examples = event_schema(kind)["examples"]
    assert examples
    for example in examples:
        event = parse_event(example)
        assert parse_event(orjson.loads(event_line(event))) == event


def test_every_key_of_every_event_is_described():
    silent = [
        f"{kind}.{key}"
        for kind in EVENTS
        for key, schema in event_schema(kind)["properties"].items()
        if key != "event" and not schema.get("description")
    ]
    assert silent == []


BAD = [
    ({"event": "direction", "session": "s", "text": "x", "mood": "cross"}, "direction: mood: unknown key"),
    ({"event": "direction", "session": "s", "text": " \n"}, "direction: text: says nothing"),
    ({"event": "direction", "text": "x"}, "direction: session: Field required"),
    ({"event": "direction", "session": "s\x00", "text": "x"}, "direction: session: has a control character"),
    ({"event": "direction", "session": "s", "text": "x", "id": 17}, "direction: id: should be a valid string"),
    ({"event": "direction", "session": "s", "text": "x", "id": "i" * 201}, "direction: id: String should have at most"),
    ({"event": "direction", "session": "s", "text": "x", "ts": 1.5}, "direction: ts: neither ISO 8601 nor UTC"),
    ({"event": "direction", "session": "s", "text": "x", "ts": True}, "direction: ts: neither ISO 8601 nor UTC"),
    ({"event": "response", "session": "s", "text": "x"}, "response: direction: Field required"),
    ({"event": "outcome", "response": "r", "polarity": "fine"}, "outcome: polarity: should be 'accepted', 'rejected'"),
    ({"event": "outcome", "response": "r", "polarity": "corrected"}, "outcome: correction: missing"),
    (
        {"event": "outcome", "response": "r", "polarity": "accepted", "correction": "no"},
        "outcome: correction: does not go with polarity accepted",
    ),
    ({"event": "outcome", "response": "r", "polarity": "neutral", "weight": 1.5}, "outcome: weight: should be less"),
    ({"event": "outcome", "response": "r", "polarity": "neutral", "signal": "Loud!"}, "outcome: signal: is no name"),
    ({"event": "preference", "text": "x", "prefers": "Small commits"}, "preference: prefers: is no name"),
    ({"event": "pattern", "name": "p", "positive_cues": "yes"}, "pattern: positive_cues: should be a valid tuple"),
    ({"event": "label", "response": "r", "behaviour": "b", "pole": "good"}, "label: pole: should be 'positive'"),
    ({"event": "mood", "text": "x"}, "event 'mood' is unknown; known are direction, response"),
    ({"text": "x"}, "event: missing"),
    ([1], "not a JSON object"),
]


@pytest.mark.parametrize(("raw", "message"), BAD)
def test_what_cannot_be_used_is_refused_by_name(raw, message):
    with pytest.raises(EventError) as refused:
        parse_event(raw)
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)
    assert refused.value.exit_code == 65


@pytest.mark.parametrize("raw", [raw for raw, _ in BAD])
def test_the_published_schema_refuses_the_same(raw):
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(events_schema())
    assert not validator.is_valid(raw)
    assert all(validator.is_valid(event) for event in TALK)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"event": "direction", "session": "s", "text": "x", "ts": 1_772_438_400}, "looks like seconds"),
        ({"event": "direction", "session": "s", "text": "x", "ts": "yesterday"}, "neither ISO 8601"),
        ({"event": "direction", "session": "s", "text": "a\ud800"}, "not valid Unicode"),
        ({"event": "pattern", "name": "p", "positive_cues": ["(a+)+"]}, "repeats a repeat"),
        ({"event": "pattern", "name": "p", "negative_cues": ["("]}, "not a regular expression"),
        ({"event": "outcome", "response": "r", "polarity": "neutral", "weight": float("nan")}, "weight"),
    ],
)
def test_what_a_schema_cannot_say_is_refused_too(raw, message):
    with pytest.raises(EventError, match=message):
        parse_event(raw)


def test_null_means_left_out_and_is_not_written():
    event = parse_event({"event": "direction", "session": "s", "text": "x", "follows": None, "ts": None})
    assert event_line(event) == b'{"event":"direction","session":"s","text":"x"}'


def test_a_line_has_a_limit():
    event = parse_event({"event": "direction", "session": "s", "text": "x" * MAX_LINE})
    with pytest.raises(EventError, match="a line holds at most 1,048,576"):
        event_line(event)


def test_reading_is_tolerant_where_writing_is_strict():
    found = read_event({"event": "direction", "session": "s", "text": "x", "mood": "cross", "\ud800": 1})
    assert found.event.text == "x"
    assert found.unknown == ("direction.mood", "direction.\ufffd")
    assert read_event({"event": "mood"}).unknown == ("mood",)
