"""How a human decided on what an agent asked to do: LangGraph's HumanInterrupt, and LangChain's review middleware.

    asked      [{"action_request": {"action", "args"}, "description"}]      {"action_requests": [{"name", "args"}]}
    decided    [{"type": accept | ignore | response | edit, "args"}]        {"decisions": [{"type": approve | ...}]}

    accept, approve      accepted_by, signal human_accept
    edit                 rejected_by, signal edited, and a correction: the call as the human wants it
    ignore               rejected_by, signal ignored
    reject               rejected_by, signal tool_rejected_with_reason and a correction, or tool_rejected without one
    response, respond    no outcome: the human's turn, to be judged by its words

An interrupt that asks anything else, and an answer in any other form, are not read: only the program knows what "ok"
means there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graph.records import plain
from graph.schema import EdgeKind
from graph.sources.langgraph_values import Call, call_of

_KINDS = {"accept": "accept", "approve": "accept", "edit": "edit", "ignore": "ignore", "reject": "reject"}
_WORDS = frozenset({"response", "respond"})


@dataclass(frozen=True)
class Request:
    """An action that was asked about, and how it was described to the human."""

    call: Call
    description: str


@dataclass(frozen=True)
class Decision:
    """What the human decided on one request.

    Attributes:
        edge: How the proposal ended; None if the human answered in words, which are then their turn.
        signal: By which name the outcome is weighed.
        words: What the human said.
        correction: What the human wants instead; "" if that was not said.
    """

    edge: EdgeKind | None
    signal: str = ""
    words: str = ""
    correction: str = ""


def requests_of(interrupts: Any) -> list[Request]:
    """The actions of an `__interrupt__` write, in order; none if it asked something else."""
    found = []
    for interrupt in interrupts if isinstance(interrupts, list) else [interrupts]:
        value = interrupt.get("value") if isinstance(interrupt, Mapping) else None
        for asked in value if isinstance(value, list) else [value]:
            found += _requests(asked)
    return found


def _requests(asked: Any) -> list[Request]:
    if not isinstance(asked, Mapping):
        return []
    if isinstance(asked.get("action_requests"), list):
        given = asked["action_requests"]
    elif isinstance(asked.get("action_request"), Mapping):
        given = [{"description": asked.get("description"), **asked["action_request"]}]
    else:
        given = [asked] if asked.get("type") == "tool_approval" else []
    return [Request(call, _described(one)) for one in given if (call := call_of(one))]


def _described(one: Mapping[str, Any]) -> str:
    found = one.get("description")
    return plain(found).strip() if isinstance(found, str) else ""


def decisions_of(answer: Any) -> list[Decision]:
    """What a `__resume__` write decided, in order; none if it is an answer of another form."""
    while isinstance(answer, list) and len(answer) == 1 and isinstance(answer[0], list):
        answer = answer[0]
    if isinstance(answer, Mapping) and isinstance(answer.get("decisions"), list):
        answer = answer["decisions"]
    found = [_decision(one) for one in (answer if isinstance(answer, list) else [answer])]
    return [one for one in found if one is not None] if all(found) else []


def _decision(one: Any) -> Decision | None:
    if not isinstance(one, Mapping) or not isinstance(one.get("type"), str):
        return None
    said = next((one[key] for key in ("message", "args", "feedback") if isinstance(one.get(key), str)), "")
    words = plain(said).strip()
    if one["type"] in _WORDS:
        return Decision(None, words=words)
    match _KINDS.get(one["type"]):
        case "accept":
            return Decision(EdgeKind.ACCEPTED_BY, "human_accept", words)
        case "edit":
            edited = call_of(one.get("edited_action", one.get("args")))
            return Decision(EdgeKind.REJECTED_BY, "edited", "", edited.text if edited else words)
        case "ignore":
            return Decision(EdgeKind.REJECTED_BY, "ignored", words, words)
        case "reject":
            signal = "tool_rejected_with_reason" if words else "tool_rejected"
            return Decision(EdgeKind.REJECTED_BY, signal, words, words)
        case _:
            return None
