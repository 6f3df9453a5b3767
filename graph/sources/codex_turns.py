"""What the records of a Codex rollout mean: directions, responses, interruptions, and turns that were rolled back.

    event_msg/user_message                       direction; where a file has none, response_item/message of the user
    response_item/message of the assistant       response; event_msg/agent_message says the same once more
    event_msg/turn_aborted "interrupted"         outcome `interrupt`: the last response ─interrupted_by─▶
    event_msg/thread_rolled_back n               outcome `rolled_back` for each of the last n turns: ─rejected_by─▶
        the next direction                       supersedes the first of them, and is a correction of their responses

Turns that were rolled back leave the live branch, so that a second rollback counts from what is left. What Codex itself
puts into a user's role (the surroundings, AGENTS.md, skills, summaries) is no direction, and no human speaks in the
rollout of a subagent. That a human refused a command is not recorded: there is no such outcome.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from graph.schema import EdgeKind
from graph.sources.appended import Line
from graph.sources.telling import Telling

_LIVE = 200
_NAMES = 50
_NAME_LENGTH = 60
# Records that a parse would skip, told by their first bytes: within a JSON string these quotes would have backslashes.
_SKIPPED = re.compile(
    rb'\{"timestamp":"[^"\\]*","type":(?:"turn_context","payload":\{|"event_msg","payload":\{"type":"(?:token_count'
    rb'|agent_reasoning)"|"response_item","payload":\{"type":"(?:reasoning|function_call|function_call_output'
    rb'|custom_tool_call|custom_tool_call_output|ghost_snapshot)")'
)
_EVENTS = frozenset(
    {
        "agent_reasoning",
        "agent_reasoning_raw_content",
        "agent_reasoning_section_break",
        "collab_agent_interaction_end",
        "collab_agent_spawn_end",
        "collab_close_end",
        "collab_waiting_end",
        "context_compacted",
        "dynamic_tool_call_request",
        "dynamic_tool_call_response",
        "entered_review_mode",
        "error",
        "exec_command_begin",
        "exec_command_end",
        "exited_review_mode",
        "image_generation_end",
        "item_completed",
        "item_started",
        "mcp_tool_call_begin",
        "mcp_tool_call_end",
        "patch_apply_begin",
        "patch_apply_end",
        "plan_update",
        "task_started",
        "thread_goal_updated",
        "thread_name_updated",
        "token_count",
        "turn_diff",
        "undo_completed",
        "undo_started",
        "view_image_tool_call",
        "warning",
        "web_search_begin",
        "web_search_end",
    }
)
_ITEMS = frozenset(
    {
        "compaction",
        "context_compaction",
        "custom_tool_call",
        "custom_tool_call_output",
        "function_call",
        "function_call_output",
        "ghost_snapshot",
        "image_generation_call",
        "local_shell_call",
        "other",
        "reasoning",
        "tool_search_call",
        "tool_search_output",
        "web_search_call",
    }
)
_INJECTED = re.compile(
    r"\s*(?:<(?:environment_context|user_instructions|instructions|turn_aborted|user_shell_command|user_action|skill"
    r"|skills_instructions|subagent_notification|recommended_plugins|permissions instructions|collaboration_mode"
    r"|apps_instructions|plugins_instructions|codex_internal_context|goal_context)\b"
    r"|# AGENTS\.md instructions\b|Another language model started to solve this problem)",
    re.IGNORECASE,
)
_WRAPPED = re.compile(r"\s*<([a-z_]+)>.*</\1>\s*", re.DOTALL)
_REQUEST = "## My request for Codex:"

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class TurnStart:
    """Where a turn begins, and all that must be known to go on from there: what a cursor holds.

    Attributes:
        offset: Bytes before it.
        session: The session's id; `known`: whether the file itself has said it.
        turns: How many turns lie before it.
        by_events: Whether the file has told a human turn as an event: then items of the user's role are no turns.
        foreign: Whether the rollout is a subagent's.
        live: Directions of the live branch, each with its last response or "".
        rolled: The same of what was rolled back since the turn before.
    """

    offset: int = 0
    session: str = ""
    known: bool = False
    turns: int = 0
    by_events: bool = False
    foreign: bool = False
    live: Pairs = ()
    rolled: Pairs = ()


@dataclass(frozen=True)
class _Words:
    """Something said, when, and the byte offset of its line."""

    text: str
    ts: str | None
    offset: int


@dataclass
class _Answer:
    """A message of the agent in the open turn: which one of the turn, and whether it has been told."""

    words: _Words
    number: int
    to: str | None
    told: str | None = None


class Rollout:
    """Takes line after line; `tell` holds what they say, `safe` where the open turn began."""

    def __init__(self, file: str, start: TurnStart) -> None:
        self.safe = start
        self.tell = Telling(file)
        self._now = start
        self._turn: _Words | None = None
        self._asked: str | None = None
        self._last: _Answer | None = None
        self._answers = 0
        self._twice: Counter[str] = Counter()
        self._waiting: list[_Words] = []
        self._unknown: list[tuple[int, str]] = []
        self._malformed: list[tuple[int, str]] = []

    def take(self, line: Line) -> bool:
        """Whether a turn began with this line."""
        data = line.data
        if self._now.foreign:  # nothing in it is a turn, so all of it is done with
            self.safe = replace(self._now, offset=line.offset + len(data) + 1)
            return False
        if not data.strip() or (_SKIPPED.match(data) and data.rstrip().endswith(b"}")):
            return False
        record = _record(data)
        before = self.safe
        if record is None:
            self._malformed.append((line.offset, "not an object with a type and a payload; left out"))
        else:
            ts = record.get("timestamp")
            self._take_record(record["type"], record["payload"], ts if isinstance(ts, str) else None, line.offset)
        return self.safe is not before

    def tell_again(self) -> None:
        """Begin a new telling with the turn that is open."""
        self.tell = Telling(self.tell.file)
        if self._turn is not None:
            self._tell_direction(self._turn, None)

    def left_behind(self) -> tuple[dict[str, int], list[tuple[int, str]]]:
        """Unknown record types and malformed lines before the open turn, once."""
        end = self.safe.offset
        unknown: Counter[str] = Counter()
        for offset, name in self._unknown:
            if offset < end and (name in unknown or len(unknown) < _NAMES):
                unknown[name] += 1
        malformed = [note for note in self._malformed if note[0] < end]
        self._unknown = [note for note in self._unknown if note[0] >= end]
        self._malformed = [note for note in self._malformed if note[0] >= end]
        return dict(unknown), malformed

    def _take_record(self, kind: str, payload: Mapping[str, Any], ts: str | None, offset: int) -> None:
        name = str(payload.get("type"))
        if kind == "session_meta":
            self._take_meta(payload)
        elif kind == "response_item" and name == "message":
            self._take_message(payload, ts, offset)
        elif kind == "event_msg" and name == "user_message":
            self._take_user_event(payload, ts, offset)
        elif kind == "event_msg" and name == "agent_message":
            self._take_answer(_Words(_text(payload.get("message")), ts, offset), +1)
        elif kind == "event_msg" and name in ("task_complete", "turn_complete", "turn_aborted"):
            self._settle()
            self._end_answers(payload, ts, offset)
        elif kind == "event_msg" and name == "thread_rolled_back":
            self._settle()
            self._roll_back(payload.get("num_turns"), ts, offset)
        elif kind not in ("turn_context", "compacted") and not (
            (kind == "event_msg" and name in _EVENTS) or (kind == "response_item" and name in _ITEMS)
        ):
            known = kind in ("event_msg", "response_item")
            self._unknown.append((offset, (f"{kind}/{name}" if known else kind)[:_NAME_LENGTH]))

    def _take_meta(self, payload: Mapping[str, Any]) -> None:
        """The first says whose rollout it is; one that follows belongs to what it was forked from."""
        session = payload.get("id") or payload.get("session_id")
        if self._now.known or not isinstance(session, str):
            return
        source = payload.get("source")
        foreign = payload.get("thread_source") == "subagent" or (isinstance(source, Mapping) and "subagent" in source)
        self._now = replace(self._now, session=session, known=True, foreign=foreign)

    def _take_message(self, payload: Mapping[str, Any], ts: str | None, offset: int) -> None:
        role = payload.get("role")
        if role == "assistant":
            self._take_answer(_Words("\n".join(_texts(payload.get("content"))).strip(), ts, offset), -1)
        elif role == "user" and not self._now.by_events:
            parts = [part for part in _texts(payload.get("content")) if not _WRAPPED.fullmatch(part)]
            words = "\n".join(filter(None, map(_human, parts)))
            if words:
                self._waiting.append(_Words(words, ts, offset))

    def _take_user_event(self, payload: Mapping[str, Any], ts: str | None, offset: int) -> None:
        text = _text(payload.get("message"))
        if payload.get("kind") not in (None, "plain") or _INJECTED.match(text):
            return
        self._waiting.clear()  # the same words, or what Codex put beside them
        self._now = replace(self._now, by_events=True)
        if words := _human(text):
            self._begin_turn(_Words(words, ts, offset))
        else:  # a picture, say: a turn that can be rolled back
            self._end_turn()
            self._turn = self._asked = None
            self._now = replace(self._now, live=(*self._now.live, ("", ""))[-_LIVE:])

    def _settle(self) -> None:
        """What waited for an event that would say it again has none: it is a turn itself."""
        waiting, self._waiting = self._waiting, []
        for words in waiting:
            self._begin_turn(words)

    def _take_answer(self, words: _Words, channel: int) -> None:
        if not words.text:
            return
        self._settle()
        seen = self._twice[words.text]
        self._twice[words.text] += channel
        if seen * channel < 0:  # the other channel has said it
            return
        first = self._last is None
        self._answers += 1
        self._last = _Answer(words, self._answers, self._asked)
        if first:
            self._tell_answer(self._last)

    def _end_answers(self, payload: Mapping[str, Any], ts: str | None, offset: int) -> None:
        if self._last is None:
            return
        response = self._tell_answer(self._last)
        if payload.get("type") == "turn_aborted" and payload.get("reason") == "interrupted":
            node_id = self._id("interrupt", response)
            self.tell.outcome(node_id, EdgeKind.INTERRUPTED_BY, response, "interrupt", "", ts, offset)

    def _roll_back(self, count: object, ts: str | None, offset: int) -> None:
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            self._malformed.append((offset, "thread_rolled_back without a number of turns; left out"))
            return
        self._end_turn()
        live = self._now.live
        gone = live[-count:]
        for direction, response in gone:
            if response:
                node_id = self._id("rolled_back", direction, response)
                self.tell.outcome(node_id, EdgeKind.REJECTED_BY, response, "rolled_back", "", ts, offset)
        self._turn = self._asked = None
        self._now = replace(self._now, live=live[:-count], rolled=(*gone, *self._now.rolled)[-_LIVE:])

    def _end_turn(self) -> str | None:
        """The last response of the turn that ends here, which the live branch then knows."""
        last = None if self._last is None else self._tell_answer(self._last)
        if last is not None and self._now.live:
            *earlier, (direction, _) = self._now.live
            self._now = replace(self._now, live=(*earlier, (direction, last)))
        self._last, self._answers = None, 0
        self._twice.clear()
        return last

    def _begin_turn(self, words: _Words) -> None:
        response = self._end_turn()
        rolled = self._now.rolled
        answered = [answer for _, answer in rolled if answer]
        follows = response or (answered[-1] if answered else None)
        self.safe = replace(self._now, offset=words.offset)
        self._now = replace(self._now, turns=self._now.turns + 1, rolled=())
        self._turn = words
        self._asked = self._tell_direction(words, follows)
        self._now = replace(self._now, live=(*self._now.live, (self._asked, ""))[-_LIVE:])
        self._tell_correction(words, self._asked, [d for d, _ in rolled if d], answered)

    def _tell_correction(self, words: _Words, direction: str, gone: list[str], answered: list[str]) -> None:
        if gone:
            self.tell.edge(direction, gone[0], EdgeKind.SUPERSEDES, words.ts)
        for response in answered:
            self.tell.correction(self._id("correction", direction), words.text, words.ts, response, words.offset)

    def _tell_direction(self, words: _Words, follows: str | None) -> str:
        node_id = self._id("direction", str(self._now.turns), words.text)
        return self.tell.direction(node_id, words.text, words.ts, self._session(), words.offset, follows)

    def _tell_answer(self, answer: _Answer) -> str:
        if answer.told is None:
            words = answer.words
            node_id = self._id("response", str(self._now.turns), str(answer.number), words.text)
            answer.told = self.tell.response(node_id, words.text, words.ts, self._session(), words.offset, answer.to)
        return answer.told

    def _session(self) -> str:
        return self.tell.session(self._now.session)

    def _id(self, kind: str, *parts: str) -> str:
        text = "\0".join((self._now.session, *parts))
        return f"{kind}:{hashlib.sha256(text.encode(errors='replace')).hexdigest()[:32]}"


def _record(data: bytes) -> dict[str, Any] | None:
    """The line as an object with a type and a payload, or None. Lone surrogates and NaN are no JSON."""
    try:
        record = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    fits = isinstance(record, dict) and isinstance(record.get("type"), str) and isinstance(record.get("payload"), dict)
    return record if fits else None


def _text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""


def _texts(content: object) -> list[str]:
    """The texts of a message's content: a text, or a list of parts."""
    if isinstance(content, str):
        return [content]
    parts = content if isinstance(content, list) else []
    return [part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)]


def _human(text: str) -> str:
    """What a human typed of a text in the user's role, "" if nothing. An editor puts its open tabs before a request."""
    if text.lstrip().startswith(("#", "<")) and _REQUEST in text:
        text = text.partition(_REQUEST)[2]
    return "" if _INJECTED.match(text) else text.strip()
