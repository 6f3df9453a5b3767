"""Baselines of equal norm: what any push, and what the same pairs without their labels, would do to the test pairs.

    random       a Gaussian direction
    shuffled     the training pairs' mean difference after the labels of one half of them were exchanged
    behaviour    another behaviour's vector, with its own sign

A vector may be added at several layers. A baseline is then added at the same ones, at each as long as the vector is
there; one half of the pairs is exchanged at all layers alike. Exactly one half, so that nothing of the direction is
left but chance: by coins, a few heads too many would leave some of it, and scaling to equal norm would blow that up.

The bar (`null_test`) bounds false promotions. If the labels mean nothing, the vector's effect and those of the
shuffled baselines come from one distribution; with m of them, of mean μ and standard deviation s, the next one exceeds

    μ + t(m − 1; 1 − α/family) · s · √(1 + 1/m)

with probability α/family, where α = 1 − percentile and `family` is the number of behaviours that are proved together
(Bonferroni: the chance that any of them passes is at most α). An empirical percentile would not do: the 99th of twenty
is their maximum, which one vector in 21 exceeds. That is a bound for near-Gaussian effects, which means over pairs are;
so the strongest baseline of any kind must be exceeded too, which takes no such assumption. Without shuffled baselines
the random ones stand in. A version is promoted only after several such proofs that agree, so a false promotion takes as
many accidents.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from daemon.proof.chance import t_quantile, t_tail
from daemon.proof.prepared import Deltas
from daemon.protocol import Null, NullTest, Progress

OnProgress = Callable[[Progress], None]
Directions = Mapping[int, Tensor]
"""At which layer, which direction (hidden,) of any length."""

_TINY = 1e-12


class Measurable(Protocol):
    """Pairs that are ready for vectors: `daemon.proof.prepared.PreparedPairs`, `daemon.proof.held_out.HeldOut`."""

    def effects(self, deltas: Deltas, /) -> Tensor:
        """(n,) float64: change of each pair's gap under `deltas`, nats a token."""


def measure_nulls(
    pairs: Measurable,
    deltas: Deltas,
    differences: Mapping[int, Tensor] | None,
    rivals: Mapping[str, Directions],
    counts: tuple[int, int],
    seed: int,
    on_progress: OnProgress,
) -> tuple[Null, ...]:
    """Mean effects on `pairs`, nats a token, of baselines that are as long as `deltas` at each of its layers.

    Args:
        pairs: Test pairs, ready for the lowest layer of `deltas`.
        deltas: What the vector adds.
        differences: Of the training pairs, (n, hidden) at each layer; None, or fewer than two: nothing is shuffled.
        rivals: Other behaviours' directions; one that has not all the layers is left out.
        counts: How many random and how many shuffled ones.
        seed: Decides all of them.
        on_progress: Told after each.
    """
    made = [
        *_randoms(deltas, counts[0], seed),
        *_shuffles(deltas, differences, counts[1], seed),
        *(("behaviour", 0, name, rival) for name, rival in sorted(rivals.items()) if deltas.keys() <= rival.keys()),
    ]
    found = []
    for number, (kind, own, name, raw) in enumerate(made, start=1):
        effect = float(pairs.effects(of_equal_norm(raw, deltas)).mean())
        found.append(Null.model_validate({"kind": kind, "seed": own, "effect": effect, "name": name}))
        on_progress(Progress(stage="baselines", done=number, total=len(made)))
    return tuple(found)


_Made = tuple[str, int, str, Directions]
"""Kind, seed, name, and what is added before it is scaled."""


def _randoms(deltas: Deltas, count: int, seed: int) -> Iterator[_Made]:
    for own in range(count):
        generator = _generator(seed, own, 1)
        yield "random", own, "", {layer: random_direction(len(deltas[layer]), generator) for layer in sorted(deltas)}


