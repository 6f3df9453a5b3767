"""The test pairs, looked at once: effects, their interval over groups, and slopes, A/B items in both orders.

An A/B item counts as the mean of two: as it stands, and with its options exchanged. What a vector does to a letter is
then worth nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from daemon.proof.choices import letter_bias, swapped
from daemon.proof.prepared import Deltas, PreparedPairs
from daemon.protocol import LetterTest
from daemon.steering.loading import LoadedModel
from graph.schema import Pair


@dataclass(frozen=True)
class HeldOut:
    """n pairs, and the exchanged item of each that is an A/B item, computed once without a vector."""

    pairs: tuple[Pair, ...]
    ready: PreparedPairs
    exchanged: tuple[int | None, ...]

    @classmethod
    def of(cls, loaded: LoadedModel, pairs: Sequence[Pair], layers: Sequence[int]) -> "HeldOut":
        """Ready for vectors whose lowest layer is one of `layers`."""
        others = [swapped(pair) for pair in pairs]
        places, rows = [], list(pairs)
        for other in others:
            places.append(len(rows) if other is not None else None)
            rows += [other] if other is not None else []
        return cls(tuple(pairs), PreparedPairs.of(loaded, rows, layers), tuple(places))

    @property
    def base(self) -> Tensor:
        """(n,) float64: gaps without a vector, nats a token."""
        return self.folded(self.ready.base)

    def effects(self, deltas: Deltas) -> Tensor:
        """(n,) float64: change of each pair's gap under `deltas`, nats a token."""
        return self.folded(self.ready.effects(deltas))

    def letters(self, told: LetterTest, effects: Tensor) -> LetterTest:
        """`told`, with what either order gives, and how much the model prefers the letter A, without and with.

        `effects` are those of `ready`, each order by itself.
        """
        items = [(own, other) for own, other in enumerate(self.exchanged) if other is not None]
        own, other = (torch.tensor(side) for side in zip(*items, strict=True))
        asked = [self.pairs[place] for place, _ in items]

        def bias(gaps: Tensor) -> float:
            return letter_bias(asked, ((gaps[own] - gaps[other]) / 2).tolist())

        return told.model_copy(
            update={
                "bias": bias(self.ready.base),
                "bias_steered": bias(self.ready.base + effects),
                "effect_given": float(effects[own].mean()),
                "effect_swapped": float(effects[other].mean()),
            }
        )

    def folded(self, values: Tensor) -> Tensor:
        """Of values for each row of `ready`, one for each pair: the mean of both orders of an item."""
        found = values[: len(self.pairs)].clone()
        for own, other in enumerate(self.exchanged):
            if other is not None:
                found[own] = (values[own] + values[other]) / 2
        return found


def slopes_over_doses(effects: dict[float, Tensor]) -> Tensor:
    """Least-squares slope of each pair's gap over the doses, nats a token for one unit of dose: (n,) float64.

    Source: steerability in Tan et al., arXiv:2407.12404.
    """
    doses = torch.tensor(list(effects), dtype=torch.float64)
    centred = doses - doses.mean()
    return (torch.stack(list(effects.values()), dim=1) * centred).sum(dim=1) / centred.square().sum()


def group_interval(values: Tensor, pairs: Sequence[Pair], resamples: int, seed: int) -> tuple[float, float]:
    """95 % bootstrap interval of the mean of `values` (n,); pairs of one group come and go together."""
    sums, counts = resampled([values, torch.ones_like(values)], pairs, resamples, seed)
    means = sums / counts
    return float(means.quantile(0.025)), float(means.quantile(0.975))


def resampled(of: Sequence[Tensor], pairs: Sequence[Pair], resamples: int, seed: int) -> list[Tensor]:
    """Sums (resamples,) of each of the values (n,) over groups drawn with replacement, the same groups for all."""
    names = sorted({pair.group for pair in pairs})
    member = torch.tensor([[pair.group == name for pair in pairs] for name in names], dtype=torch.float64)
    drawn = torch.randint(len(names), (resamples, len(names)), generator=torch.Generator().manual_seed(seed))
    return [(member @ values)[drawn].sum(dim=1) for values in of]
