"""What an agent may write down itself, one JSON object a line: directions, responses, outcomes, preferences, patterns.

    direction ◀─direction─ response ◀─response─ outcome
        └─follows─▶ the response that the human had before them

Writing is strict (`parse_event`): an unknown event or key is an error. Reading is tolerant (`read_event`): a log may
be written for a newer reflexd, so what is not known is named and passed over. `python -m graph.events` prints the
JSON Schema, docs/events.schema.json.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

import orjson
from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictStr,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic.json_schema import GenerateJsonSchema

from graph.behaviours.cues import MAX_CUE, cue_fault
from graph.errors import GraphError
from graph.records import milliseconds, plain
from graph.schema import Frozen

MAX_LINE = 2**20
"""Bytes of one line, its newline not counted."""

_EARLIEST_MS = 100_000_000_000  # 1973: a smaller number is seconds by mistake


class EventError(GraphError):
    """An event that cannot be used; the message names event and key."""


def _moment(value: object) -> object:
    if isinstance(value, float) or milliseconds(value) is None:
        raise ValueError("neither ISO 8601 nor UTC milliseconds")
    if isinstance(value, int) and value < _EARLIEST_MS:
        raise ValueError(f"{value} looks like seconds; give UTC milliseconds")
    return value


def _cue(value: str) -> str:
    fault = cue_fault(value)
    if fault:
        raise ValueError(fault)
    return value


_SAYS_SOMETHING = r"\S"
_NAME = r"^[^\x00-\x20\x7f]([^\x00-\x1f\x7f]*[^\x00-\x20\x7f])?$"
_WORD = r"^[a-z][a-z0-9_]*$"
_UNMATCHED = {
    _SAYS_SOMETHING: "says nothing; leave the key out or give text",
    _NAME: "has a control character, or a space at an end",
    _WORD: "is no name: lower-case letters, digits and _",
}
Name = Annotated[StrictStr, Field(min_length=1, max_length=200, pattern=_NAME)]
Text = Annotated[StrictStr, Field(min_length=1, pattern=_SAYS_SOMETHING)]
Word = Annotated[StrictStr, Field(max_length=60, pattern=_WORD)]
Weight = Annotated[float, Field(strict=True, ge=0, le=1)]
Cues = Annotated[
    tuple[Annotated[StrictStr, Field(min_length=1, max_length=MAX_CUE), AfterValidator(_cue)], ...],
    Field(max_length=200),
]
Moment = Annotated[int | str, BeforeValidator(_moment)]
Ts = Annotated[
    Moment | None,
    Field(description="When: ISO 8601 (without a zone: UTC) or UTC milliseconds. `reflexd record` writes the present."),
]


def _shown(name: str, *examples: str, **keywords: Any) -> ConfigDict:
    """Title and examples (lines of a log) for the published schema, and keywords that its reader should know too."""
    more = {"examples": [orjson.loads(example) for example in examples], **keywords}
    # Most processes record one kind of event and end: the others need not be built.
    return ConfigDict(title=name, json_schema_extra=more, defer_build=True)


def _own_id(of: str) -> Any:
    return Field(default=None, description=f"{of} own id, by which later events refer to it. Unique among its kind.")


class DirectionEvent(Frozen):
    """What the human asked the agent to do, or how to do it: one human turn, in the human's own words."""

    model_config = _shown(
        "direction",
        '{"event": "direction", "id": "d-7", "session": "billing-3", "text": "Use the vendored parser."}',
        '{"event": "direction", "id": "d-8", "session": "billing-3", "text": "Good. Now the invoices.",'
        ' "follows": "r-7b", "ts": "2026-03-02T08:12:00Z"}',
    )
    event: Literal["direction"]
    id: Name | None = _own_id("The direction's")
    session: Name = Field(description="The sitting it belongs to, by any name that is unique in this log.")
    text: Text = Field(description="The human's words, unchanged.")
    follows: Name | None = Field(
        default=None,
        description="Id of the response before them. How it was taken is then read from the human's words.",
    )
    ts: Ts = None


class ResponseEvent(Frozen):
    """What the agent said or proposed then, in the agent's own words."""

    model_config = _shown(
        "response",
        '{"event": "response", "id": "r-7a", "session": "billing-3", "direction": "d-7",'
        ' "text": "I\'d suggest we write our own parser; it would be cleaner.",'
        ' "proposal": "Create billing/parser.py, a recursive descent parser."}',
    )
    event: Literal["response"]
    id: Name | None = _own_id("The response's")
    session: Name = Field(description="The sitting it belongs to: that of its direction.")
    text: Text = Field(description="What the agent said to the human, unchanged; its first words show the stance.")
    direction: Name = Field(
        description="Id of the direction it answers. After a correction that is still the direction which was "
        "corrected, so that both answers can be compared."
    )
    proposal: Text | None = Field(default=None, description="The plan or tool call that it proposes, if any.")
    ts: Ts = None


