"""What is minimised, each term 1 at the unsteered base (or at the hook, for the last) and 0 when it is perfect.

    KL(teacher ‖ student) / KL₀                                                  over reply positions
    + w_a · mean_l ‖h_student − h_teacher‖² / ‖h_base − h_teacher‖²               over reply positions, l ∈ {L, L+4}
    + w_r · RMSE_positions KL(base ‖ student) / the vector's own                 over neutral text and replayed replies

RMSE, not the mean: a mean lets a few positions break (source: research page on APOLLO, §3.1, §3.4, §6.4).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from daemon.protocol import TrainSettings
from daemon.training.forward import divergence, log_probabilities, run
from daemon.training.subject import Subject
from daemon.training.teacher import Readings, Teacher
from daemon.training.texts import joined
from daemon.training.trees import Tree, batch

_TINY = 1e-12
"""Inside the root: its slope at 0 is infinite, and a student that has not moved yet must get gradient 0, not NaN."""


def reply_loss(
    subject: Subject, trees: Sequence[Tree], targets: Readings, teacher: Teacher, settings: TrainSettings
) -> Tensor:
    """The first two terms over some train trees, whose teacher readings are `targets`."""
    outputs = run(subject.model, batch(trees), subject.matched)
    with torch.no_grad():
        wanted = log_probabilities(subject.model, joined(targets, "final"))
    given = log_probabilities(subject.model, outputs.final)
    loss = divergence(wanted, given).mean() / teacher.kl_start
    for layer, hidden in outputs.blocks.items():
        left = (hidden - joined(targets, f"block.{layer}")).square().sum(dim=-1).mean() / teacher.distance[layer]
        loss = loss + settings.activation_weight / len(outputs.blocks) * left
    return loss


def retain_loss(
    subject: Subject, trees: Sequence[Tree], base: Readings, teacher: Teacher, settings: TrainSettings
) -> Tensor:
    """The last term over some texts, whose readings by the base are `base`."""
    outputs = run(subject.model, batch(trees))
    with torch.no_grad():
        wanted = log_probabilities(subject.model, joined(base, "final"))
    drift = divergence(wanted, log_probabilities(subject.model, outputs.final))
    return settings.retain_weight * (drift.square().mean() + _TINY).sqrt() / teacher.retain_rmse
