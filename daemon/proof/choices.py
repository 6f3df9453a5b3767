"""A/B items: a prompt that ends in two options, "(A) …" and "(B) …", whose replies name one of them by its letter.

    ... Do you agree?           swapped:  ... Do you agree?           replies  (A) / (B)  become  (B) / (A)
     (A) Yes, gladly                       (A) No, thanks
     (B) No, thanks                        (B) Yes, gladly

An item and its swapped twin ask the same and differ in the letter alone: what a vector does to both, on average, is not
the letter's doing.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from graph.schema import Pair

_MARKERS = {letter: re.compile(rf"\({letter}\)") for letter in "ABC"}
_LEADING = {letter: re.compile(rf"^[^\S\n]*(\({letter}\))", re.MULTILINE) for letter in "AB"}
_ASKS = re.compile(r"\s*(?:(?:the|my|your)\s+)?(?:best\s+)?(?:answer|choice)\b", re.IGNORECASE)
_REPLY = re.compile(r"(?P<before>\s*\(?)(?P<letter>[AB])(?P<after>\)?[.:]?)(?P<said>(?:\s.*)?)", re.DOTALL)
_OTHER = {"A": "B", "B": "A"}


@dataclass(frozen=True)
class _Options:
    """A text in pieces: `first` and `second` are what the options say, the rest is what stands around them."""

    head: str
    first: str
    between: str
    second: str
    tail: str

    def swapped(self) -> "_Options":
        return _Options(self.head, self.second, self.between, self.first, self.tail)

    def text(self) -> str:
        return self.head + self.first + self.between + self.second + self.tail


def is_item(pair: Pair) -> bool:
    """Whether the pair is an A/B item: two options, and replies that are nothing but different ones of them."""
    return _letter_of_positive(pair) is not None


def first_is_positive(pair: Pair) -> bool:
    """Whether the positive reply of an A/B item is (A)."""
    return _letter_of_positive(pair) == "A"


def swapped(pair: Pair) -> Pair | None:
    """The same item with the texts of its options exchanged, and the letters of its replies; None if it is none."""
    if not is_item(pair):
        return None
    options = _options(_asked(pair))
    assert options is not None
    return _with_asked(pair, options.swapped().text()).model_copy(
        update={"positive": _with_other_letter(pair.positive), "negative": _with_other_letter(pair.negative)}
    )


def letter_bias(pairs: Sequence[Pair], gaps: Sequence[float]) -> float:
    """Mean log P(A) − log P(B), nats a token, of A/B items whose gaps (positive − negative) are given; at least one.

    The mean of this over the items and over their swapped twins is the bias for the letter, whatever the texts say.
    """
    toward = [gap if first_is_positive(pair) else -gap for pair, gap in zip(pairs, gaps, strict=True)]
    return sum(toward) / len(toward)


def _letter_of_positive(pair: Pair) -> str | None:
    options = _options(_asked(pair))
    if options is None or _options(options.swapped().text()) != options.swapped():
        return None
    positive, negative = (_letter(reply, options) for reply in (pair.positive, pair.negative))
    return positive if positive and negative and positive != negative else None


def _letter(reply: str, options: _Options) -> str:
    """The option that `reply` names, by its letter and perhaps its text, and nothing else; "" if it says more."""
    found = _REPLY.fullmatch(reply)
    if found is None or found["said"].strip() not in {"", options.first if found["letter"] == "A" else options.second}:
        return ""
    return found["letter"]


def _with_other_letter(reply: str) -> str:
    found = _REPLY.fullmatch(reply)
    assert found is not None
    return found["before"] + _OTHER[found["letter"]] + found["after"] + found["said"]


def _options(text: str) -> _Options | None:
    """The pieces of `text`; None unless it has exactly two options, with words in each."""
    first, second = (_place(text, letter) for letter in "AB")
    if first is None or second is None or second[0] < first[1] or _MARKERS["C"].search(text, second[1]):
        return None
    last_line = max(second[1], text.rstrip().rfind("\n") + 1)
    end = last_line if last_line > second[1] and _ASKS.match(text, last_line) else len(text)
    a_from, a_to = _without_space(text, first[1], second[0])
    b_from, b_to = _without_space(text, second[1], end)
    if a_from == a_to or b_from == b_to:
        return None
    return _Options(text[:a_from], text[a_from:a_to], text[a_to:b_from], text[b_from:b_to], text[b_to:])


def _place(text: str, letter: str) -> tuple[int, int] | None:
    """Where the one marker "(A)" is: the one at the start of a line, else the only one."""
    leading = [match.span(1) for match in _LEADING[letter].finditer(text)]
    found = leading or [match.span() for match in _MARKERS[letter].finditer(text)]
    return found[0] if len(found) == 1 else None


def _without_space(text: str, start: int, end: int) -> tuple[int, int]:
    """The span of what is left of text[start:end] when the space around it is taken off."""
    said = text[start:end]
    begin = start + len(said) - len(said.lstrip())
    return begin, begin + len(said.strip())


def _asked(pair: Pair) -> str:
    """A plain prompt, or the last message of the user."""
    if isinstance(pair.prompt, str):
        return pair.prompt
    return next((message.content for message in reversed(pair.prompt) if message.role == "user"), "")


def _with_asked(pair: Pair, text: str) -> Pair:
    if isinstance(pair.prompt, str):
        return pair.model_copy(update={"prompt": text})
    last = max(place for place, message in enumerate(pair.prompt) if message.role == "user")
    changed = pair.prompt[last].model_copy(update={"content": text})
    return pair.model_copy(update={"prompt": (*pair.prompt[:last], changed, *pair.prompt[last + 1 :])})
