"""APOLLO's walk from a warm start. Batches and rate depend on (seed, step) alone: a resumed walk is the same walk."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor

from daemon.errors import DataError
from daemon.protocol import Progress, TrainSettings
from daemon.training.apollo import make_optimizer, state_bytes
from daemon.training.checkpoint import Ledger
from daemon.training.objective import reply_loss, retain_loss
from daemon.training.schedule import chosen, learning_rate
from daemon.training.subject import Subject
from daemon.training.teacher import Base, Teacher, TrainTexts
from daemon.training.weights import Change

Report = Callable[[Progress], None]
T = TypeVar("T")


def train(
    subject: Subject,
    texts: TrainTexts,
    base: Base,
    teacher: Teacher,
    start: Change,
    steps: int,
    settings: TrainSettings,
    ledger: Ledger,
    series: str,
    report: Report,
) -> dict[str, Any]:
    """Walk `steps` steps from clean + `start`; leaves the weights clean.

    Returns a record: "change" (by parameter name), "losses" (one a step), "state_bytes" (of the optimizer).

    Raises:
        DataError: the loss is no longer finite.
    """
    subject.weights.put(start)
    try:
        with _trainable(subject) as parameters:
            optimizer = make_optimizer(settings.optimizer, parameters, settings)
            losses = _continue(subject, optimizer, ledger, series)
            for step in range(len(losses), steps):
                _set_rate(optimizer, learning_rate(step, settings.learning_rate, settings.warmup, steps))
                losses.append(_step(subject, optimizer, texts, base, teacher, settings, step))
                report(Progress(stage=series, done=step + 1, total=steps, note=f"loss {losses[-1]:.3f}"))
                if (step + 1) % settings.checkpoint_every == 0 and step + 1 < steps:
                    ledger.save_step(series, step + 1, _state(subject, optimizer, losses))
        return {"change": subject.weights.change(), "losses": losses, "state_bytes": state_bytes(optimizer)}
    finally:
        subject.weights.restore()


def _continue(subject: Subject, optimizer: torch.optim.Optimizer, ledger: Ledger, series: str) -> list[float]:
    """Take up the last checkpoint of `series`, if there is one; the losses so far."""
    saved = ledger.last_step(series)
    if saved is None:
        return []
    subject.weights.load(saved["values"])
    optimizer.load_state_dict(saved["optimizer"])
    return list(saved["losses"])


def _state(subject: Subject, optimizer: torch.optim.Optimizer, losses: list[float]) -> dict[str, Any]:
    return {"values": subject.weights.values(), "optimizer": optimizer.state_dict(), "losses": list(losses)}


def _step(
    subject: Subject,
    optimizer: torch.optim.Optimizer,
    texts: TrainTexts,
    base: Base,
    teacher: Teacher,
    settings: TrainSettings,
    step: int,
) -> float:
    """One update; the two losses are walked back one after the other, so that only one graph is held at a time."""
    optimizer.zero_grad(set_to_none=True)
    pairs = chosen("pairs", len(texts.pairs.groups), settings.pairs_per_step, step, settings.seed)
    replies = texts.pairs.of_pairs(pairs)
    losses = [reply_loss(subject, _of(texts.pairs.items, replies), _of(teacher.pairs, replies), teacher, settings)]
    _backward(losses[0])
    quiet = chosen("neutral", len(texts.neutral), settings.neutral_per_step, step, settings.seed)
    replay = chosen("replay", len(texts.replay), settings.replay_per_step, step, settings.seed)
    if settings.retain_weight > 0:
        items = [*_of(texts.neutral, quiet), *_of(texts.replay, replay)]
        readings = [*_of(base.neutral, quiet), *_of(base.replay, replay)]
        losses.append(retain_loss(subject, items, readings, teacher, settings))
        _backward(losses[1])
    total = sum(float(loss.detach()) for loss in losses)
    if not math.isfinite(total):
        raise DataError(f"training diverged at step {step + 1} (loss {total}); lower training.learning_rate")
    optimizer.step()
    return total


def _of(items: Sequence[T], indices: list[int]) -> list[T]:
    return [items[i] for i in indices]


def _backward(loss: Tensor) -> None:
    loss.backward()  # type: ignore[no-untyped-call]


def _set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


@contextmanager
def _trainable(subject: Subject) -> Iterator[list[Tensor]]:
    """Gradients for the trained matrices and nothing else, while this lasts."""
    for parameter in subject.model.parameters():
        parameter.requires_grad_(False)
    parameters = [subject.weights.parameters[name] for name in subject.trained]
    for parameter in parameters:
        parameter.requires_grad_(True)
    try:
        yield list(parameters)
    finally:
        for parameter in parameters:
            parameter.requires_grad_(False)
            parameter.grad = None
