"""How alike texts are, without a model: words and the letters within them, weighed by how rare they are in these texts.

    features   words (without the commonest of English), and 4-letter pieces of ^word$: "deploys" is near "deployed"
    weight     (1 + ln count) · ln(1 + N / texts that have it)        tf-idf, Salton & Buckley 1988
    alike      ½ cosine(words) + ½ cosine(pieces), from 0 (nothing in common) to 1 (the same words)

Deterministic, and the same in whatever order the texts are given; good for "are these two about one matter?", blind to
meaning: "delete" and "remove" have nothing in common.
"""

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["STOPWORDS", "Similarity", "Vector", "content_words", "dot", "neighbours"]

_COMMON = """
a about after again all also am an and any are as at be because been before being but by can could did do does
done down for from get had has have he her here him his how i if in into is it its just let like may me might
more most my no not now of off ok okay on one only or other our out over own please same she should so some such
than that the their them then there these they this those to too up us use very was we were what when where
which while who why will with would yes you your don't doesn't didn't isn't aren't wasn't won't can't couldn't
shouldn't wouldn't it's i'm i'd i'll i've that's there's let's you're we're they're he's she's what's
"""
STOPWORDS = frozenset(_COMMON.split())
"""Words that say nothing about the matter of a text."""

_WORD = re.compile(r"[^\W_]+(?:'[a-z]{1,2}(?![^\W_]))?")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_PIECE = 4
_READ = 2_000


def content_words(text: str, stop: Collection[str] = STOPWORDS) -> list[str]:
    """Words of `text` in order, lower case, without those of `stop`; identifiers are split, and all numbers are 0."""
    plain = _CAMEL.sub(" ", text[:_READ].replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")).casefold()
    words = ("0" if word.isdigit() else word for word in _WORD.findall(plain))
    return [word for word in words if word not in stop and (len(word) > 1 or word == "0")]


def _pieces(words: Iterable[str]) -> list[str]:
    padded = [f"^{word}$" for word in words]
    return [word[at : at + _PIECE] for word in padded for at in range(max(1, len(word) - _PIECE + 1))]


Vector = Mapping[str, float]
"""Feature → weight; of length 1, or empty for a text that says nothing. Words begin with a space, pieces do not."""


@dataclass(frozen=True)
class Similarity:
    """A measure whose weights come from a set of texts. `texts` is their number, `holding` how many have a feature."""

    texts: int
    holding: Mapping[str, int]

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Similarity":
        """The measure that fits `texts`."""
        return cls.of_words(map(content_words, texts))

    @classmethod
    def of_words(cls, texts: Iterable[Sequence[str]]) -> "Similarity":
        """The measure that fits texts which are words already."""
        holding: Counter[str] = Counter()
        count = 0
        for words in texts:
            count += 1
            holding.update({f" {word}" for word in words} | set(_pieces(words)))
        return cls(count, holding)

    def vector(self, text: str) -> Vector:
        """`text` as a sparse vector, so that the dot product of two is how alike they are."""
        return self.vector_of(content_words(text))

    def vector_of(self, words: Sequence[str]) -> Vector:
        """A text that is words already, as a sparse vector."""
        halves = (self._half(f" {word}" for word in words), self._half(_pieces(words)))
        return {feature: weight for half in halves for feature, weight in half.items()}

    def alike(self, one: str, other: str) -> float:
        """From 0 to 1; symmetric, and 1 for a text and itself, if it says anything."""
        return dot(self.vector(one), self.vector(other))

    def _half(self, features: Iterable[str]) -> dict[str, float]:
        counted = Counter(features)
        weighed = {f: (1 + math.log(n)) * self._rarity(f) for f, n in sorted(counted.items())}
        length = math.sqrt(2 * math.fsum(weight * weight for weight in weighed.values()))
        return {feature: weight / length for feature, weight in weighed.items()} if length else {}

    def _rarity(self, feature: str) -> float:
        return math.log(1 + max(self.texts, 1) / max(self.holding.get(feature, 0), 1))


def dot(one: Vector, other: Vector) -> float:
    """The scalar product, from 0 to 1."""
    shared = sorted(one.keys() & other.keys())
    return min(1.0, math.fsum(one[feature] * other[feature] for feature in shared))


def neighbours(vectors: Sequence[Vector], k: int, floor: float) -> list[tuple[int, int, float]]:
    """Pairs (i, j, alike), i < j, where either is among the `k` nearest of the other and `alike` is at least `floor`.

    Each vector is multiplied with all others through the lists of who has which feature: O(sum of the lists' lengths).
    Ties go to the lower index.
    """
    holders = _holders(vectors)
    found: dict[tuple[int, int], float] = {}
    for i, vector in enumerate(vectors):
        scores: npt.NDArray[np.float64] = np.zeros(len(vectors))
        for feature in sorted(vector):
            who, weights = holders[feature]
            scores[who] += vector[feature] * weights
        scores[i] = 0
        near = np.flatnonzero(scores >= max(floor, 1e-12))
        for j in near[np.argsort(-np.round(scores[near], 12), kind="stable")][:k]:
            found[min(i, int(j)), max(i, int(j))] = round(min(1.0, float(scores[j])), 12)
    return [(i, j, alike) for (i, j), alike in sorted(found.items())]


_Holders = tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]


def _holders(vectors: Sequence[Vector]) -> dict[str, _Holders]:
    lists: dict[str, tuple[list[int], list[float]]] = {}
    for index, vector in enumerate(vectors):
        for feature, weight in vector.items():
            who, weights = lists.setdefault(feature, ([], []))
            who.append(index)
            weights.append(weight)
    return {f: (np.array(who, np.intp), np.array(weights)) for f, (who, weights) in lists.items()}