def _shuffles(deltas: Deltas, differences: Mapping[int, Tensor] | None, count: int, seed: int) -> Iterator[_Made]:
    if differences is None or min(len(differences[layer]) for layer in deltas) < 2:
        return
    for own in range(count):
        # The same seed at every layer: the same half of the pairs.
        raw = {layer: shuffled(differences[layer], _generator(seed, own, 0)) for layer in sorted(deltas)}
        yield "shuffled", own, "", raw


def _generator(seed: int, own: int, kind: int) -> torch.Generator:
    return torch.Generator().manual_seed(2 * (1000 * seed + own) + kind)


def random_direction(hidden: int, generator: torch.Generator) -> Tensor:
    """Gaussian (hidden,) float64: every direction is as likely."""
    return torch.randn(hidden, generator=generator, dtype=torch.float64)


def shuffled(differences: Tensor, generator: torch.Generator) -> Tensor:
    """Mean of differences (n, hidden) with the sign of a random half turned; of an odd number one is left out."""
    order = torch.randperm(len(differences), generator=generator)
    half = len(order) // 2
    mixed: Tensor = differences[order[:half]].mean(dim=0) - differences[order[half : 2 * half]].mean(dim=0)
    return mixed


def of_equal_norm(raw: Directions, deltas: Deltas) -> dict[int, Tensor]:
    """At each layer of `deltas`, `raw` scaled to the norm that `deltas` has there, float32; zero stays zero."""
    return {layer: _of_length(raw[layer], float(delta.norm())) for layer, delta in deltas.items()}


def _of_length(raw: Tensor, norm: float) -> Tensor:
    scaled: Tensor = raw.to(torch.float64) * (norm / raw.to(torch.float64).norm().clamp_min(_TINY))
    return scaled.to(torch.float32)


def null_test(effect: float, nulls: Sequence[Null], percentile: float, family: int) -> NullTest | None:
    """The bar that `effect` must exceed, and how likely chance is to do as much; None without baselines.

    `n` counts the baselines that the mean and the spread are of. An effect that is no number makes the bar none, which
    nothing exceeds.
    """
    if not nulls:
        return None
    effects = [null.effect for null in nulls]
    strongest = math.nan if any(map(math.isnan, effects)) else max(effects)
    alike = _exchangeable(nulls)
    if len(alike) < 2:
        bar, p_value = strongest, (1 + sum(other >= effect for other in effects)) / (1 + len(effects))
    else:
        upper = (1 - percentile) / family
        predicted, p_value = _predicted(alike, upper), _p_value(effect, alike)
        bar = strongest if math.isnan(strongest) else max(strongest, predicted)
    return NullTest(
        bar=bar, percentile=percentile, family=family, p_value=p_value, strongest=strongest, n=len(alike) or len(nulls)
    )


def _exchangeable(nulls: Sequence[Null]) -> list[float]:
    """Effects of the shuffled baselines, or of the random ones where too few were shuffled to have a spread."""
    of_kind = {kind: [null.effect for null in nulls if null.kind == kind] for kind in ("shuffled", "random")}
    return of_kind["shuffled"] if len(of_kind["shuffled"]) >= 2 else of_kind["random"]


def _predicted(effects: Sequence[float], upper: float) -> float:
    """What one more of the same exceeds with probability `upper`."""
    mean, spread = _mean_and_spread(effects)
    return mean + t_quantile(upper, len(effects) - 1) * spread


def _p_value(effect: float, effects: Sequence[float]) -> float:
    mean, spread = _mean_and_spread(effects)
    if spread == 0:
        return 0.0 if effect > mean else 1.0
    return t_tail((effect - mean) / spread, len(effects) - 1)


def _mean_and_spread(effects: Sequence[float]) -> tuple[float, float]:
    """Mean, and standard deviation of one more around it."""
    n = len(effects)
    mean = math.fsum(effects) / n
    variance = math.fsum((each - mean) ** 2 for each in effects) / (n - 1)
    return mean, math.sqrt(variance * (1 + 1 / n))
