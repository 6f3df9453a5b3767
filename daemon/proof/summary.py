"""What generations show together. No torch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from daemon.protocol import Generation


@dataclass(frozen=True)
class Generated:
    """Over `n` generations, `n_greedy` of them greedy; each `before` is without the vector, each `after` with it.

    `positive_*`: share of replies that show the positive pole alone. `repetition_*`: mean share of repeated 4-grams in
    greedy replies. `perplexity_ratio`: geometric mean of after over before, both under the model without the vector,
    over the generations where neither reply is empty; None without any. Shares and means of nothing are 0.
    """

    n: int
    n_greedy: int
    positive_before: float
    positive_after: float
    repetition_before: float
    repetition_after: float
    perplexity_ratio: float | None


def summary(generations: Sequence[Generation]) -> Generated:
    """The shares and means of what was generated."""
    greedy = [each for each in generations if each.kind == "greedy"]
    return Generated(
        n=len(generations),
        n_greedy=len(greedy),
        positive_before=_mean([each.base.pole == "positive" for each in generations]),
        positive_after=_mean([each.steered.pole == "positive" for each in generations]),
        repetition_before=_mean([each.base.repetition for each in greedy]),
        repetition_after=_mean([each.steered.repetition for each in greedy]),
        perplexity_ratio=_perplexity_ratio(generations),
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _perplexity_ratio(generations: Sequence[Generation]) -> float | None:
    told = [(each.base.perplexity, each.steered.perplexity) for each in generations]
    ratios = [math.log(after) - math.log(before) for before, after in told if before is not None and after is not None]
    return math.exp(_mean(ratios)) if ratios else None
