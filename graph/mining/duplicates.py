"""Which texts repeat an earlier one nearly word for word: an exact join on word shingles, not a sample of hashes.

Two records repeat each other if in each of their parts the shingles (runs of one, two and three words) have a Jaccard
similarity of at least `threshold`. Parts that are alike must share one of their rarest shingles, so only those of one
part are looked up (prefix filtering, Bayardo, Ma & Srikant 2007); only what is kept is remembered: 10,000 records take
a second or two, and nothing depends on a hash.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise

__all__ = ["NEAR", "first_of_alike", "normalised"]

NEAR = 0.8
"""One word changed among fifteen or more leaves a text near; among ten it does not."""


def normalised(text: str) -> str:
    """`text` for comparison: case, punctuation, spacing and the digits of numbers make no difference."""
    return " ".join(re.sub(r"\d+", "0", word) for word in re.findall(r"\w+", text.casefold()))


_Parts = tuple[frozenset[int], ...]
"""The shingles of each part of a record, as numbers; a number stands for one shingle of one part."""

_WORDS = 2**24


def _shingles(part: str, index: int, vocabulary: dict[str, int]) -> frozenset[int]:
    """Runs of one, two and three words of a part, the `index`-th of its record."""
    words = [vocabulary.setdefault(word, len(vocabulary) + 1) for word in normalised(part).split()]
    twos = [first * _WORDS + second for first, second in pairwise(words)]
    threes = [two * _WORDS + third for two, third in zip(twos, words[2:], strict=False)]
    return frozenset((shingle << 4) + index for shingle in (*words, *twos, *threes))


def first_of_alike(records: Sequence[Sequence[str]], threshold: float = NEAR) -> list[int]:
    """For each record the index of the earliest kept one that it repeats; its own index if it is kept.

    `records` are tuples of up to 16 texts, all of one length, the earliest first. A record is compared with kept ones
    only, so a chain of small changes does not collapse into one.
    """
    vocabulary: dict[str, int] = {}
    sets: list[_Parts] = [tuple(_shingles(part, i, vocabulary) for i, part in enumerate(record)) for record in records]
    common = Counter(shingle for parts in sets for part in parts for shingle in part)
    kept_by: dict[int, list[int]] = {}
    blank: dict[tuple[str, ...], int] = {}
    answer: list[int] = []
    for index, parts in enumerate(sets):
        prefixes = [_rarest(part, common, threshold) for part in parts if part]
        if not prefixes:  # nothing but punctuation
            answer.append(blank.setdefault(tuple(records[index]), index))
            continue
        looked_up = min(prefixes, key=lambda prefix: sum(len(kept_by.get(shingle, ())) for shingle in prefix))
        candidates = sorted({earlier for shingle in looked_up for earlier in kept_by.get(shingle, ())})
        same = next((c for c in candidates if _alike(parts, sets[c], threshold)), index)
        answer.append(same)
        if same == index:
            for shingle in {shingle for prefix in prefixes for shingle in prefix}:
                kept_by.setdefault(shingle, []).append(index)
    return answer


def _rarest(part: frozenset[int], common: Mapping[int, int], threshold: float) -> list[int]:
    """So many of its rarest shingles that a part which shares none of them cannot be alike."""
    every = sorted(part, key=lambda shingle: (common[shingle], shingle))
    return every[: len(every) - math.ceil(threshold * len(every)) + 1]


def _alike(one: _Parts, other: _Parts, threshold: float) -> bool:
    """Whether every part has a Jaccard similarity of `threshold` or more."""
    for mine, theirs in zip(one, other, strict=True):
        if min(len(mine), len(theirs)) < threshold * max(len(mine), len(theirs)):
            return False
        shared = len(mine & theirs)
        if shared < threshold * (len(mine) + len(theirs) - shared):
            return False
    return True