class OutcomeEvent(Frozen):
    """How the human took a response. Of several outcomes of one response the last counts."""

    model_config = _shown(
        "outcome",
        '{"event": "outcome", "response": "r-7a", "polarity": "corrected", "words": "No.",'
        ' "correction": "The vendored one, please."}',
        '{"event": "outcome", "response": "r-7b", "polarity": "accepted", "words": "good", "signal": "human_turn"}',
        dependentSchemas={
            "correction": {
                "anyOf": [
                    {"properties": {"correction": {"type": "null"}}},
                    {"properties": {"polarity": {"enum": ["rejected", "corrected"]}}},
                ]
            }
        },
        **{"if": {"properties": {"polarity": {"const": "corrected"}}}},
        then={
            "anyOf": [{"properties": {key: {"type": "string"}}, "required": [key]} for key in ("words", "correction")]
        },
    )
    event: Literal["outcome"]
    id: Name | None = _own_id("The outcome's")
    response: Name = Field(description="Id of the response; it may have been recorded long before, or come later.")
    polarity: Literal["accepted", "rejected", "corrected", "neutral"] = Field(
        description="accepted: the human took it. rejected: they did not want it. corrected: they said what to do "
        "instead. neutral: they answered or asked, without judging it."
    )
    words: Text | None = Field(
        default=None, description="What the human said to it, unchanged. A question makes no pair."
    )
    correction: Text | None = Field(
        default=None,
        description="What to do instead, in the human's words. `corrected` without it takes `words` for it.",
    )
    signal: Word = Field(
        default="recorded",
        description="How it is known: human_turn (their words), tool_rejected, tool_rejected_with_reason, interrupted, "
        "undo, edited, rolled_back, plan_approved, human_accept, no_pushback, failure_report, or a name of your own.",
    )
    weight: Weight | None = Field(default=None, description="How sure it is, 0 to 1; left out it is 1.")
    ts: Ts = None

    @model_validator(mode="after")
    def _corrections_belong_to_a_no(self) -> Self:
        if self.correction is not None and self.polarity not in {"rejected", "corrected"}:
            raise ValueError(f"correction: does not go with polarity {self.polarity}; use corrected")
        if self.polarity == "corrected" and self.correction is None and self.words is None:
            raise ValueError("correction: missing; `corrected` needs the human's words, else use rejected")
        return self


class PreferenceEvent(Frozen):
    """A lasting wish of the human, beyond the moment."""

    model_config = _shown(
        "preference",
        '{"event": "preference", "text": "Look at the schema before you touch a migration.", "prefers": "not_rushing"}',
        '{"event": "preference", "text": "No essays. The answer, then stop.", "avoids": "lecturing"}',
    )
    event: Literal["preference"]
    id: Name | None = _own_id("The preference's")
    text: Text = Field(description="The wish, in the human's words where there are any.")
    prefers: Word | None = Field(default=None, description="Name of a behaviour that the human wants.")
    avoids: Word | None = Field(default=None, description="Name of a behaviour that the human does not want.")
    ts: Ts = None


class PatternEvent(Frozen):
    """A behaviour of your own with its two poles, known by its name; the last one of a name counts."""

    model_config = _shown(
        "pattern",
        '{"event": "pattern", "name": "brevity", "description": "answers in a line / lectures",'
        ' "positive": "Answers what was asked, and stops.", "negative": "Explains what nobody asked.",'
        r' "positive_cues": ["^(yes|no|done)\\b"], "negative_cues": ["\\blet me explain\\b", "\\bin general\\b"]}',
    )
    event: Literal["pattern"]
    name: Word = Field(description="Lower-case letters, digits and _.")
    description: Text | None = Field(default=None, description="Both poles in a line.")
    positive: Text | None = Field(default=None, description="The pole that is wanted.")
    negative: Text | None = Field(default=None, description="The pole that is not.")
    positive_cues: Cues = Field(
        default=(), description="Regular expressions, any case; one that is found in a response shows the wanted pole."
    )
    negative_cues: Cues = Field(default=(), description="The same for the pole that is not wanted.")
    ts: Ts = None


class LabelEvent(Frozen):
    """Which pole of a behaviour a response shows, said by whoever knows: it outranks cues. The last one counts."""

    model_config = _shown(
        "label", '{"event": "label", "response": "r-7a", "behaviour": "listening", "pole": "negative"}'
    )
    event: Literal["label"]
    response: Name = Field(description="Id of the response.")
    behaviour: Word = Field(description="Name of a behaviour: built in, configured, or a pattern of this log.")
    pole: Literal["positive", "negative"] = Field(description="positive: the pole that is wanted.")
    weight: Weight | None = Field(default=None, description="How sure it is, 0 to 1; left out it is 1.")
    ts: Ts = None


