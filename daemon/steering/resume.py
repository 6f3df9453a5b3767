"""From block L up: what lies below is computed once, so every dose and every baseline costs only the upper part.

While resumed, the lower blocks hand their input through and block L answers with the given hidden states; masks and
rotary embeddings are made by the model's own code. Hooks on block L still run, so a vector can be added there.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from daemon.steering.layout import Layout, with_hidden


@contextmanager
def kept_outputs(layout: Layout, layers: Sequence[int]) -> Iterator[dict[int, Any]]:
    """The whole outputs of the blocks `layers` of the last forward pass, as the blocks gave them."""
    kept: dict[int, Any] = {}

    def keeper(layer: int) -> Any:
        def keep(_block: nn.Module, _args: object, output: Any) -> None:
            kept[layer] = output

        return keep

    handles = [layout.blocks[layer].register_forward_hook(keeper(layer)) for layer in layers]
    try:
        yield kept
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def resumed(layout: Layout, layer: int, output: Any) -> Iterator[None]:
    """Let a forward pass begin with `output` (what `kept_outputs` kept) as the output of block `layer`."""

    def through(*args: Any, **kwargs: Any) -> Any:
        hidden: Tensor = args[0] if args else kwargs["hidden_states"]
        return with_hidden(output, hidden)

    def answer(*_: Any, **__: Any) -> Any:
        return output

    lower, resumed_block = layout.blocks[:layer], layout.blocks[layer]
    for block in lower:
        block.forward = through
    resumed_block.forward = answer
    try:
        yield
    finally:
        for block in (*lower, resumed_block):
            del block.forward  # the class's own is back
