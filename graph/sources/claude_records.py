"""One record of a Claude Code transcript: what it says of the conversation, told by its structure.

A marker is recognised where the harness writes it, at the beginning of a content block of the right type with
`is_error` set, never by a substring of the line: a tool result that *quotes* a transcript holds the same sentences.

    tool_result, is_error, "The user doesn't want to proceed with this tool use ..."      tool_rejected
        ... "the user said:", a newline, a reason                                         tool_rejected_with_reason
        ... and the reason is a dialog's own ("The user wants to clarify these ...")      the same, yet no rejection
    tool_result, is_error, "The agent proposed a plan that was rejected by the user ..."  tool_rejected
    tool_result of ExitPlanMode, "User has approved your plan ..."                        plan_approved
    text, "[Request interrupted by user]" or "... for tool use]"                          interrupt, interrupt_tool

Not a human's doing, and so no marker: `toolDenialKind` other than user-rejected (a permission rule, the automatic mode,
a cancelled sibling), `interruptedByShutdown`, and all of a side chain (`isSidechain`).
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from graph.schema import EdgeKind

SAID_NOTHING = frozenset(
    {
        "progress", "system", "summary", "attachment", "file-history-snapshot", "queue-operation", "pr-link", "mode",
        "permission-mode", "ai-title", "custom-title", "agent-name", "agent-setting", "last-prompt", "bridge-session",
        "tag", "worktree-state", "content-replacement",
    }
)  # fmt: skip
"""Record types that are known and say nothing of the conversation; an `attachment` may hold the account's address."""

_REJECTED = "The user doesn't want to proceed with this tool use"
_REASON = "the user said:\n"
_PLAN_REJECTED = "The agent proposed a plan that was rejected by the user"
_PLAN_APPROVED = ("User has approved your plan", "User has approved exiting plan mode")
_DIALOG = (
    "The user wants to clarify these questions",
    "The user has indicated they have provided enough answers for the plan interview",
)
_NOTE = "\n\nNote: The user's next message may contain a correction"
_INTERRUPTS = {
    "[Request interrupted by user]": "interrupt",
    "[Request interrupted by user for tool use]": "interrupt_tool",
}

_CUT = re.compile(r"<(system-reminder|ide_opened_file|ide_selection|ide_diagnostics)>")
_WRAPPER = re.compile(
    r"<(?:command-(?:name|message|args)|local-command-\w+|bash-(?:input|stdout|stderr)|task-notification|system-reminder"
    r"|user-prompt-submit-hook|user-memory-input|tool_use_error|teammate-message|ide_\w+)\b"
)
_HARNESS = (
    "[Request interrupted by user",
    "This session is being continued",
    "Caveat:",
    "Operation stopped by hook",
    "Stop hook feedback:",
    "Tool loaded.",
)


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call: its id, the tool's name, its arguments."""

    id: str
    tool: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Said:
    """One record of an assistant message; a message is split over several that share `message`."""

    message: str
    text: str
    calls: tuple[Call, ...]


@dataclass(frozen=True, slots=True)
class Marker:
    """What the format records of how a call or a response ended.

    Attributes:
        call: The tool call it is about; "" for an interruption.
        plan: The text of the plan that it is about, where the record repeats it.
        sure: False if it counts only when the call is known to be ExitPlanMode.
    """

    signal: str
    kind: EdgeKind
    call: str = ""
    reason: str = ""
    plan: str = ""
    sure: bool = True


@dataclass(frozen=True, slots=True)
class Typed:
    """One user record: the markers in it, and what the human typed ("" if nothing)."""

    markers: tuple[Marker, ...]
    words: str
    prompt: bool


def parse(line: bytes) -> Any:
    """The JSON value of a line; lone surrogates, which JavaScript writes where it cuts an emoji in two, are read too.

    Raises:
        ValueError: It is not JSON.
    """
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        if b"\\u" not in line:
            raise
    try:
        return json.loads(line)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def said(record: Mapping[str, Any], uuid: str) -> Said | None:
    """What an assistant record says; None for a side chain and for what the harness itself put there."""
    message = record.get("message")
    if not isinstance(message, dict) or record.get("isSidechain") or record.get("isApiErrorMessage"):
        return None
    if message.get("model") == "<synthetic>":
        return None
    texts: list[str] = []
    calls: list[Call] = []
    for block in _blocks(message.get("content")):
        if block.get("type") == "text" and isinstance(block.get("text"), str):
            texts.append(block["text"])
        elif block.get("type") == "tool_use":
            calls.extend(_call(block))
    text = "\n\n".join(texts) if any(part.strip() for part in texts) else ""
    if not text and not calls:
        return None
    return Said(_string(message.get("id")) or uuid, text, tuple(calls))


