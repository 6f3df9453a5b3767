"""The two candidates, each with a scale chosen on validation: gated rank-1, and APOLLO's walk from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from daemon.errors import DataError
from daemon.protocol import Progress
from daemon.training.evaluate import HeldOut, Reference, read_variant
from daemon.training.gates import divided, nearest_to_full
from daemon.training.loop import train
from daemon.training.prepare import Bake
from daemon.training.teacher import Base, Teacher, read_base, read_teacher
from daemon.training.texts import Reading
from daemon.training.weights import Change

HEADROOM = 0.7
"""Part of the neutral gates that a scale may use up on validation text: test text is other text and has them whole."""

AIM = 0.92
"""Share of the vector's effect that a scale aims at: side effects grow faster than the effect, and the last tenth of it
costs most."""


@dataclass(frozen=True)
class Candidate:
    """scale · change, added to the clean weights."""

    change: Change
    scale: float


@dataclass(frozen=True)
class Walk:
    """What an optimizer's walk gave."""

    change: Change
    losses: list[float]
    state_bytes: int


def base_of(bake: Bake) -> Base:
    """The clean base on the train texts, and the gate."""
    bake.report(Progress(stage="teacher", done=0, total=2, note="reading the base"))
    return Base(**bake.ledger.recall("base", lambda: read_base(bake.subject, bake.train, bake.settings)))


def teacher_of(bake: Bake, base: Base) -> Teacher:
    """The base with the vector added."""
    bake.report(Progress(stage="teacher", done=1, total=2, note="reading the steered base"))
    record = bake.ledger.recall("teacher", lambda: read_teacher(bake.subject, bake.subject.shifts, bake.train, base))
    return Teacher(**record)


def reference_on(bake: Bake, name: str, texts: HeldOut) -> Reference:
    """Base and hook on held-out texts.

    Raises:
        DataError: the vector does not help on these pairs, so there is nothing to measure a bake against.
    """
    bake.report(Progress(stage=f"{name} of base and vector", done=0, total=0))
    base = bake.ledger.recall(f"{name}-base", lambda: _with_hook(bake, texts, steered=False))
    hook = bake.ledger.recall(f"{name}-hook", lambda: _with_hook(bake, texts, steered=True))
    reference = Reference(bake.subject, texts, base, hook)
    if not reference.hook.gap > reference.base.gap:
        moved = reference.hook.gap - reference.base.gap
        raise DataError(f"the vector moves the {name} pairs by {moved:+.3f} nats a token; verify it again")
    return reference


def _with_hook(bake: Bake, texts: HeldOut, *, steered: bool) -> Reading:
    if steered:
        with bake.subject.hooked(bake.subject.shifts):
            return read_variant(bake.subject, texts)
    bake.subject.weights.assert_clean()
    return read_variant(bake.subject, texts)


def rank1_of(bake: Bake, base: Base, validation: Reference) -> Candidate:
    """The closed-form candidate."""
    change = bake.subject.rank1(bake.subject.shifts, base.gates)
    return Candidate(change, _scale(bake, "rank1", change, bake.settings.gate_scales, validation))


def walk_of(bake: Bake, base: Base, teacher: Teacher, start: Candidate) -> Walk:
    """The optimizer's walk. Where the writers are trained it starts at the rank-1 candidate, else at the base."""
    return walked(bake, "trained", base, teacher, start, bake.settings.steps)


def trained_of(bake: Bake, walk: Walk, validation: Reference) -> Candidate:
    """The walk's change, scaled."""
    return Candidate(walk.change, _scale(bake, "trained", walk.change, bake.settings.delta_scales, validation))


def walked(bake: Bake, series: str, base: Base, teacher: Teacher, start: Candidate, steps: int) -> Walk:
    """A walk of `steps` steps whose checkpoints are called `series`."""
    warm = set(start.change) <= set(bake.subject.trained)
    change = {name: value * start.scale for name, value in start.change.items()} if warm else {}

    def compute() -> dict[str, Any]:
        return train(
            bake.subject, bake.train, base, teacher, change, steps, bake.settings, bake.ledger, series, bake.report
        )

    return Walk(**bake.ledger.recall(series, compute, replacing=series))


def _scale(bake: Bake, name: str, change: Change, scales: Sequence[float], validation: Reference) -> float:
    """The scale whose effect ratio is nearest to `AIM` within the gates; the smallest where none is within.

    Effect and side effects grow with the scale, so halving finds it: too much, or beyond a gate, means smaller.
    """
    ordered = sorted(scales)
    tried: dict[int, tuple[float, bool]] = {}
    low, high = 0, len(ordered)
    while low < high:
        middle = (low + high) // 2
        bake.report(Progress(stage=f"scale of {name}", done=len(tried), total=0, note=f"{ordered[middle]:g}"))
        ratio, within = tried[middle] = _at_scale(bake, name, change, ordered[middle], validation)
        low, high = (middle + 1, high) if within and ratio < AIM else (low, middle)
    at = sorted(tried)
    best = nearest_to_full([tried[i][0] for i in at], [tried[i][1] for i in at], AIM)
    return ordered[0] if best is None else ordered[at[best]]


def _at_scale(bake: Bake, name: str, change: Change, scale: float, validation: Reference) -> tuple[float, bool]:
    """Effect ratio on validation, and whether neutral text is well within the gates."""

    def compute() -> Reading:
        with bake.subject.changed(change, scale):
            return read_variant(bake.subject, bake.validation)

    measured = validation.measure(bake.ledger.recall(f"validation-{name}-x{scale:g}", compute))
    row = validation.row("trained", measured, 1, 0)
    kl = divided(row.neutral_kl_mean, validation.hook.neutral_kl_mean)
    perplexity = divided(row.perplexity, validation.base.perplexity)
    gates = bake.settings.gates
    calm = kl <= HEADROOM * gates.max_neutral_kl_ratio
    return row.effect_ratio, calm and perplexity - 1 <= HEADROOM * (gates.max_perplexity_ratio - 1)
