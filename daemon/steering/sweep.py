"""Texts computed once up to some layers; then vectors cost only what lies above the lowest one they are added at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from daemon.steering.apply import steer
from daemon.steering.exactness import pack, resumes_exactly
from daemon.steering.forward import decode, divergences, target_logprobs
from daemon.steering.loading import LoadedModel
from daemon.steering.resume import kept_outputs, resumed
from daemon.steering.text import EncodedReply
from daemon.steering.trees import Batch, average_by_item


@dataclass(frozen=True)
class Prepared:
    """Items in batches; for each batch the unsteered `finals` (n, hidden) and the block outputs at some layers.

    `finals` are hidden states after the final norm, where the scored tokens are predicted. A layer whose output is not
    `kept` cannot be resumed in this model, and the whole pass is made again.
    """

    loaded: LoadedModel
    n_items: int
    batches: tuple[Batch, ...]
    finals: tuple[Tensor, ...]
    kept: tuple[dict[int, Any], ...]


def prepare(loaded: LoadedModel, items: Sequence[EncodedReply], layers: Sequence[int]) -> Prepared:
    """One unsteered pass over `items`, remembered for vectors that will be added at `layers`."""
    batches = tuple(pack(loaded.layout, items))
    resumable = [layer for layer in layers if resumes_exactly(loaded.layout, batches[0], layer)]
    finals, outputs = [], []
    with torch.no_grad():
        for batch in batches:
            with kept_outputs(loaded.layout, resumable) as kept:
                finals.append(decode(loaded.layout, batch))
            outputs.append(kept)
    return Prepared(loaded, len(items), batches, tuple(finals), tuple(outputs))


def under(prepared: Prepared, deltas: Mapping[int, Tensor]) -> list[Tensor]:
    """`finals` with `deltas[layer]` (hidden) added to the output of those blocks, at all positions but the first."""
    layout = prepared.loaded.layout
    lowest = min(deltas)
    found = []
    for batch, kept in zip(prepared.batches, prepared.kept, strict=True):
        with torch.no_grad(), steer(layout, deltas):
            if lowest not in kept:
                found.append(decode(layout, batch))
                continue
            with resumed(layout, lowest, kept[lowest]):
                found.append(decode(layout, batch))
    return found


def logprobs(prepared: Prepared, finals: Sequence[Tensor]) -> Tensor:
    """Mean log P of each item's scored tokens, nats a token: (items,) float64."""
    return average_by_item(_told(prepared, finals), prepared.batches, prepared.n_items)


def perplexity(prepared: Prepared, finals: Sequence[Tensor]) -> float:
    """The exponential of the mean negative log P of all scored tokens."""
    return float(torch.cat(_told(prepared, finals)).to(torch.float64).mean().neg().exp())


def _told(prepared: Prepared, finals: Sequence[Tensor]) -> list[Tensor]:
    """The log P of the scored tokens of each batch."""
    model, layout = prepared.loaded.model, prepared.loaded.layout
    pairs = zip(finals, prepared.batches, strict=True)
    with torch.no_grad():
        return [target_logprobs(model, layout, final, batch.targets) for final, batch in pairs]


def disturbance(prepared: Prepared, finals: Sequence[Sequence[Tensor]]) -> Tensor:
    """KL(unsteered ‖ steered) in nats at each of n scored positions, for each of k vectors: (k, n), on the CPU."""
    model, layout = prepared.loaded.model, prepared.loaded.layout
    with torch.no_grad():
        by_batch = zip(prepared.finals, zip(*finals, strict=True), strict=True)
        return torch.cat([divergences(model, layout, base, others).cpu() for base, others in by_batch], dim=1)
