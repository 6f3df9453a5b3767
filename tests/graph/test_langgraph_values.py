"""LangGraph's values: any bytes and any shape are read, counted or refused, and none of it is ever run."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langgraph_rows import OPTIONS, ai, call, human, ormsgpack, tool

from graph.sources.langgraph_review import decisions_of, requests_of
from graph.sources.langgraph_values import Decoder, UnknownValueError, is_one_tool_message, messages_of

LOOPS = 300 * int(os.environ.get("REFLEXD_FUZZ", "1"))

WHOLE = ormsgpack.packb(
    [human("h", "Start"), ["user", "text"], ai("a", "Ready.", call("ls", path="x")), tool("t")], option=OPTIONS
)


@settings(max_examples=LOOPS, deadline=None)
@given(st.data())
def test_a_mutated_value_never_crashes_and_gives_no_message_from_garbage(data):
    raw = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(raw)))
        raw[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    unknown: dict[str, int] = {}
    try:
        messages = list(messages_of(Decoder().value("msgpack", bytes(raw)), unknown))
    except UnknownValueError:
        return
    for message in messages:
        assert message.role in {"human", "agent"}
        assert message.text.encode() in bytes(raw)
        assert message.id.encode() in bytes(raw)


KEYS = ["type", "content", "role", "id", "name", "args", "value", "tool_calls", "__overwrite__", "message", "decisions"]
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["human", "ai", "accept", "edit"])
)


def nested(inner):
    keys = st.sampled_from([*KEYS, "action_request", "action_requests", "edited_action", "action"])
    return st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=5)


@settings(max_examples=min(LOOPS, 2_000), deadline=None)
@given(st.recursive(SCALARS, nested, max_leaves=12))
def test_values_of_any_shape_are_read_without_a_crash(value):
    for message in messages_of(value, {}):
        assert isinstance(message.text, str)
    assert all(request.call.text for request in requests_of([{"value": value}]))
    assert all(decision.edge or decision.words is not None for decision in decisions_of(value))


def test_a_value_that_is_passed_over_by_its_first_bytes_is_one_that_reading_would_pass_over():
    for size in (1, 300, 70_000):
        raw = ormsgpack.packb([tool("x" * size)], option=OPTIONS)
        assert is_one_tool_message(raw)
        assert list(messages_of(Decoder().value("msgpack", raw), {})) == []
    for others in (
        [tool("x"), ai("a", "y")],
        [ai("a", "langchain_core.messages.tool")],
        ["langchain_core.messages.tool"],
    ):
        assert not is_one_tool_message(ormsgpack.packb(others, option=OPTIONS))


@pytest.mark.parametrize(
    "raw", [b"\xdd\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff", b"\x91" * 5000 + b"\xc0", b"\xc1", b"\xa2\xff\xfe"]
)
def test_damage_that_promises_gigabytes_or_depth_is_just_damage(raw):
    with pytest.raises(UnknownValueError):
        Decoder().value("msgpack", raw)


def test_extensions_within_extensions_end_somewhere():
    raw = ormsgpack.packb(1)
    for _ in range(500):
        raw = ormsgpack.packb(ormsgpack.Ext(7, raw))
    with pytest.raises(UnknownValueError):
        Decoder().value("msgpack", raw)
