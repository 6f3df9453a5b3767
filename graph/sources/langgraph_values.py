"""What LangGraph's serializer wrote, as plain data: msgpack with extension types, never a class, never pickle.

    ext 0-5    (module, class, payload, ...)    the payload: a dict, a list or a scalar; nothing is imported or called
    ext 6      a numpy array                    None
    ext 7      a snapshot of a delta channel    what is in it
    other      counted by its number            None

Older databases hold JSON instead, with constructors by name; they are unwrapped in the same way.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from graph.errors import GraphError
from graph.records import plain
from graph.sources.telling import bounded

_CONSTRUCTED = range(6)
_ARRAY = 6
_SNAPSHOT = 7
_MAX_DEPTH = 32
_HUMAN = frozenset({"human", "user", "HumanMessage", "HumanMessageChunk"})
_AGENT = frozenset({"ai", "assistant", "AIMessage", "AIMessageChunk"})
_OTHER_CLASSES = ("SystemMessage", "ToolMessage", "FunctionMessage", "RemoveMessage")
_OTHERS = frozenset({"system", "developer", "tool", "function", "remove", "chat"})


class UnknownValueError(Exception):
    """A value of a kind that is not read; the text is a name to count it by."""


@dataclass
class Decoder:
    """Values as plain data. `unknown` counts the extension types that were met and not understood."""

    unknown: dict[str, int] = field(default_factory=dict)

    def value(self, kind: str | None, blob: bytes | str | None) -> Any:
        """The value that was stored with type `kind`; None for what holds no text (null, bytes).

        Raises:
            UnknownValueError: Another serializer wrote it (pickle, an encryption), or it is damaged.
        """
        data = blob.encode("utf-8", "replace") if isinstance(blob, str) else blob
        if kind in {None, "null", "bytes", "bytearray"} or not data:
            return None
        if kind == "msgpack":
            return self._unpacked(data, 0)
        if kind == "json":
            try:
                return _unwrapped(orjson.loads(data), 0)
            except orjson.JSONDecodeError:
                raise UnknownValueError("damaged json value") from None
        raise UnknownValueError(f"{plain(kind)[:40]} value")

    def _unpacked(self, data: bytes, depth: int) -> Any:
        ormsgpack = msgpack_library()
        if depth > _MAX_DEPTH:
            raise UnknownValueError("msgpack value nested too deeply")

        def extension(code: int, inner: bytes) -> Any:
            if code == _SNAPSHOT:
                return self._unpacked(inner, depth + 1)
            if code in _CONSTRUCTED:
                parts = self._unpacked(inner, depth + 1)
                return parts[2] if isinstance(parts, list) and len(parts) > 2 else None
            if code != _ARRAY:
                self.unknown[f"ext {code}"] = self.unknown.get(f"ext {code}", 0) + 1
            return None

        try:
            return ormsgpack.unpackb(data, ext_hook=extension, option=ormsgpack.OPT_NON_STR_KEYS)
        except (ValueError, TypeError):  # its own errors are ValueErrors; a key that is a dict is a TypeError
            raise UnknownValueError("damaged msgpack value") from None


def msgpack_library() -> Any:
    """The module `ormsgpack`, which is what LangGraph writes with.

    Raises:
        GraphError: It is not installed.
    """
    try:
        import ormsgpack
    except ImportError:
        raise GraphError(
            "langgraph: ormsgpack is not installed, which reads its blobs; pip install 'reflexd[langgraph]'"
        ) from None
    return ormsgpack


def _unwrapped(value: Any, depth: int) -> Any:
    """Older databases: JSON, with {"lc", "type": "constructor", "id": [..., class], "kwargs"} for objects."""
    if depth > _MAX_DEPTH:
        return None
    if isinstance(value, list):
        return [_unwrapped(one, depth + 1) for one in value]
    if not isinstance(value, dict):
        return value
    if "lc" in value and value.get("type") == "constructor" and isinstance(value.get("kwargs"), dict):
        names = value.get("id")
        name = names[-1] if isinstance(names, list) and names else None
        return {"type": name, **_unwrapped(value["kwargs"], depth + 1)}
    return {key: _unwrapped(one, depth + 1) for key, one in value.items()}


# ---------------------------------------------------------------- messages


@dataclass(frozen=True)
class Call:
    """A tool call, or an action that a human is asked about. `text` is how it is told: its name and its arguments."""

    name: str
    arguments: Any

    @property
    def text(self) -> str:
        """`NAME {"argument": value}`, the arguments as canonical JSON."""
        if self.arguments in (None, {}):
            return self.name
        try:
            options = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS
            return f"{self.name} {orjson.dumps(self.arguments, option=options, default=plain).decode()}"
        except (orjson.JSONEncodeError, RecursionError):
            return f"{self.name} {plain(self.arguments)}"


@dataclass(frozen=True)
class Message:
    """A message of the channel `messages`; `id` is "" where nobody has given it one yet."""

    role: Literal["human", "agent"]
    id: str
    text: str
    name: str = ""
    calls: tuple[Call, ...] = ()


_ONE_TOOL_MESSAGE = re.compile(
    rb"\x91[\xc7-\xc9].{1,4}\x05\x94[\xa0-\xdb].?langchain_core\.messages\.tool[\xa0-\xbf]Tool", re.DOTALL
)


def is_one_tool_message(value: bytes | str | None) -> bool:
    """Whether a msgpack value is a list of one ToolMessage, which `messages_of` passes over: by its first bytes."""
    return isinstance(value, bytes) and _ONE_TOOL_MESSAGE.match(value) is not None


def messages_of(value: Any, unknown: dict[str, int]) -> Iterator[Message]:
    """Human and agent messages in what a node wrote: one or a list; texts, (role, text) pairs, dicts or objects.

    System and tool messages are passed over, other forms counted in `unknown`.
    """
    if isinstance(value, Mapping) and "__overwrite__" in value:
        value = value["__overwrite__"]
    elif isinstance(value, Mapping) and not {"content", "role"} & value.keys() and isinstance(value.get("value"), list):
        value = value["value"]  # langgraph.types.Overwrite
    if not isinstance(value, list) or _is_pair(value):
        value = [value]
    for one in value:
        found = _message(one)
        if isinstance(found, Message):
            yield found
        elif found:
            unknown[found] = unknown.get(found, 0) + 1


def _is_pair(value: list[Any]) -> bool:
    return len(value) == 2 and all(isinstance(one, str) for one in value) and value[0] in _HUMAN | _AGENT | _OTHERS


def _message(one: Any) -> Message | str:
    """A message, "" for one that is passed over, or the name to count it by."""
    if one is None:
        return ""
    if isinstance(one, str):
        one = {"type": "human", "content": one}  # as add_messages takes it
    elif isinstance(one, list) and _is_pair(one):
        one = {"type": one[0], "content": one[1]}
    if not isinstance(one, Mapping):
        return f"message of type {type(one).__name__}"
    role = plain(one.get("type") if isinstance(one.get("type"), str) else one.get("role"))
    if role in _OTHERS or role.removesuffix("Chunk").endswith(_OTHER_CLASSES):
        return ""
    if role not in _HUMAN | _AGENT or "content" not in one:
        return f"message {role[:40] or 'without a type'}"
    who: Literal["human", "agent"] = "human" if role in _HUMAN else "agent"
    calls = one.get("tool_calls") if who == "agent" else None
    return Message(
        role=who,
        id=plain(one.get("id")) if isinstance(one.get("id"), str) else "",
        text=bounded(_text(one["content"]).strip()),
        name=plain(one.get("name")) if isinstance(one.get("name"), str) else "",
        calls=tuple(call for given in calls if (call := call_of(given))) if isinstance(calls, list) else (),
    )


def _text(content: Any) -> str:
    """The text of a message: itself, or its text blocks."""
    if isinstance(content, str):
        return plain(content)
    if not isinstance(content, list):
        return ""
    blocks = (block.get("text") if isinstance(block, Mapping) else block for block in content)
    return "\n".join(plain(block) for block in blocks if isinstance(block, str))


def call_of(given: Any) -> Call | None:
    """A tool call, or an action request: {"name", "args"}, or {"action", "args"} as older interrupts have it."""
    if not isinstance(given, Mapping):
        return None
    name = given.get("name", given.get("action"))
    return Call(plain(name), given.get("args", given.get("arguments"))) if isinstance(name, str) and name else None