def typed(record: Mapping[str, Any]) -> Typed | None:
    """What a user record says; None for a side chain, for meta records, and for a summary of what was compacted."""
    message = record.get("message")
    if not isinstance(message, dict):
        return None
    if any(record.get(flag) for flag in ("isSidechain", "isMeta", "isCompactSummary", "isVisibleInTranscriptOnly")):
        return None
    content = message.get("content")
    blocks = list(_blocks([{"type": "text", "text": content}] if isinstance(content, str) else content))
    markers: list[Marker] = []
    for block in blocks:
        markers.extend(_markers(record, block))
    results = any(block.get("type") == "tool_result" for block in blocks)
    return Typed(tuple(markers), _words(record, blocks, results), not results)


def call_text(tool: str, arguments: Mapping[str, Any]) -> str:
    """A call as text that a person can read: the tool's name, then its arguments, one a line."""
    return "\n".join((tool, *(f"{name}: {_plainly(value)}" for name, value in arguments.items())))


def _plainly(value: object) -> str:
    try:
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return "…"


def _blocks(content: object) -> Iterator[Mapping[str, Any]]:
    if isinstance(content, list):
        yield from (block for block in content if isinstance(block, dict))


def _string(value: object) -> str:
    return value if isinstance(value, str) else ""


def _call(block: Mapping[str, Any]) -> Iterator[Call]:
    call, arguments = _string(block.get("id")), block.get("input")
    if call:
        yield Call(call, _string(block.get("name")), arguments if isinstance(arguments, dict) else {})


def _markers(record: Mapping[str, Any], block: Mapping[str, Any]) -> Iterator[Marker]:
    if record.get("interruptedByShutdown"):
        return
    if block.get("type") == "text":
        signal = _INTERRUPTS.get(_without_insertions(_string(block.get("text"))))
        if signal:
            yield Marker(signal, EdgeKind.INTERRUPTED_BY)
    elif block.get("type") == "tool_result":
        call, text = _string(block.get("tool_use_id")), _first_text(block.get("content"))
        if block.get("is_error") is True:
            yield from _rejection(record, call, text)
        elif text.startswith(_PLAN_APPROVED):
            yield from _approval(record, call)


def _first_text(content: object) -> str:
    if isinstance(content, str):
        return content
    return next((_string(block.get("text")) for block in _blocks(content) if block.get("type") == "text"), "")


def _rejection(record: Mapping[str, Any], call: str, text: str) -> Iterator[Marker]:
    if record.get("toolDenialKind", "user-rejected") != "user-rejected":
        return
    if text.startswith(_PLAN_REJECTED):
        yield Marker("tool_rejected", EdgeKind.REJECTED_BY, call)
    elif text.startswith(_REJECTED):
        reason = _without_insertions(text.partition(_REASON)[2].partition(_NOTE)[0])
        signal = "tool_rejected_with_reason" if reason else "tool_rejected"
        kind = EdgeKind.ANSWERED_BY if reason.startswith(_DIALOG) else EdgeKind.REJECTED_BY
        yield Marker(signal, kind, call, reason)


def _approval(record: Mapping[str, Any], call: str) -> Iterator[Marker]:
    result = record.get("toolUseResult")
    known = isinstance(result, dict) and "plan" in result
    plan = _string(result.get("plan")) if isinstance(result, dict) else ""
    yield Marker("plan_approved", EdgeKind.ACCEPTED_BY, call, plan=plan, sure=known)


def _words(record: Mapping[str, Any], blocks: list[Mapping[str, Any]], results: bool) -> str:
    origin = record.get("origin")
    kind = origin.get("kind") if isinstance(origin, dict) else origin
    if (kind is not None and kind != "human") or (kind is None and record.get("promptSource") == "system"):
        return ""
    texts = [_without_insertions(_string(block.get("text"))) for block in blocks if block.get("type") == "text"]
    words = "\n".join(text for text in texts if text and not _from_harness(text, kind == "human"))
    if not words and not results and not any(texts) and any(block.get("type") == "image" for block in blocks):
        return "[image]"
    return words


def _from_harness(text: str, human: bool) -> bool:
    """Whether the harness wrote a text block. A human may paste markup; only `origin` tells it from a new wrapper."""
    return text.startswith(_HARNESS) or (_WRAPPER.match(text) is not None if human else text.startswith("<"))


def _without_insertions(text: str) -> str:
    """`text` without what the harness inserts into it: system reminders, and what the editor shows."""
    if "<" not in text:
        return text.strip()
    kept: list[str] = []
    begin = 0
    while found := _CUT.search(text, begin):
        end = text.find(f"</{found[1]}>", found.end())
        if end < 0:
            break
        kept.append(text[begin : found.start()])
        begin = end + len(found[1]) + 3
    return "".join((*kept, text[begin:])).strip()