Event = DirectionEvent | ResponseEvent | OutcomeEvent | PreferenceEvent | PatternEvent | LabelEvent
AnyEvent = Annotated[Event, Field(discriminator="event")]

EVENTS: Mapping[str, type[Event]] = MappingProxyType(
    {
        "direction": DirectionEvent,
        "response": ResponseEvent,
        "outcome": OutcomeEvent,
        "preference": PreferenceEvent,
        "pattern": PatternEvent,
        "label": LabelEvent,
    }
)


@dataclass(frozen=True)
class ReadEvent:
    """What a line says: an event, or None if it is of an unknown kind; and the names that were not known."""

    event: Event | None
    unknown: tuple[str, ...] = ()


def parse_event(raw: object) -> Event:
    """The event that `raw`, a decoded JSON value, is; nothing in it may be unknown.

    Raises:
        EventError: It is none; the message names event and key.
    """
    kind, fields = _named(raw)
    if kind not in EVENTS:
        raise EventError(f"event {kind[:40]!r} is unknown; known are {', '.join(EVENTS)}")
    return _made(kind, fields)


def read_event(raw: object) -> ReadEvent:
    """The event that `raw` is as far as it is known; unknown keys are left out and named, as in `direction.mood`.

    Raises:
        EventError: A key that is known has no usable value, or one that is needed is missing.
    """
    kind, fields = _named(raw)
    if kind not in EVENTS:
        return ReadEvent(None, (plain(kind),))
    known = EVENTS[kind].model_fields.keys()
    unknown = tuple(f"{kind}.{plain(key)}" for key in fields if key not in known)
    return ReadEvent(_made(kind, {key: value for key, value in fields.items() if key in known}), unknown)


def event_line(event: Event) -> bytes:
    """The event as one line of a log, without the newline: keys that say nothing are left out.

    Raises:
        EventError: It is longer than `MAX_LINE` bytes.
    """
    said = event.model_dump(mode="json", exclude_none=True, exclude_defaults=True, exclude={"event"})
    line = orjson.dumps({"event": event.event, **said})
    if len(line) > MAX_LINE:
        raise EventError(f"{event.event}: {len(line):,} bytes, a line holds at most {MAX_LINE:,}; shorten the text")
    return line


def line_id(line: bytes) -> str:
    """The id of an event that was given none: made of its line, so that the same line told twice is one event."""
    return hashlib.sha256(line.strip()).hexdigest()[:32]


def events_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of one line of a log."""
    title = "A line of a reflexd event log"
    said = "One event; the log is JSON Lines, UTF-8. Strict: `reflexd record` refuses what this refuses."
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title, "description": said}
    return head | TypeAdapter(AnyEvent).json_schema(schema_generator=_Untitled)


def event_schema(event: str) -> dict[str, Any]:
    """The JSON Schema of one kind of event, a key of `EVENTS`."""
    return EVENTS[event].model_json_schema(schema_generator=_Untitled)


class _Untitled(GenerateJsonSchema):
    """A key's name is title enough."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's signature
        """Never."""
        return False


def _named(raw: object) -> tuple[str, Mapping[str, Any]]:
    if not isinstance(raw, Mapping):
        raise EventError("not a JSON object; a line holds one event")
    kind = raw.get("event")
    if not isinstance(kind, str) or not kind:
        raise EventError(f"event: missing or no text; it is one of {', '.join(EVENTS)}")
    return kind, raw


def _made(kind: str, fields: Mapping[str, Any]) -> Event:
    try:
        return EVENTS[kind].model_validate(fields)
    except ValidationError as error:
        raise EventError(f"{kind}: {_first_fault(error)}") from None


def _first_fault(error: ValidationError) -> str:
    """The first thing that is wrong, key first."""
    first = error.errors(include_url=False)[0]
    where = ".".join(map(str, first["loc"]))
    what = str(first["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    if first["type"] == "extra_forbidden":
        what = "unknown key"
    elif first["type"] == "string_pattern_mismatch":
        what = _UNMATCHED.get(first["ctx"]["pattern"], what)
    elif first["type"] == "string_unicode":
        what = "is not valid Unicode text"
    return f"{plain(where)[:60]}: {plain(what)[:200]}" if where else plain(what)[:200]


if __name__ == "__main__":
    import sys

    sys.stdout.buffer.write(orjson.dumps(events_schema(), option=orjson.OPT_INDENT_2) + b"\n")
