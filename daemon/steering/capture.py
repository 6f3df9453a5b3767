"""Block outputs, reduced in the hook to what is wanted: one mean a reply, and residual norms.

Our own hooks read the block outputs themselves: `output_hidden_states[-1]` is after the final norm (measured on
SmolLM2: cosine 0.38 to the block's output), and its hooks may run before a hook that steers. Only the decoder runs, and
only up to the deepest block that is wanted. Position 0, an attention sink whose norm is a hundred times the others', is
left out of the norms.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from daemon.steering.exactness import pack
from daemon.steering.forward import decode
from daemon.steering.layout import Layout, hidden_of
from daemon.steering.text import EncodedReply
from daemon.steering.trees import Batch


@dataclass(frozen=True)
class Reading:
    """What item `index` showed.

    `means` (layers, hidden) float32 are over its reply tokens, summed in float64; `norms` (layers, tokens - 1) float32
    are those of all its tokens but the first, its prompt's included. Both are on the CPU.
    """

    index: int
    means: Tensor
    norms: Tensor


class _DeepEnough(Exception):  # noqa: N818 - not an error: the pass has shown all that is wanted
    pass


def read_replies(layout: Layout, items: Sequence[EncodedReply], layers: Sequence[int]) -> Iterator[Reading]:
    """Each item once, at `layers`, as its batch comes; nothing is kept of a batch that has been handed out."""
    for batch in pack(layout, items):
        present, local = torch.unique(batch.owners, return_inverse=True)
        means, norms = _read(layout, batch, layers, local, len(present))
        readers = batch.readers.cpu()
        for place, index in enumerate(present.tolist()):
            yield Reading(index, means[:, place], norms[:, readers == index])


def _read(layout: Layout, batch: Batch, layers: Sequence[int], local: Tensor, n_items: int) -> tuple[Tensor, Tensor]:
    """Means (layers, items, hidden) over the scored tokens of each item, whose rank is `local`; norms (layers, m)."""
    counts = torch.bincount(local, minlength=n_items).to(torch.float64)[:, None]
    means: dict[int, Tensor] = {}
    norms: dict[int, Tensor] = {}

    def reader(layer: int) -> Any:
        def read(_block: object, _args: object, output: Any) -> None:
            hidden = hidden_of(output)
            scored = hidden[batch.rows, batch.columns].to(torch.float64)
            sums = torch.zeros(n_items, hidden.shape[-1], dtype=torch.float64, device=hidden.device)
            means[layer] = (sums.index_add_(0, local, scored) / counts).to(torch.float32)
            norms[layer] = hidden.to(torch.float32).norm(dim=-1)[batch.read[:, 0], batch.read[:, 1]].to(torch.float32)
            if layer == max(layers):
                raise _DeepEnough

        return read

    with ExitStack() as hooks, torch.no_grad():
        for layer in layers:
            hooks.callback(layout.blocks[layer].register_forward_hook(reader(layer)).remove)
        with suppress(_DeepEnough):
            decode(layout, batch)
    return torch.stack([means[layer] for layer in layers]).cpu(), torch.stack([norms[layer] for layer in layers]).cpu()
