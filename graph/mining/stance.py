"""The opening stance of a response, without its content: what it says first, in a sentence or two of prose.

    heading, list, table, code, quote, tool output   skipped
    "Right, adding the flag. The parser gains ..."   the stance
    the rest of a page                               content: a difference in it is no difference in behaviour

A vector is the difference between two responses, so everything else about them should be alike. Both sides of a pair
are cut the same way; a response that is short and plain stays whole, letter for letter.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["LIMIT_WORDS", "MAX_RATIO", "Comparable", "Incomparable", "comparable", "opening", "stance"]

LIMIT_WORDS = 40
"""Words of an opening, and of a response that stays whole."""
MAX_RATIO = 1.6
"""How many times as long as the other one side of a pair may be, in words."""
SLACK_WORDS = 6
"""So many words more are never too many: of three words and seven neither is long."""

_READ = 12_000
_INTERJECTION = 4
_LEAST = 4


class Incomparable(StrEnum):
    """Why two responses cannot be the two sides of a pair."""

    NO_STANCE = "no_stance"
    UNLIKE_LENGTH = "unlike_length"
    SAME = "same"


@dataclass(frozen=True)
class Comparable:
    """Both sides, cut to like length."""

    positive: str
    negative: str


def stance(text: str) -> str:
    """What is compared of a response: all of it if it is short and plain prose, else its opening.

    The stance of a stance is itself.
    """
    if len(text) <= _READ and _words(text) <= LIMIT_WORDS and all(map(_is_prose, text.splitlines())):
        return text
    found = opening(text)
    return found if all(map(_is_prose, found.splitlines())) else ""


def opening(text: str, limit_words: int = LIMIT_WORDS) -> str:
    """The first sentence of prose in `text`, and the next of its paragraph if both have room; "" without any prose.

    "Good catch!" alone is no stance: a first sentence of up to four words takes the next one from wherever it stands.
    A sentence that leads to a list or to code ends with its colon.
    """
    paragraphs = _paragraphs(text[:_READ])
    sentences = [*_sentences(next(paragraphs, ""))]
    if len(sentences) == 1 and _words(sentences[0]) <= _INTERJECTION:
        sentences += _sentences(next(paragraphs, ""))
    first, second = [*sentences, "", ""][:2]
    if not second or (first.endswith(":") and _words(first) > _INTERJECTION):
        return _cut(first, limit_words)
    if _words(first) + _words(second) <= limit_words:
        return f"{first} {second}"
    if _words(first) <= _INTERJECTION:
        return f"{first} {_cut(second, limit_words - _words(first))}"
    return _cut(first, limit_words)


def comparable(positive: str, negative: str) -> Comparable | Incomparable:
    """The stances of two responses, the longer one cut to like length, or why they cannot be compared.

    What comes out is at most `MAX_RATIO` times as long (or `SLACK_WORDS` longer) on one side as on the other.
    """
    good, bad = stance(positive), stance(negative)
    if not good.strip() or not bad.strip():
        return Incomparable.NO_STANCE
    if _too_long(good, bad):
        good = _shortened(good, bad)
    elif _too_long(bad, good):
        bad = _shortened(bad, good)
    if _too_long(good, bad) or _too_long(bad, good):
        return Incomparable.UNLIKE_LENGTH
    return Incomparable.SAME if good == bad else Comparable(good, bad)


def _words(text: str) -> int:
    return len(text.split())


def _room(text: str) -> int:
    return max(int(_words(text) * MAX_RATIO), _words(text) + SLACK_WORDS)


def _too_long(one: str, other: str) -> bool:
    return _words(one) > _room(other)


def _shortened(text: str, other: str) -> str:
    """The first sentence of `text`, else as much of it as ends in a clause; `text` itself where neither is enough."""
    first = next(_sentences(next(_paragraphs(text[:_READ]), "")), "")
    if first and not _too_long(first, other):
        return first
    cut = _clause(first, _room(other))
    return cut if _words(cut) >= _LEAST else text


def _cut(sentence: str, limit: int) -> str:
    """`sentence` within `limit` words: up to the last clause that fits, else with … in the place of the rest."""
    if _words(sentence) <= limit:
        return sentence
    clause = _clause(sentence, limit)
    if _words(clause) >= max(_LEAST, limit // 3):
        return clause
    return " ".join(sentence.split()[: max(limit, 1)]) + " …"


def _clause(sentence: str, limit: int) -> str:
    """As many of its first words as fit and end a clause, without the mark that ended it; "" if none do."""
    words = sentence.split()[:limit]
    while words and not words[-1].endswith((",", ";", ":")) and words[-1] not in {"-", "–", "—"}:
        words.pop()
    return " ".join(words).rstrip(" ,;:-–—")


_BLOCK = re.compile(
    r"\s*(?:\#{1,6}\s|[-*+•◦▪‣·]\s|(?:\*\*)?\d{1,3}[.)]\s|\||>|<[/!a-zA-Z]|\$\s|"
    r"[🤖⏺⎿●☐☒✻✶✢★☆✓✔✅❌⚠➜→└├│┌╭╰]|`?[★─━═]|\[[A-Z][\w ]{0,30}\]\s*$|\(no content\))"
)
_RULE = re.compile(r"\s*(?:[-*_=~─━═`]\s*){3,}$")
_LABEL = re.compile(r"\s*(?:\*\*[^*]{1,80}\*\*|__[^_]{1,80}__)\s*:?\s*$")
_FENCE = re.compile(r"\s*(`{3,}|~{3,})")
_INDENTED = re.compile(r"(?: {4}|\t)")


def _is_prose(line: str) -> bool:
    """Whether a line is neither heading, list, table, quote, rule, code nor the noise of a tool."""
    return not (_BLOCK.match(line) or _RULE.match(line) or _LABEL.match(line) or _FENCE.match(line))


def _paragraphs(text: str) -> Iterator[str]:
    """Paragraphs of prose, each on one line."""
    fence, lines = "", list[str]()
    for line in text.splitlines():
        mark = _FENCE.match(line)
        if fence or mark:
            if mark and not fence:
                fence = mark[1]
            elif mark and mark[1].startswith(fence):
                fence = ""
            prose = False
        else:
            prose = bool(line.strip()) and _is_prose(line) and not (_INDENTED.match(line) and not lines)
        if prose:
            lines.append(line.strip())
        elif lines:
            yield " ".join(lines)
            lines = []
    if lines:
        yield " ".join(lines)


_LINK = re.compile(r"!?\[([^\[\]\n]{1,300})\]\([^()\s]{1,2000}(?:\s\"[^\"\n]{0,200}\")?\)")
_STRONG = re.compile(r"(\*\*|__)(?=\S)([^*_\n]{1,300}?)(?<=\S)\1")
_END = re.compile(r"(?<=[.!?…])[\"')\]*_”’]{0,3}\s+(?=[\"'(\[`*_“‘]{0,3}[A-Z0-9À-Þ/])|(?<=[。！？])")
_ABBREVIATED = re.compile(
    r"(?:\b(?:e\.g|i\.e|etc|vs|cf|approx|no|dr|mr|mrs|ms|st|fig|ca|resp|incl)|\b[A-Z])\.$", re.IGNORECASE
)


def _sentences(paragraph: str) -> Iterator[str]:
    """Its sentences in order, without links' addresses and without emphasis."""
    plain = _STRONG.sub(r"\2", _LINK.sub(r"\1", paragraph))
    begin = 0
    for end in _END.finditer(plain):
        sentence = plain[begin : end.end()].strip()
        if sentence and not _ABBREVIATED.search(sentence):
            yield sentence
            begin = end.end()
    if plain[begin:].strip():
        yield plain[begin:].strip()
