"""From layer L up: the blocks below are computed once, and every dose and every baseline costs only the blocks above.

While resumed, the lower blocks hand their input through and block L answers with the given hidden states; the model's
own code makes masks and rotary embeddings. A model whose blocks are not called like that is found out by trying.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from daemon.steering.forward import Outputs, run
from daemon.steering.layout import Layout, hidden_of
from daemon.steering.loading import LoadedModel
from daemon.steering.trees import Batch


def lower_part(loaded: LoadedModel, batch: Batch, layers: Sequence[int]) -> tuple[dict[int, Tensor], Outputs]:
    """Whole outputs (b, T, hidden) of the blocks `layers`, and the outputs of the full pass."""
    kept: dict[int, Tensor] = {}

    def keeper(layer: int) -> Callable[..., None]:
        def keep(_module: object, _args: object, output: object) -> None:
            kept[layer] = hidden_of(output)

        return keep

    handles = [loaded.layout.blocks[layer].register_forward_hook(keeper(layer)) for layer in layers]
    try:
        return kept, run(loaded.model, batch)
    finally:
        for handle in handles:
            handle.remove()


def steered(hidden: Tensor, delta: Tensor) -> Tensor:
    """Block output (b, T, hidden) with `delta` (hidden) added at every position but the first."""
    added = hidden + delta.to(hidden)
    added[:, 0] = hidden[:, 0]
    return added


@contextmanager
def resumed(layout: Layout, layer: int, hidden: Tensor) -> Iterator[None]:
    """Let a forward pass begin with `hidden` (b, T, hidden) as the output of block `layer`."""

    def through(hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        return hidden_states

    def answer(*_: Any, **__: Any) -> Tensor:
        return hidden

    blocks = layout.blocks[: layer + 1]
    for block in blocks:
        block.forward = answer if block is blocks[-1] else through
    try:
        yield
    finally:
        for block in blocks:
            del block.forward  # the class's own is back


def resumes_exactly(loaded: LoadedModel, batch: Batch, layer: int) -> bool:
    """Whether this model, resumed at `layer`, gives what it gives in one go (to 1e-3 of the largest value)."""
    with torch.no_grad():
        kept, whole = lower_part(loaded, batch, [layer])
        try:
            with resumed(loaded.layout, layer, kept[layer]):
                again = run(loaded.model, batch)
        except (TypeError, AttributeError, RuntimeError, IndexError):
            return False
    return bool((again.final - whole.final).abs().max() <= 1e-3 * whole.final.abs().max())
