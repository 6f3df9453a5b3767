"""What is minimised, each term 1 at the unsteered base (or at the hook, for the last) and 0 when it is perfect.

    KL(teacher ‖ student) / KL₀                                                  over reply positions
    + w_a · mean_l ‖h_student − h_teacher‖² / ‖h_base − h_teacher‖²               over reply positions, l ∈ {L, L+4}
    + w_r · RMSE_positions KL(base ‖ student) / the vector's own                 over neutral text and replayed replies

RMSE, not the mean: a mean lets a few positions break.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from daemon.protocol import TrainSettings
from daemon.steering.forward import kl
from daemon.steering.text import EncodedReply
from daemon.training.subject import Subject
from daemon.training.teacher import Teacher
from daemon.training.texts import Reading, Watch, joined

_TINY = 1e-12
"""Inside the root: its slope at 0 is infinite, and a student that has not moved yet must get gradient 0, not NaN."""


def reply_loss(
    subject: Subject, items: Sequence[EncodedReply], wanted: list[Reading], teacher: Teacher, settings: TrainSettings
) -> Tensor:
    """The first two terms over some train replies, whose readings by the teacher are `wanted`."""
    given = subject.run(items, Watch(subject.matched, {}))
    loss = _divergence(subject, joined(wanted, "final"), given["final"]).mean() / teacher.kl_start
    for layer, distance in teacher.distance.items():
        name = f"block.{layer}"
        left = (given[name] - joined(wanted, name).to(given[name].device)).square().sum(dim=-1).mean() / distance
        loss = loss + settings.activation_weight / len(teacher.distance) * left
    return loss


def retain_loss(
    subject: Subject, items: Sequence[EncodedReply], base: list[Reading], teacher: Teacher, settings: TrainSettings
) -> Tensor:
    """The last term over some texts, whose readings by the base are `base`."""
    drift = _divergence(subject, joined(base, "final"), subject.run(items)["final"])
    return settings.retain_weight * (drift.square().mean() + _TINY).sqrt() / teacher.retain_rmse


def _divergence(subject: Subject, wanted: Tensor, given: Tensor) -> Tensor:
    with torch.no_grad():
        certain = subject.log_probabilities(wanted)
    return kl(certain, subject.log_probabilities(given))
