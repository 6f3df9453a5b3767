"""One forward pass of the decoder alone, and the head alone on what is wanted of it.

The head is a fifth of SmolLM2's work and more than half of Gemma's, so it never sees a position whose prediction does
not count. What a model does after its head (scaling, soft caps) is done by the model itself.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPast

from daemon.steering.layout import Layout
from daemon.steering.trees import Batch
from daemon.steering.trie_attention import by_blocks

HEAD_ROWS = 256


def decode(layout: Layout, batch: Batch) -> Tensor:
    """Hidden states after the final norm (n, hidden) where the n scored tokens of `batch` are predicted.

    They are on the model's device, to which the batch is taken if it is not there.
    """
    batch = batch.to(layout.device, layout.dtype)
    with by_blocks(layout, batch.blocks):
        output = layout.decoder(**batch.as_arguments(), use_cache=False)
    final: Tensor = output.last_hidden_state[batch.rows, batch.before]
    return final


def logits(model: Any, layout: Layout, final: Tensor) -> Tensor:
    """What the model's own head makes of hidden states after the final norm: (n, hidden) → (n, vocabulary) float32."""
    ids = torch.zeros(1, len(final), dtype=torch.long, device=final.device)
    with _decoder_answers(layout, final[None]):
        found: Tensor = model(input_ids=ids, use_cache=False).logits[0]
    return found.float()


def target_logprobs(model: Any, layout: Layout, final: Tensor, targets: Tensor) -> Tensor:
    """The log P of `targets` (n,) in nats, from hidden states (n, hidden); logits are never held as a whole."""
    parts = [torch.empty(0, device=final.device)]
    for rows, wanted in zip(torch.split(final, HEAD_ROWS), torch.split(targets, HEAD_ROWS), strict=True):
        scores = logits(model, layout, rows)
        parts.append(scores.gather(1, wanted[:, None])[:, 0] - scores.logsumexp(dim=1))
    return torch.cat(parts)


def divergences(model: Any, layout: Layout, base: Tensor, others: Sequence[Tensor]) -> Tensor:
    """KL(base ‖ other) in nats at n positions for each of k others, from hidden states (n, hidden): (k, n)."""
    parts = [torch.empty(len(others), 0, device=base.device)]
    for start in range(0, len(base), HEAD_ROWS):
        rows = slice(start, start + HEAD_ROWS)
        told = logits(model, layout, base[rows]).log_softmax(dim=1)
        parts.append(torch.stack([kl(told, logits(model, layout, each[rows]).log_softmax(dim=1)) for each in others]))
    return torch.cat(parts, dim=1)


def kl(base: Tensor, other: Tensor) -> Tensor:
    """KL(base ‖ other) in nats at each position, of log-probabilities (positions, vocabulary)."""
    return (base.exp() * (base - other)).sum(dim=-1).clamp_min(0)


class _Answer(BaseModelOutputWithPast):
    """A decoder's output with nothing but hidden states; what else a model asks of its decoder is absent."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("_"):
            raise AttributeError(name)


@contextmanager
def _decoder_answers(layout: Layout, hidden: Tensor) -> Iterator[None]:
    """While in here, the decoder gives `hidden` (b, T, hidden) whatever it is asked."""

    def answer(*_: Any, **__: Any) -> _Answer:
        return _Answer(last_hidden_state=hidden)

    layout.decoder.forward = answer
    try:
        yield
    finally:
        del layout.decoder.forward  # the class's own is back
