"""Corrections read for what they say: stems of the human's words, and which of them belong to the matter at hand."""

import math
import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import combinations

from graph.behaviours.patterns import classify
from graph.discovery.phrases import Phrase, most_telling
from graph.mining.similarity import STOPWORDS, Similarity, Vector, content_words
from graph.mining.stance import opening
from graph.schema import Behaviour, Episode, Outcome

__all__ = [
    "OPENING_WORDS",
    "STOP",
    "Correction",
    "Wording",
    "corrections_of",
    "matter_of",
    "stem",
    "unexplained",
    "vectors_of",
]

_STANCE_WORDS = {
    *("again", "after", "all", "any", "before", "don't", "first", "just", "more", "most", "no", "not", "only", "other"),
    *("own", "same", "too", "why"),
}
STOP = STOPWORDS - _STANCE_WORDS
"""How a human corrects is said in small words too."""

OPENING_WORDS = 25
_TOLD_WORDS = 40
_OF_CODE = re.compile(r"[\w`][/_.:=(){}\\`]+\w|[a-z][A-Z]|[/`\\]|--\w|\d")
_MOST_CORE = 4
_OF_WORDS = 0.8
"""How much of a likeness is the human's words'; the rest is the response's, which mostly tells the matter."""


@dataclass(frozen=True)
class Correction:
    """A correction with the stems of what the human said and of how the response began."""

    episode: Episode
    words: tuple[str, ...]
    said: tuple[str, ...]


def matter_of(episodes: Sequence[Episode]) -> set[str]:
    """What was asked and said, corrected or not: words that are common there tell the matter, not the correction."""
    return {text for episode in episodes for text in (episode.direction, episode.response)}


def unexplained(episode: Episode, known: Sequence[Behaviour]) -> bool:
    """Whether it is a correction with words of which no known behaviour has a label."""
    corrected = episode.outcome in {Outcome.REJECTED, Outcome.CORRECTED}
    if not (corrected and episode.pairable and episode.words.strip()):
        return False
    return all(classify(episode, behaviour) is None for behaviour in known)


def corrections_of(episodes: Sequence[Episode]) -> list[Correction]:
    """Corrections as stems, without words that only one session uses."""
    read = [(e, _stems(_told(e)), _stems(opening(e.response, OPENING_WORDS))) for e in episodes]
    used: dict[str, set[str]] = {}
    for episode, words, said in read:
        for word in {*words, *said}:
            used.setdefault(word, set()).add(episode.session)
    return [
        Correction(e, tuple(w for w in words if len(used[w]) > 1), tuple(w for w in said if len(used[w]) > 1))
        for e, words, said in read
    ]


def _told(episode: Episode) -> str:
    """What the human says first, without paths and names from code: these, and what is pasted below, are matter."""
    said = opening(episode.words, _TOLD_WORDS) or " ".join(episode.words.split()[:_TOLD_WORDS])
    return " ".join(word for word in said.split() if not _OF_CODE.search(word))


def _stems(text: str) -> list[str]:
    return [stem(word) for word in content_words(text, STOP) if word != "0"]


def stem(word: str) -> str:
    """`tests`, `tested` and `testing` are `test`; crude, and the same for all."""
    for ending in ("ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith(("ss", "us", "is")):
            stem = word[: -len(ending)]
            return stem[:-1] if ending in {"ing", "ed"} and stem[-1] == stem[-2] and stem[-1] not in "ls" else stem
    return word


class Wording:
    """Who uses which word: of the corrections, and of everything that was asked and said."""

    def __init__(self, corrections: Sequence[Correction], matter: Collection[str]) -> None:
        self.corrections = corrections
        self.holding: dict[str, set[int]] = {}
        for index, correction in enumerate(corrections):
            for word in set(correction.words):
                self.holding.setdefault(word, set()).add(index)
        self.texts = len(corrections) + len(matter)
        self.users = Counter({word: len(who) for word, who in self.holding.items()})
        for text in matter:
            self.users.update(self.holding.keys() & set(_stems(opening(text, _TOLD_WORDS))))

    def core(self, part: Sequence[int], share: float, lift: float) -> tuple[str, ...]:
        """Words of many in `part` and of few others, the most telling first."""
        here = Counter(word for index in part for word in set(self.corrections[index].words))
        found = [
            Phrase((word,), count / len(part), (self.users[word] - count) / max(self.texts - len(part), 1))
            for word, count in here.items()
            if count >= max(2, share * len(part))
        ]
        return tuple(phrase.words[0] for phrase in most_telling(found, lift)[:_MOST_CORE])

    def excess(self, core: Sequence[str]) -> float:
        """(seen - λ) / √λ of the pairs of core words within one correction; λ is expected if words were dealt out."""
        counts = [len(self.holding[word]) for word in core]
        expected = sum(one * other for one, other in combinations(counts, 2)) / len(self.corrections)
        together = Counter(index for word in core for index in self.holding[word])
        seen = sum(math.comb(words, 2) for words in together.values())
        return (seen - expected) / math.sqrt(expected) if expected else 0.0


def vectors_of(corrections: Sequence[Correction]) -> list[Vector]:
    """What the human says and what the response said, each compared with its like: two texts in one vector."""
    words, said = (Similarity.of_words(texts) for texts in zip(*((c.words, c.said) for c in corrections), strict=True))
    shares = math.sqrt(_OF_WORDS), math.sqrt(1 - _OF_WORDS)
    return [
        {f"w{feature}": shares[0] * weight for feature, weight in words.vector_of(c.words).items()}
        | {f"r{feature}": shares[1] * weight for feature, weight in said.vector_of(c.said).items()}
        for c in corrections
    ]
