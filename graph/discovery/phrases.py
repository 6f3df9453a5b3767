"""Which words and phrases tell one set of texts from others, and how they are written as a cue."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["Phrase", "as_cue", "characteristic", "most_telling"]

Words = Sequence[str]


@dataclass(frozen=True)
class Phrase:
    """Words in a row, in what share of the texts they stand, and in what share of the others."""

    words: tuple[str, ...]
    share: float
    elsewhere: float

    @property
    def score(self) -> float:
        """S · ln(s / elsewhere), s being the share, in nats: high for what most texts have and few others."""
        return self.share * math.log(self.share / max(self.elsewhere, _LEAST))

    @property
    def lift(self) -> float:
        """How many times as common it is here."""
        return self.share / max(self.elsewhere, _LEAST)


_LEAST = 0.005


def _phrases(words: Words, longest: int) -> set[tuple[str, ...]]:
    return {tuple(words[at : at + length]) for length in range(1, longest + 1) for at in range(len(words) - length + 1)}


def characteristic(
    texts: Sequence[Words], others: Sequence[Words], longest: int, share: float, lift: float
) -> list[Phrase]:
    """Phrases of up to `longest` words in at least `share` of `texts`, and `lift` times as common as in `others`."""
    here = Counter(phrase for words in texts for phrase in _phrases(words, longest))
    least = max(2, math.ceil(share * len(texts)))
    wanted = {phrase for phrase, count in here.items() if count >= least}
    there = Counter(phrase for words in others for phrase in _phrases(words, longest) & wanted)
    found = [Phrase(p, here[p] / len(texts), there[p] / max(len(others), 1)) for p in wanted]
    return most_telling(found, lift)


def most_telling(phrases: Iterable[Phrase], lift: float) -> list[Phrase]:
    """Those that are `lift` times as common here, the most telling first; of equals the longer."""
    telling = [phrase for phrase in phrases if phrase.lift >= lift]
    return sorted(telling, key=lambda phrase: (-round(phrase.score, 9), -len(phrase.words), phrase.words))


def as_cue(words: Words) -> str:
    """A regular expression that finds `words` in a row, whatever stands between them but letters."""
    return r"\b" + r"\W+".join(re.escape(word) for word in words) + r"\b"
