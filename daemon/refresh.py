"""When evidence has changed enough for a new version of a vector. Plain numbers in, a decision out; no model runs.

    none for this model yet ─▶ new            stale, or another recipe, tokenizer or chat template ─▶ new
    changed training pairs / the parent's ≥ refresh_share ─▶ new
    predicted cosine to the parent's direction ≤ refresh_cosine ─▶ new         otherwise it waits, and says for how many

The parent is the newest version for the same line of weights, whatever became of it: evidence that was refused is not
tried again for every pair that comes.
"""

import math
from dataclasses import dataclass

_EXACT = 1e-9  # 0.28 · 25 must need 7 pairs, not 8
_REFUSED = "rejected"


@dataclass(frozen=True)
class Evidence:
    """Ids of pairs, and what a vector is made of them with: `recipe` is JSON, `template` a digest."""

    train: frozenset[str]
    held_out: frozenset[str]
    recipe: str
    template: str


@dataclass(frozen=True)
class Parent:
    """The newest version. `split_half` is the cosine between its halves at its layer; None before its extraction."""

    name: str
    state: str
    evidence: Evidence
    stale: str | None = None
    split_half: float | None = None


@dataclass(frozen=True)
class Rule:
    """The two bars of `ExtractionSettings`."""

    share: float
    cosine: float


@dataclass(frozen=True)
class Change:
    """Training pairs that came and went since the parent, of `parent` ones."""

    added: int
    gone: int
    parent: int

    @property
    def total(self) -> int:
        """How many pairs changed."""
        return self.added + self.gone


@dataclass(frozen=True)
class Decision:
    """Whether to make a version, and why; or what waits.

    `cosine` is the predicted one; `needed` is how many changed training pairs make a version.
    """

    make: bool
    because: str
    change: Change | None = None
    needed: int = 0
    cosine: float | None = None


def noise_to_signal(split_half: float, pairs: int) -> float:
    """s²/|μ|² of one pair's difference, from the cosine c between the mean differences of two halves of n pairs.

    Differences are taken as independent draws with mean μ and total variance s² (the trace of their covariance). Means
    of two disjoint halves share μ alone, so c = |μ|² / (|μ|² + s²/(n/2)), and

        s²/|μ|² = (n/2) · (1 − c) / c          infinite where c ≤ 0: no direction is seen
    """
    if split_half <= 0.0:
        return math.inf
    return (pairs / 2) * (1.0 - min(split_half, 1.0)) / min(split_half, 1.0)


def predicted_cosine(ratio: float, change: Change) -> float:
    """Cosine to expect between the parent's mean difference and the new one; `ratio` is s²/|μ|².

    The parent's mean is over n pairs, the new one over m, and q pairs are in both. With the model of `noise_to_signal`
    the means' noise is shared in these q pairs only: E⟨x̄, ȳ⟩ = |μ|² + q·s²/(n·m), E|x̄|² = |μ|² + s²/n, so

        cos = (1 + q·r/(n·m)) / √((1 + r/n) · (1 + r/m))                       r = s²/|μ|²

    k pairs more (q = n, m = n + k)      cos = √((1 + r/(n + k)) / (1 + r/n))
    k pairs fewer (q = m = n − k)        cos = √((1 + r/n) / (1 + r/(n − k)))
    r → ∞                                cos = q / √(n·m)

    It holds where ‖x̄‖ hardly varies, as with activations, whose noise has many dimensions. What turns is the mean
    difference; for the other aggregators it is a rule of thumb.
    """
    n, m, q = change.parent, change.parent + change.added - change.gone, change.parent - change.gone
    if not n or not m:
        return 0.0
    if math.isinf(ratio):
        return q / math.sqrt(n * m)
    return (1.0 + q * ratio / (n * m)) / (math.sqrt(1.0 + ratio / n) * math.sqrt(1.0 + ratio / m))


def decide(parent: Parent | None, now: Evidence, rule: Rule) -> Decision:
    """Whether `now` is worth a version beside `parent`'s."""
    if parent is None:
        return Decision(True, "the first for this model")
    if parent.stale is not None:
        return Decision(True, f"{parent.name} is stale: {parent.stale}")
    if now.template != parent.evidence.template:
        return Decision(True, "another tokenizer or chat template")
    if now.recipe != parent.evidence.recipe:
        return Decision(True, "another recipe")
    change = _change(parent.evidence.train, now.train)
    trained = _weighed(parent, change, rule) if change.total else None
    held_out = _held_out(parent, _change(parent.evidence.held_out, now.held_out), rule)
    if trained is None or (held_out.make and not trained.make):
        return held_out
    return trained


def _change(before: frozenset[str], now: frozenset[str]) -> Change:
    return Change(len(now - before), len(before - now), len(before))


def _weighed(parent: Parent, change: Change, rule: Rule) -> Decision:
    ratio = None if parent.split_half is None else noise_to_signal(parent.split_half, change.parent)
    cosine = None if ratio is None else predicted_cosine(ratio, change)
    if _share_reached(change, rule):
        because = f"{change.total} of {change.parent} training pairs changed"
        return Decision(True, because, change, change.total, cosine)
    if cosine is not None and cosine <= rule.cosine:
        because = f"{_told(change)}: predicted cosine {cosine:.3f} to {parent.name}"
        return Decision(True, because, change, change.total, cosine)
    needed = _needed(change, ratio, rule)
    asked = f"{needed} are needed" if not change.gone else f"{needed} changes are needed"
    return Decision(False, f"{_told(change)}, {asked} for a new version", change, needed, cosine)


def _share_reached(change: Change, rule: Rule) -> bool:
    return change.total >= max(1, math.ceil(rule.share * change.parent - _EXACT))


def _needed(change: Change, ratio: float | None, rule: Rule) -> int:
    """The least total at which a version is due, if what comes are new pairs."""
    while not _share_reached(change, rule):
        if ratio is not None and predicted_cosine(ratio, change) <= rule.cosine:
            break
        change = Change(change.added + 1, change.gone, change.parent)
    return change.total


def _held_out(parent: Parent, change: Change, rule: Rule) -> Decision:
    """The vector would be the same; only a proof that was refused may come out otherwise on other pairs."""
    if not change.total:
        return Decision(False, "")
    if parent.state == _REFUSED and _share_reached(change, rule):
        return Decision(True, f"{parent.name} was refused, and {change.total} held-out pairs changed")
    plural = "pair" if change.total == 1 else "pairs"
    return Decision(False, f"{change.total} held-out {plural} changed; a new version waits for training pairs")


def _told(change: Change) -> str:
    noun = "pair" if (change.added or change.gone) == 1 else "pairs"
    if not change.added:
        return f"{change.gone} training {noun} gone"
    return f"{change.added} new training {noun}" + (f" and {change.gone} gone" if change.gone else "")
