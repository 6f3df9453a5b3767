"""Which candidate is kept, if any, and why: the gates of each, and the reason in one line."""

from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch

from daemon.protocol import BakeRow, Gate
from daemon.training.candidates import Candidate
from daemon.training.evaluate import Measurement, Reference, pair_gaps, read_variant
from daemon.training.gates import (
    Retained,
    candidate_gates,
    dominated,
    failures,
    passes,
    reported,
    retention_gates,
)
from daemon.training.prepare import Bake
from daemon.training.texts import Reading, joined, targets

Name = Literal["rank1", "trained"]


@dataclass(frozen=True)
class Judged:
    """A candidate on the test texts."""

    name: Name
    candidate: Candidate
    measured: Measurement
    row: BakeRow


@dataclass(frozen=True)
class Verdict:
    """The candidate that stands for this bake; `passed` says whether it is kept."""

    chosen: Judged
    gates: tuple[Gate, ...]
    passed: bool
    reason: str


def judged(bake: Bake, name: Name, candidate: Candidate, test: Reference) -> Judged:
    """Measure a candidate on the test texts, once."""

    def compute() -> Reading:
        with bake.subject.changed(candidate.change, candidate.scale):
            return read_variant(bake.subject, bake.test)

    measured = test.measure(bake.ledger.recall(f"test-{name}", compute))
    return Judged(name, candidate, measured, test.row(name, measured, bake.settings.bootstrap, bake.settings.seed))


def decide(bake: Bake, rank1: Judged, trained: Judged, common: list[Gate], test: Reference) -> Verdict:
    """The trained candidate if it passes and rank-1 is not better in everything; else rank-1 if that passes; else none.

    `common` are the gates that both share (the control's).
    """
    gates = {each.name: [*_gates(bake, each, test), *common] for each in (trained, rank1)}
    passed = {name: passes(found) for name, found in gates.items()}
    overtaken = dominated(trained.row, by=rank1.row)
    if passed["trained"] and not (overtaken and passed["rank1"]):
        return Verdict(trained, tuple(gates["trained"]), True, f"trained: {_told(trained)}")
    if passed["rank1"]:
        why = "the trained candidate is no better in anything" if overtaken else failures(gates["trained"])
        return Verdict(rank1, tuple(gates["rank1"]), True, f"rank1: {_told(rank1)}; trained: {why}")
    reason = f"trained: {failures(gates['trained'])}; rank1: {failures(gates['rank1'])}"
    return Verdict(trained, tuple(gates["trained"]), False, reason)


def _told(each: Judged) -> str:
    return f"{each.row.effect_ratio:.2f} of the vector's effect at scale {each.candidate.scale:g}"


def _gates(bake: Bake, each: Judged, test: Reference) -> list[Gate]:
    """All gates of one candidate but the common ones; geometry and size are reported."""
    base, hook = (test.row("base", test.base, 1, 0), test.row("hook", test.hook, 1, 0))
    n, positions = len(bake.test.pairs.groups), each.measured.n_neutral
    gates = candidate_gates(each.row, base, hook, bake.settings.gates, n, positions)
    gates += retention_gates([_retained(bake, each, name) for name in bake.earlier], bake.settings.gates)
    return [*gates, *_geometry(bake, each, test, n)]


def _geometry(bake: Bake, each: Judged, test: Reference, n: int) -> list[Gate]:
    """How the block output at the vector's layer moved over test replies, against how the hook moves it; ‖ΔW‖ / ‖W‖.

    Where the vector is added at one layer, the hook moves it by the vector.
    """
    shift = test.hook.mean_state - test.base.mean_state
    moved = each.measured.mean_state - test.base.mean_state
    cosine = torch.cosine_similarity(moved, shift, dim=0)
    size = abs(each.candidate.scale) * bake.subject.weights.relative_size(each.candidate.change)
    return [
        reported("shift_cosine", float(cosine), n),
        reported("shift_projection", float(moved @ shift / shift.square().sum()), n),
        reported("relative_change", size, len(each.candidate.change)),
    ]


def _retained(bake: Bake, each: Judged, name: str) -> Retained:
    """An earlier behaviour's test pairs before the bake and with the candidate in the weights."""
    texts = bake.earlier[name]
    number = list(bake.earlier).index(name)
    read = partial(_finals, bake, name)
    before = bake.ledger.recall(f"earlier-{number}-base", read)

    def compute() -> Reading:
        with bake.subject.changed(each.candidate.change, each.candidate.scale):
            return read()

    after = bake.ledger.recall(f"earlier-{number}-{each.name}", compute)
    kl, scores = bake.subject.compared(before["final"], after["final"], targets(texts.items))
    told = bake.subject.scores(before["final"], targets(texts.items))
    n = len(texts.groups)
    return Retained(
        name=name,
        before=sum(pair_gaps(texts, told)) / n,
        after=sum(pair_gaps(texts, scores)) / n,
        kl=float(kl.mean()),
        n=n,
    )


def _finals(bake: Bake, name: str) -> Reading:
    return {"final": joined(bake.subject.read(bake.earlier[name].items), "final")}
