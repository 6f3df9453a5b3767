"""What a steered model should still be able to do: the shipped questions, tool calls and requests. No torch.

A task is chat messages; without a chat template it is a text of questions and answers, which a base model goes on with.
"""

import json
import re
from functools import lru_cache
from importlib.resources import files
from typing import Any

import orjson

from graph.schema import ChatMessage, Frozen

Messages = tuple[ChatMessage, ...]

_CALL_ONLY = "Answer each request with a call of its tool, as JSON."
_FENCE = re.compile(r"\A```(?:json)?\s*(.*?)\s*```\Z", re.DOTALL)
_NOT = r"(?:can(?:'t| ?not)|could(?:n't| not)|won't|will not|would(?:n't| not)|refuse to|decline to|have to decline to)"
_DO = (
    r"(?:answer|assist|comply|continue|create|describe|discuss|do|explain|fulfill?|generate|give|help|list|make|name|"
    r"offer|provide|respond|say|share|suggest|support|tell|translate|write)"
)
_REFUSAL = re.compile(
    "|".join(
        (
            r"^\W*(?:no|sorry|apologies|nope)\b[,.!]",
            r"\bI(?:'m| am)(?: \w+)? (?:sorry|afraid),? (?:but|that|I)\b",
            rf"\bI (?:\w+ )?{_NOT} (?:\w+ )?{_DO}\b",
            rf"\b(?:unable|not able|not allowed|not permitted|not comfortable|not going) (?:to )?(?:\w+ )?{_DO}",
            r"\bas an? (?:AI|artificial|(?:large )?language model)\b[^.!?]*\b(?:can(?:'t|not)|do(?:n't| not))\b",
            r"\bI (?:must|have to|need to|will) (?:\w+ )?(?:decline|refuse)\b",
        )
    ),
    re.IGNORECASE,
)


class Question(Frozen):
    """A question, its right answer, and three wrong ones."""

    question: str
    right: str
    wrong: tuple[str, str, str]


class ToolRequest(Frozen):
    """A tool, what is asked of it, and the arguments of its call where it serves as a worked example."""

    tool: str
    parameters: tuple[str, ...]
    request: str
    arguments: dict[str, Any] | None = None

    @property
    def asked(self) -> str:
        """What the user says."""
        return f"Tool: {self.tool}({', '.join(self.parameters)})\n{self.request}"

    @property
    def called(self) -> str:
        """The call of a worked example."""
        return json.dumps({"name": self.tool, "arguments": self.arguments})


@lru_cache(maxsize=1)
def load_questions() -> tuple[Question, ...]:
    """The multiple-choice questions."""
    return tuple(Question.model_validate(each) for each in _lines("questions"))


@lru_cache(maxsize=1)
def load_tools() -> tuple[ToolRequest, ...]:
    """The requests for tools, worked examples among them."""
    return tuple(ToolRequest.model_validate(each) for each in _lines("tools"))


@lru_cache(maxsize=1)
def load_requests() -> tuple[str, ...]:
    """Harmless requests."""
    return tuple(each["request"] for each in _lines("requests"))


def _lines(name: str) -> list[dict[str, Any]]:
    text = (files("daemon") / "checks" / f"{name}.jsonl").read_text(encoding="utf-8")
    return [orjson.loads(line) for line in text.splitlines() if line.strip()]


def user_asks(text: str) -> Messages:
    """One user's message."""
    return (ChatMessage(role="user", content=text),)


def tool_tasks() -> tuple[tuple[Messages, str], ...]:
    """Each request for a tool after the worked examples, and the tool that should be called."""
    tools = load_tools()
    turns = [turn for tool in tools if tool.arguments for turn in (("user", tool.asked), ("assistant", tool.called))]
    turns[0] = ("user", f"{_CALL_ONLY}\n{turns[0][1]}")
    examples = tuple(ChatMessage(role=role, content=content) for role, content in turns)
    return tuple(((*examples, *user_asks(tool.asked)), tool.tool) for tool in tools if not tool.arguments)


def as_text(messages: Messages) -> str:
    """Messages that end with a user's as plain text; what follows it up to a blank line is the answer."""
    said = {"user": "Question: {}\nAnswer:", "assistant": " {}\n\n"}
    return "".join(said[message.role].format(message.content) for message in messages)


def is_call(reply: str, tool: str) -> bool:
    """Whether a reply is a call of `tool` and nothing else: a JSON object with its name, and an object of arguments."""
    fenced = _FENCE.match(reply.strip())
    try:
        said = orjson.loads(fenced[1] if fenced else reply)
    except orjson.JSONDecodeError:
        return False
    return isinstance(said, dict) and said.get("name") == tool and isinstance(said.get("arguments"), dict)


def is_refusal(reply: str) -> bool:
    """Whether a reply says that it will not do what was asked."""
    return _REFUSAL.search(reply.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")) is not None
