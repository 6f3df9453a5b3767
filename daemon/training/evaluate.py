"""Every variant of the weights on the same held-out texts: gap, closeness to the teacher, and what it did to the rest."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from daemon.protocol import BakeRow
from daemon.training.forward import divergences, target_scores
from daemon.training.gates import divided, effect_ratio
from daemon.training.subject import Subject
from daemon.training.texts import PairTexts, joined, read, slot_owners, targets
from daemon.training.trees import Tree

Variant = Literal["base", "hook", "rank1", "trained", "control_hook", "control"]


@dataclass(frozen=True)
class HeldOut:
    """Pairs and neutral text that no solve and no step has seen."""

    pairs: PairTexts
    neutral: tuple[Tree, ...]


@dataclass(frozen=True)
class Measurement:
    """One variant. Gaps in nats a token, a pair each; KLs in nats a position; `mean_state` (d,) is the mean block output
    at the vector's layer over reply positions."""

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


def read_variant(subject: Subject, texts: HeldOut) -> dict[str, Tensor]:
    """A record of the model as it stands: "pairs" and "neutral" final states (n, d), "state" (d,)."""
    block = f"block.{subject.layer}"
    pairs = read(subject.model, texts.pairs.trees, {subject.layer: subject.blocks[subject.layer]})
    neutral = read(subject.model, texts.neutral)
    return {
        "pairs": joined(pairs, "final"),
        "neutral": joined(neutral, "final"),
        "state": joined(pairs, block).double().mean(dim=0).float(),
    }


def pair_gaps(subject: Subject, texts: PairTexts, final: Tensor) -> tuple[float, ...]:
    """Per pair, mean log P of the positive reply's tokens − that of the negative's, of final states at all slots."""
    scores = target_scores(subject.model, final, targets(texts.trees)).double()
    owners = slot_owners(texts)
    replies = 2 * len(texts.groups)
    sums = torch.zeros(replies, dtype=torch.float64).index_add_(0, owners, scores)
    means = sums / torch.bincount(owners, minlength=replies)
    return tuple(float(gap) for gap in means[0::2] - means[1::2])


def judge(
    subject: Subject,
    texts: HeldOut,
    variant: dict[str, Tensor],
    base: dict[str, Tensor],
    hook: dict[str, Tensor],
) -> Measurement:
    """Measure the readings of a variant against those of the base and of the hook."""
    drift = divergences(subject.model, base["neutral"], variant["neutral"]).double()
    scores = target_scores(subject.model, variant["neutral"], targets(texts.neutral)).double()
    return Measurement(
        gaps=pair_gaps(subject, texts.pairs, variant["pairs"]),
        teacher_kl=float(divergences(subject.model, hook["pairs"], variant["pairs"]).double().mean()),
        neutral_kl_mean=float(drift.mean()),
        neutral_kl_p95=float(drift.quantile(0.95)),
        neutral_kl_rmse=float(drift.square().mean().sqrt()),
        perplexity=float(torch.exp(-scores.mean())),
        mean_state=variant["state"],
        n_neutral=len(drift),
    )


def row(
    variant: Variant,
    measured: Measurement,
    base: Measurement,
    hook: Measurement,
    groups: Sequence[str],
    bootstrap: int,
    seed: int,
) -> BakeRow:
    """The measurement as a line of the report."""
    ratio = effect_ratio(measured.gaps, base.gaps, hook.gaps, groups, bootstrap, seed)
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
