"""Block outputs, reduced in the hook to what is wanted: one mean a reply, and residual norms.

Our own hooks read the block outputs themselves: `output_hidden_states[-1]` is after the final norm (measured on
SmolLM2: cosine 0.38 to the block's output), and its hooks may run before a hook that steers. Only the decoder runs, and
only up to the deepest block that is wanted. Position 0, an attention sink whose norm is a hundred times the others', is
left out of the norms.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from daemon.steering.exactness import pack
from daemon.steering.forward import decode
from daemon.steering.layout import Layout, hidden_of
from daemon.steering.text import EncodedReply
from daemon.steering.trees import Batch, average_by_item


@dataclass(frozen=True)
class Activations:
    """`means` (items, layers, hidden) float64: over each reply's tokens. `median_norms` (layers,) float64."""

    means: Tensor
    median_norms: Tensor


class _DeepEnough(Exception):  # noqa: N818 - not an error: the pass has shown all that is wanted
    pass


def reply_means(
    layout: Layout, items: Sequence[EncodedReply], layers: Sequence[int], done: Callable[[int], None] = lambda _: None
) -> Activations:
    """Mean block output over the reply tokens of each item, at each of `layers`.

    The norm of a layer is the median over all tokens of all items but their first ones, prompts included; a token that
    several items share counts once for each.
    """
    batches = pack(layout, items)
    replies: list[Tensor] = []
    norms: list[Tensor] = []
    for number, batch in enumerate(batches):
        found = _read(layout, batch, layers)
        replies.append(torch.stack([reply for reply, _ in found], dim=1))
        norms.append(torch.stack([norm for _, norm in found]))
        done((number + 1) * len(items) // len(batches))
    medians = np.median(torch.cat(norms, dim=1).numpy(), axis=1)
    return Activations(average_by_item(replies, batches, len(items)), torch.from_numpy(medians))


def _read(layout: Layout, batch: Batch, layers: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
    """For each layer: outputs (n, hidden) at the scored tokens, and norms (m,) of all but first ones; float64."""
    found: dict[int, tuple[Tensor, Tensor]] = {}

    def reader(layer: int) -> Any:
        def read(_block: object, _args: object, output: Any) -> None:
            hidden = hidden_of(output)
            norms = hidden.norm(dim=-1)[batch.read[:, 0], batch.read[:, 1]]
            found[layer] = (hidden[batch.rows, batch.columns].to(torch.float64), norms.to(torch.float64))
            if layer == max(layers):
                raise _DeepEnough

        return read

    with ExitStack() as hooks, torch.no_grad():
        for layer in layers:
            hooks.callback(layout.blocks[layer].register_forward_hook(reader(layer)).remove)
        with suppress(_DeepEnough):
            decode(layout, batch)
    return [found[layer] for layer in layers]
