"""Text without its secrets: keys, tokens, passwords, logins in addresses, mail addresses and the names of home folders.

    three letters of a needle? ──▶ the needle? ──▶ its pattern ──▶ placeholder    (rules: `graph.redaction.secrets`)

So text without needles costs next to nothing, and since every pattern is bounded or possessive no text takes more than
linear time. What is taken out reads `[redacted KIND]` (a home folder `~`), which no pattern matches: redacting twice
changes nothing. What is no secret stays: git SHAs, digests, uuids, versions, names in code, `<your key>`.

A password in plain prose ("it is hunter2"), or one of letters only and without quotes, cannot be told from words.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from graph.redaction.secrets import hinted, lowered

__all__ = ["Redacted", "redact"]

_MOST_PASSES = 8


@dataclass(frozen=True)
class Redacted:
    """The text, and how many of each kind were taken out: `key`, `token`, `password`, `login`, `mail`, `home`, ..."""

    text: str
    counts: Mapping[str, int]


def redact(text: str) -> Redacted:
    """`text` without its secrets; redacting the result again changes nothing."""
    counts: Counter[str] = Counter()
    for _ in range(_MOST_PASSES):  # what stood beside a secret may be seen only once that is gone
        before = text
        text = _pass(text, counts)
        if text == before:
            break
    return Redacted(text, dict(counts))


def _pass(text: str, counts: Counter[str]) -> str:
    small: str | None = None
    for rule in hinted(text):
        if rule.folded and small is None:
            small = lowered(text)
        spans = list(rule.found(small if rule.folded and small is not None else text))
        if spans:
            counts[rule.kind] += len(spans)
            text, small = _without(text, spans, rule.instead), None
    return text


def _without(text: str, spans: list[tuple[int, int]], instead: str) -> str:
    pieces: list[str] = []
    done = 0
    for start, end in spans:
        pieces += (text[done:start], instead)
        done = end
    return "".join((*pieces, text[done:]))
