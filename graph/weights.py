"""How much an outcome says, and whether a pair may rest on it.

Weights of human turns, failure reports and questions were fitted on labelled turns (docs/human-turns.md); the others
are judgement: an explicit marker weighs most, silence least. Of rejections with a typed reason about half are questions
(41 of 88 counted), and a question is no "you should have listened": it weighs little and makes no pair.
"""

import re
from dataclasses import dataclass

ACCEPTED = {
    "plan_approved": 0.9,
    "human_accept": 0.9,
    "recorded": 0.8,
    "human_turn": 0.9,
    "confirm_y": 0.6,
    "confirm_all": 0.6,
    "taken_up": 0.4,
    "no_pushback": 0.1,
}
REJECTED = {
    "tool_rejected_with_reason": 1.0,
    "undo": 1.0,
    "rolled_back": 0.9,
    "edited": 0.9,
    "human_turn": 0.8,
    "recorded": 0.8,
    "tool_rejected": 0.6,
    "confirm_n": 0.6,
    "confirm_skip": 0.6,
    "confirm_never": 0.6,
    "ignored": 0.6,
    "interrupt": 0.4,
    "interrupt_tool": 0.4,
    "interrupted": 0.4,
    "failure_report": 0.3,
}
UNKNOWN_SIGNAL = 0.5
QUESTION = 0.3

_NEVER_PAIRED = {"no_pushback", "failure_report"}
_PAIRED_WHEN_CORRECTED = {"tool_rejected", "ignored", "interrupt", "interrupt_tool", "interrupted"}

_COURTESY = re.compile(
    r"[\s.!,;]*\b(?:please|thanks|thank you|cheers|just (?:asking|curious|wondering))[\s.!:;)(-]*$", re.IGNORECASE
)
_CLOSERS = " \t\r\n\"'`)]}*_\u201d\u2019»"
_TAIL = 400
_ASKS = re.compile(
    r"(?:(?:and|but|so|wait|hm+|ok|well|sorry)[,\s]+)*"
    r"(?:why\b"
    r"|how (?:do|does|did|is|are|was|can|could|would|should|many|much|long|come)\b"
    r"|who (?:is|are|was|did|does|uses)\b"
    r"|what(?:'s| (?:is|are|was|were|do|does|did|would|will|happens|happened|about|if|kind|exactly)\b)"
    r"|(?:can|could|would) you (?:explain|tell|show|say|clarify|elaborate)\b"
    r"|(?:i want|i would like|i'd like|the user wants) to (?:clarify|understand|know)\b"
    r"|i(?:'m| am) (?:just )?(?:curious|wondering|not sure (?:what|why|how))\b)"
    r"[^.!?]*$",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Judgement:
    """Weight in [0, 1], and whether a pair may rest on it."""

    weight: float
    pairable: bool


def is_question(words: str) -> bool:
    """Whether the human's words ask rather than tell: they end in a question mark, or one sentence that only asks."""
    text = words.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").strip()
    end = text[-_TAIL:]
    end = _COURTESY.sub("", end).rstrip(_CLOSERS) or end
    return end.endswith(("?", "？", "؟")) or (len(text) <= _TAIL and _ASKS.match(end.rstrip(".")) is not None)


def judge_accepted(signal: str) -> Judgement:
    """An acceptance; silence alone is never one side of a pair."""
    return Judgement(ACCEPTED.get(signal, UNKNOWN_SIGNAL), signal not in _NEVER_PAIRED)


def judge_rejected(signal: str, words: str, corrected: bool) -> Judgement:
    """A rejection with the human's words; a wordless one needs a correction after it to be understood."""
    if is_question(words):
        return Judgement(QUESTION, False)
    wordless = signal in _PAIRED_WHEN_CORRECTED and not corrected
    return Judgement(REJECTED.get(signal, UNKNOWN_SIGNAL), signal not in _NEVER_PAIRED and not wordless)
