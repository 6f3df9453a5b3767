"""What the student should become: the clean base with the vector added, read once.

Kept are final hidden states at the slots (log-probabilities follow through the head) and block outputs at the matched
layers; of the base alone, the same, for the scale of each loss and for the text that must stay as it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from daemon.errors import DataError
from daemon.protocol import TrainSettings
from daemon.training.forward import divergences
from daemon.training.rank1 import Moments, solve_gate
from daemon.training.subject import Subject
from daemon.training.texts import PairTexts, joined, read
from daemon.training.trees import Tree

Readings = list[dict[str, Tensor]]


@dataclass(frozen=True)
class TrainTexts:
    """Train pairs, neutral train text, and the replies of behaviours that were trained before."""

    pairs: PairTexts
    neutral: tuple[Tree, ...]
    replay: tuple[Tree, ...]


@dataclass(frozen=True)
class Base:
    """The unsteered base on the train texts (readings a tree), and the gate u (d_mlp,) solved from it."""

    pairs: Readings
    neutral: Readings
    replay: Readings
    gate: Tensor


@dataclass(frozen=True)
class Teacher:
    """The steered base on the train pairs, and what 1 means in each loss.

    `kl_start`: mean KL(teacher ‖ base) over reply positions, nats. `distance[l]`: mean ‖h_base − h_teacher‖² at block l.
    `retain_rmse`: the vector's own RMSE over neutral positions of KL(base ‖ steered), nats.
    """

    pairs: Readings
    kl_start: float
    distance: dict[int, float]
    retain_rmse: float


def read_base(subject: Subject, texts: TrainTexts, settings: TrainSettings) -> dict[str, Any]:
    """The fields of `Base`, as a record."""
    subject.weights.assert_clean()
    down = {"down": subject.down}
    pairs = read(subject.model, texts.pairs.trees, subject.matched, down)
    neutral = read(subject.model, texts.neutral, None, down)
    replay = read(subject.model, texts.replay, None, down)
    quiet = [(settings.gate_neutral_weight, Moments.of(joined(neutral, "down")))]
    if replay:
        quiet.append((settings.gate_replay_weight, Moments.of(joined(replay, "down"))))
    gate = solve_gate(Moments.of(joined(pairs, "down")), quiet, settings.gate_ridge)
    for reading in (*pairs, *neutral, *replay):
        del reading["down"]
    return {"pairs": pairs, "neutral": neutral, "replay": replay, "gate": gate}


def read_teacher(subject: Subject, shift: Tensor, texts: TrainTexts, base: Base) -> dict[str, Any]:
    """The fields of `Teacher`, as a record, for any shift (the vector's, or the random control's).

    Raises:
        MismatchError: the weights are not clean.
        DataError: the vector changes nothing, so there is nothing to learn.
    """
    with subject.hooked(shift):
        pairs = read(subject.model, texts.pairs.trees, subject.matched)
        neutral = read(subject.model, texts.neutral)
    kl = divergences(subject.model, joined(pairs, "final"), joined(base.pairs, "final"))
    drift = divergences(subject.model, joined(base.neutral, "final"), joined(neutral, "final"))
    names = {layer: f"block.{layer}" for layer in subject.matched}
    distance = {layer: _distance(base.pairs, pairs, name) for layer, name in names.items()}
    found = {"kl_start": float(kl.mean()), "retain_rmse": float(drift.square().mean().sqrt())}
    if not (min(found.values()) > 0 and min(distance.values()) > 0):
        raise DataError("the vector at this dose changes nothing on the train pairs; verify it again")
    return {"pairs": pairs, "distance": distance, **found}


def _distance(base: Sequence[dict[str, Tensor]], steered: Sequence[dict[str, Tensor]], name: str) -> float:
    return float((joined(base, name) - joined(steered, name)).square().sum(dim=-1).double().mean())
