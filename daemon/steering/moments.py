"""Statistics of pair differences, of every layer at once, from pairs that stream by twice. All sums are float64.

    first pass     S = Σ d_i, and the sums of two random halves          d_i = positive_i − negative_i
    second pass    what needs to know them: coherence, and d′ on the half that a direction was not made of

Memory does not grow with the number of pairs.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

Pairs = Callable[[], Iterator[tuple[Tensor, Tensor]]]
"""Calling it starts a pass: (positive, negative), each (layers, hidden) float32, in an order that never changes."""

_TINY = 1e-12


@dataclass(frozen=True)
class Moments:
    """Of n pairs, all float64: `mean` (layers, hidden) is the mean difference, the others are (layers,).

    coherence: mean cosine of each difference to the mean of the *others*: near 0 when there is no one direction.
        Against the mean of all, to which each belongs, differences that have nothing in common would show 1/√n.
    split_half_cosine: between the mean differences of two random halves.
    d_prime: Fisher's d′ between positives and negatives, along the direction of the other half, mean of both halves:
        (μ₊ − μ₋) / √((σ₊² + σ₋²) / 2). NaN with fewer than four pairs.
    """

    mean: Tensor
    coherence: Tensor
    split_half_cosine: Tensor
    d_prime: Tensor


def moments(pairs: Pairs, count: int, seed: int) -> Moments:
    """Statistics of the `count` pairs, at least two, that each pass gives; `seed` divides them into halves."""
    halves = _halves(count, seed)
    sums: list[Tensor] = []
    for half, (positive, negative) in zip(halves, pairs(), strict=True):
        difference = positive.to(torch.float64) - negative.to(torch.float64)
        sums = sums or [torch.zeros_like(difference), torch.zeros_like(difference)]
        sums[half] += difference
    whole, sizes = sums[0] + sums[1], [halves.count(0), halves.count(1)]
    coherence = torch.zeros(len(whole), dtype=torch.float64)
    along = [_Spread.of(len(whole)) for _ in range(4)]
    for half, (positive, negative) in zip(halves, pairs(), strict=True):
        one, two = positive.to(torch.float64), negative.to(torch.float64)
        coherence += _cosine(one - two, whole - (one - two))
        other = sums[1 - half]
        along[2 * half].add((one * other).sum(dim=-1))
        along[2 * half + 1].add((two * other).sum(dim=-1))
    separations = [_d_prime(along[2 * half], along[2 * half + 1]) for half in (0, 1)]
    return Moments(
        mean=whole / count,
        coherence=coherence / count,
        split_half_cosine=_cosine(sums[0] / sizes[0], sums[1] / sizes[1]),
        d_prime=(separations[0] + separations[1]) / 2,
    )


def d_prime(positive: Tensor, negative: Tensor) -> Tensor:
    """Fisher's d′ of samples (n, ...) and (m, ...) over their first dimension: (μ₊ − μ₋) / √((σ₊² + σ₋²) / 2)."""
    spread = ((positive.var(dim=0) + negative.var(dim=0)) / 2).sqrt()
    return (positive.mean(dim=0) - negative.mean(dim=0)) / spread.clamp_min(_TINY)


def _halves(count: int, seed: int) -> list[int]:
    """Which half each of `count` pairs belongs to, 0 or 1; the first is the smaller one when they cannot be equal."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()
    halves = [1] * count
    for place in order[: count // 2]:
        halves[place] = 0
    return halves


def _cosine(one: Tensor, two: Tensor) -> Tensor:
    return torch.nn.functional.cosine_similarity(one, two, dim=-1, eps=_TINY)


@dataclass
class _Spread:
    """Welford's running mean and sum of squared deviations of values (layers,)."""

    count: int
    mean: Tensor
    squares: Tensor

    @classmethod
    def of(cls, layers: int) -> "_Spread":
        return cls(0, torch.zeros(layers, dtype=torch.float64), torch.zeros(layers, dtype=torch.float64))

    def add(self, values: Tensor) -> None:
        self.count += 1
        away = values - self.mean
        self.mean = self.mean + away / self.count
        self.squares = self.squares + away * (values - self.mean)

    def variance(self) -> Tensor:
        """Unbiased; NaN of fewer than two values."""
        return self.squares / (self.count - 1) if self.count > 1 else torch.full_like(self.squares, torch.nan)


def _d_prime(positive: _Spread, negative: _Spread) -> Tensor:
    spread = ((positive.variance() + negative.variance()) / 2).sqrt()
    return (positive.mean - negative.mean) / spread.clamp_min(_TINY)
