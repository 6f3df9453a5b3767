"""Pass or fail: plain arithmetic over measurements; a number that is not a number never passes.

    effect        gap(variant) − gap(base)                    gap = log P(positive) − log P(negative) per token
    effect ratio  effect(variant) / effect(hook)              bars: docs/training.md
    retention     1 + (gap after − gap before) / max(|gap before|, 0.1)     after / before, for a gap above 0.1 nat

Nothing here touches a model.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from daemon.protocol import BakeRow, Gate, GateSettings

RETENTION_FLOOR = 0.1
"""Nats a token: below this, a gap is too small to divide by."""

Interval = tuple[float, float]


@dataclass(frozen=True)
class Ratio:
    """An effect ratio, with the bootstrap interval over groups (95 %)."""

    point: float
    interval: Interval


@dataclass(frozen=True)
class Retained:
    """An earlier behaviour's mean gap before and after the bake, and KL(before ‖ after) on its replies."""

    name: str
    before: float
    after: float
    kl: float
    n: int


def effect_ratio(
    variant: Sequence[float],
    base: Sequence[float],
    hook: Sequence[float],
    groups: Sequence[str],
    bootstrap: int,
    seed: int,
) -> Ratio:
    """How much of the hook's effect the variant has. Gaps are per pair, in one order; whole groups are resampled.

    NaN where the hook has no positive effect: there is nothing to have a part of.
    """
    gained = np.asarray(variant, float) - np.asarray(base, float)
    wanted = np.asarray(hook, float) - np.asarray(base, float)
    names = sorted(set(groups))
    member = np.asarray([[group == name for group in groups] for name in names], float)  # (groups, pairs)
    gained_by, wanted_by = member @ gained, member @ wanted  # (groups,)
    draws = np.random.default_rng(seed).integers(len(names), size=(bootstrap, len(names)))
    ratios = _divide(gained_by[draws].sum(axis=1), wanted_by[draws].sum(axis=1))
    point = float(_divide(gained.sum(keepdims=True), wanted.sum(keepdims=True))[0])
    usable = ratios[np.isfinite(ratios)]
    if usable.size == 0 or not math.isfinite(point):
        return Ratio(point, (math.nan, math.nan))
    low, high = np.quantile(usable, [0.025, 0.975])
    return Ratio(point, (float(low), float(high)))


def _divide(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> NDArray[np.float64]:
    """Element by element, NaN where the denominator is not positive."""
    safe = np.where(denominator > 0, denominator, np.nan)
    return np.asarray(numerator / safe, np.float64)


def at_most(name: str, value: float, bar: float, n: int, interval: Interval | None = None) -> Gate:
    """A required gate: value ≤ bar."""
    return Gate(name=name, value=value, bar=bar, passed=bool(value <= bar), n=n, interval=interval)


def at_least(name: str, value: float, bar: float, n: int, interval: Interval | None = None) -> Gate:
    """A required gate: value ≥ bar."""
    return Gate(name=name, value=value, bar=bar, passed=bool(value >= bar), n=n, interval=interval)


def reported(name: str, value: float, n: int) -> Gate:
    """A number for people, with no bar."""
    return Gate(name=name, value=value, bar=None, passed=None, n=n)


def divided(value: float, by: float) -> float:
    """Ratio value / by; NaN (which passes nothing) where `by` is not positive."""
    return value / by if by > 0 else math.nan


def candidate_gates(
    row: BakeRow, base: BakeRow, hook: BakeRow, settings: GateSettings, n_pairs: int, n_positions: int
) -> list[Gate]:
    """The gates of one candidate row by itself."""
    ratio, interval = row.effect_ratio, row.effect_ratio_interval
    kl = divided(row.neutral_kl_mean, hook.neutral_kl_mean)
    perplexity = divided(row.perplexity, base.perplexity)
    return [
        at_least("effect_ratio", ratio, settings.min_effect_ratio, n_pairs, interval),
        at_most("effect_not_overdone", ratio, settings.max_effect_ratio, n_pairs, interval),
        at_most("neutral_kl_ratio", kl, settings.max_neutral_kl_ratio, n_positions),
        at_most("perplexity_ratio", perplexity, settings.max_perplexity_ratio, n_positions),
    ]


def control_gate(control: BakeRow, settings: GateSettings, n: int) -> Gate:
    """A random vector of equal norm, baked the same way, must not show the behaviour."""
    ratio, interval = control.effect_ratio, control.effect_ratio_interval
    return at_most("control_ratio", ratio, settings.max_control_ratio, n, interval)


def retention_gates(retained: Sequence[Retained], settings: GateSettings) -> list[Gate]:
    """Each earlier behaviour keeps its gap; how far its distribution moved is reported, since a gap can hide it."""
    gates = []
    for each in retained:
        kept = 1 + (each.after - each.before) / max(abs(each.before), RETENTION_FLOOR)
        gates.append(at_least(f"retention:{each.name}", kept, settings.min_retention, each.n))
        gates.append(reported(f"retention_kl:{each.name}", each.kl, each.n))
    return gates


def passes(gates: Sequence[Gate]) -> bool:
    """All required gates passed, and there was at least one."""
    required = [gate for gate in gates if gate.passed is not None]
    return bool(required) and all(gate.passed for gate in required)


def failures(gates: Sequence[Gate]) -> str:
    """The failing gates in one line, each with its value and bar."""
    return ", ".join(f"{gate.name} {gate.value:.3f} (bar {gate.bar:g})" for gate in gates if gate.passed is False)


def dominated(row: BakeRow, by: BakeRow) -> bool:
    """`by` is at least as good in effect, closeness to the teacher and neutral KL, and better in one of them."""
    ours = (row.effect_ratio, -row.kl_to_teacher_left, -row.neutral_kl_mean)
    theirs = (by.effect_ratio, -by.kl_to_teacher_left, -by.neutral_kl_mean)
    return all(b >= a for a, b in zip(ours, theirs, strict=True)) and theirs != ours


def nearest_to_full(ratios: Sequence[float], allowed: Sequence[bool], aim: float = 1.0) -> int | None:
    """Index of the effect ratio nearest to `aim` among the allowed ones; the earlier of two equals; None if none is."""
    able = [i for i, (ratio, ok) in enumerate(zip(ratios, allowed, strict=True)) if ok and math.isfinite(ratio)]
    return min(able, key=lambda i: (abs(ratios[i] - aim), i)) if able else None
