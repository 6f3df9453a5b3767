"""What the student should become: the clean base with the vector added, read once.

Kept are final hidden states where a prediction counts (log-probabilities follow through the head) and block outputs at
the matched layers; of the base alone, the same, for the scale of each loss and for the text that must stay as it is.
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from daemon.errors import DataError
from daemon.protocol import TrainSettings
from daemon.steering.text import EncodedReply
from daemon.training.rank1 import Moments, solve_gate
from daemon.training.subject import Shifts, Subject
from daemon.training.texts import PairTexts, Reading, Watch, joined, past_the_first


@dataclass(frozen=True)
class TrainTexts:
    """Train pairs, neutral train text, and the replies of behaviours that were trained before."""

    pairs: PairTexts
    neutral: tuple[EncodedReply, ...]
    replay: tuple[EncodedReply, ...]


@dataclass(frozen=True)
class Base:
    """The unsteered base on the train texts (a reading an item), and each block's gate u (d_mlp,) solved from it."""

    pairs: list[Reading]
    neutral: list[Reading]
    replay: list[Reading]
    gates: dict[int, Tensor]


@dataclass(frozen=True)
class Teacher:
    """The steered base on the train pairs, and what 1 means in each loss.

    `kl_start`: mean KL(teacher ‖ base) over reply positions, nats. `distance[l]`: mean ‖h_base − h_teacher‖², block l.
    `retain_rmse`: the vector's own RMSE over neutral positions of KL(base ‖ steered), nats.
    """

    pairs: list[Reading]
    kl_start: float
    distance: dict[int, float]
    retain_rmse: float


def read_base(subject: Subject, texts: TrainTexts, settings: TrainSettings) -> dict[str, Any]:
    """The fields of `Base`, as a record.

    Raises:
        MismatchError: the weights are not clean.
        DataError: no gate tells replies from neutral text.
    """
    subject.weights.assert_clean()
    downs = {f"down.{layer}": place.down for layer, place in subject.places.items()}
    pairs = subject.read(texts.pairs.items, Watch(subject.matched, downs))
    neutral = subject.read(texts.neutral, Watch({}, downs))
    replay = subject.read(texts.replay, Watch({}, downs))
    gates = {}
    for layer in subject.places:
        name = f"down.{layer}"
        quiet = [(settings.gate_neutral_weight, _moments(texts.neutral, neutral, name))]
        if replay:
            quiet.append((settings.gate_replay_weight, _moments(texts.replay, replay, name)))
        gates[layer] = solve_gate(_moments(texts.pairs.items, pairs, name), quiet, settings.gate_ridge)
    for reading in (*pairs, *neutral, *replay):
        for name in downs:
            del reading[name]
    return {"pairs": pairs, "neutral": neutral, "replay": replay, "gates": gates}


def _moments(items: tuple[EncodedReply, ...], readings: list[Reading], name: str) -> Moments:
    return Moments.of(joined(readings, name)[past_the_first(items)])


def read_teacher(subject: Subject, shifts: Shifts, texts: TrainTexts, base: Base) -> dict[str, Any]:
    """The fields of `Teacher`, as a record, for any shifts (the vector's, or the random control's).

    Raises:
        MismatchError: the weights are not clean.
        DataError: the vector changes nothing, so there is nothing to learn.
    """
    with subject.hooked(shifts):
        pairs = subject.read(texts.pairs.items, Watch(subject.matched, {}))
        neutral = subject.read(texts.neutral)
    kl = subject.divergences(joined(pairs, "final"), joined(base.pairs, "final"))
    drift = subject.divergences(joined(base.neutral, "final"), joined(neutral, "final"))
    distance = {layer: _distance(base.pairs, pairs, f"block.{layer}") for layer in subject.matched}
    found = {"kl_start": float(kl.mean()), "retain_rmse": float(drift.square().mean().sqrt())}
    if not (min(found.values()) > 0 and min(distance.values()) > 0):
        raise DataError("the vector at this dose changes nothing on the train pairs; verify it again")
    return {"pairs": pairs, "distance": distance, **found}


def _distance(base: list[Reading], steered: list[Reading], name: str) -> float:
    return float((joined(base, name) - joined(steered, name)).square().sum(dim=-1).double().mean())
