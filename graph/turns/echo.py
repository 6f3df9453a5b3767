"""What the human's words share with what the agent had just offered: the name of an option, the action of a question.

Nothing here knows a topic. Two texts share a word when its stem stands in both; words that stand in every text count
nothing.
"""

import re
from functools import lru_cache

MAX_CLAUSE = 10
"""A clause of more content words than this takes no offer by repeating it: it tells something."""

_WORD = re.compile(r"[a-z][a-z0-9_.-]*[a-z0-9]")
_LINE = re.compile(r"^[ *#>(-]{0,8}(?:\d{1,2}[.)]|[-*\u2022\u2192]|option \w\b|[a-d][).])[^\n]{2,200}", re.MULTILINE)
_SENTENCE = re.compile(r"[^.?!\n]+[.?!\n]")
_ENDING = re.compile(r"(?:ings?|ed|es|s|e)$")
_COMMON = frozenset(
    re.findall(
        r"[\w']+",
        "the and for with that this these those you your are was were has have had will would should could can"
        " may might not but its it's our out all any some into from then than them they there here what which"
        " who how why when where yes yeah yep sure okay please just like want let lets let's now also one two"
        " more very thing things make use do does did get got good great nice think really need about only"
        " first so if or of on in to at as is be by we me my an it",
    )
)


def stems(text: str) -> frozenset[str]:
    """The content words of a lower-case text, without their endings."""
    return frozenset(_stem(word) for word in _WORD.findall(text) if word not in _COMMON)


@lru_cache(maxsize=4_096)
def _stem(word: str) -> str:
    return _ENDING.sub("", word) or word


def offered(tail: str) -> frozenset[str]:
    """The content words of what the agent's tail (lower case) lists or asks."""
    questions = (sentence for sentence in _SENTENCE.findall(tail) if sentence.endswith("?"))
    return stems(" ".join([*_LINE.findall(tail), *questions]))


def shared(clause: str, there: frozenset[str]) -> float:
    """The share of the clause's content words that stand `there`; 0 of none, or of more than MAX_CLAUSE."""
    own = stems(clause)
    return len(own & there) / len(own) if 0 < len(own) <= MAX_CLAUSE else 0.0
