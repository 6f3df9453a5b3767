"""Every variant of the weights on the same held-out texts: gap, closeness to the teacher, what it did to the rest."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from daemon.errors import DataError
from daemon.protocol import BakeRow
from daemon.steering.text import EncodedReply
from daemon.training.gates import divided, effect_ratio
from daemon.training.subject import Subject
from daemon.training.texts import PairTexts, Reading, Watch, item_means, joined, targets

Variant = Literal["base", "hook", "rank1", "trained", "control_hook", "control"]


@dataclass(frozen=True)
class HeldOut:
    """Pairs and neutral text that no solve and no step has seen."""

    pairs: PairTexts
    neutral: tuple[EncodedReply, ...]


@dataclass(frozen=True)
class Measurement:
    """One variant. Gaps in nats a token, one a pair; KLs in nats a position.

    `mean_state` (d,) is the mean block output over reply positions at the vector's layer, the last of several.
    """

    gaps: tuple[float, ...]
    teacher_kl: float
    neutral_kl_mean: float
    neutral_kl_p95: float
    neutral_kl_rmse: float
    perplexity: float
    mean_state: Tensor
    n_neutral: int

    @property
    def gap(self) -> float:
        """Mean over pairs."""
        return sum(self.gaps) / len(self.gaps)


def read_variant(subject: Subject, texts: HeldOut) -> Reading:
    """A record of the model as it stands: "pairs" and "neutral" final states (n, d), "state" (d,)."""
    pairs = subject.read(texts.pairs.items, Watch({subject.layer: subject.layout.blocks[subject.layer]}, {}))
    neutral = subject.read(texts.neutral)
    return {
        "pairs": joined(pairs, "final"),
        "neutral": joined(neutral, "final"),
        "state": joined(pairs, f"block.{subject.layer}").double().mean(dim=0).float(),
    }


def pair_gaps(texts: PairTexts, scores: Tensor) -> tuple[float, ...]:
    """Per pair, mean log P of the positive reply's tokens − that of the negative's, of log P of all tokens in order."""
    replies = item_means(texts.items, scores)
    return tuple(float(gap) for gap in replies[0::2] - replies[1::2])


class Reference:
    """Held-out texts with the readings of base and hook on them, against which every variant is measured."""

    def __init__(self, subject: Subject, texts: HeldOut, base: Reading, hook: Reading) -> None:
        self._subject, self._texts = subject, texts
        self._base, self._hook = base, hook
        self.base, self.hook = self.measure(base), self.measure(hook)

    def measure(self, variant: Reading) -> Measurement:
        """What the readings of a variant say.

        Raises:
            DataError: they are not finite.
        """
        subject, texts = self._subject, self._texts
        drift, scores = subject.compared(self._base["neutral"], variant["neutral"], targets(texts.neutral))
        left, replies = subject.compared(self._hook["pairs"], variant["pairs"], targets(texts.pairs.items))
        if not all(bool(torch.isfinite(part).all()) for part in (drift, scores, left, replies)):
            raise DataError("the changed weights give values that are not finite; lower training.learning_rate")
        return Measurement(
            gaps=pair_gaps(texts.pairs, replies),
            teacher_kl=float(left.mean()),
            neutral_kl_mean=float(drift.mean()),
            neutral_kl_p95=float(drift.quantile(0.95)),
            neutral_kl_rmse=float(drift.square().mean().sqrt()),
            perplexity=float(torch.exp(-scores.mean())),
            mean_state=variant["state"],
            n_neutral=len(drift),
        )

    def row(self, variant: Variant, measured: Measurement, bootstrap: int, seed: int) -> BakeRow:
        """The measurement as a line of the report."""
        base, hook = self.base, self.hook
        ratio = effect_ratio(measured.gaps, base.gaps, hook.gaps, self._texts.pairs.groups, bootstrap, seed)
        return BakeRow(
            variant=variant,
            gap=measured.gap,
            effect=measured.gap - base.gap,
            effect_ratio=ratio.point,
            effect_ratio_interval=ratio.interval,
            kl_to_teacher_left=divided(measured.teacher_kl, base.teacher_kl),
            neutral_kl_mean=measured.neutral_kl_mean,
            neutral_kl_p95=measured.neutral_kl_p95,
            neutral_kl_rmse=measured.neutral_kl_rmse,
            perplexity=measured.perplexity,
        )


def averaged(one: Measurement, other: Measurement) -> Measurement:
    """The mean of two variants, pair by pair."""
    return Measurement(
        gaps=tuple((a + b) / 2 for a, b in zip(one.gaps, other.gaps, strict=True)),
        teacher_kl=(one.teacher_kl + other.teacher_kl) / 2,
        neutral_kl_mean=(one.neutral_kl_mean + other.neutral_kl_mean) / 2,
        neutral_kl_p95=(one.neutral_kl_p95 + other.neutral_kl_p95) / 2,
        neutral_kl_rmse=(one.neutral_kl_rmse + other.neutral_kl_rmse) / 2,
        perplexity=(one.perplexity + other.perplexity) / 2,
        mean_state=(one.mean_state + other.mean_state) / 2,
        n_neutral=one.n_neutral,
    )
