"""Where things are in a model, found from the model itself: its decoder, its blocks, its head.

No table of architectures: the decoder is what the model calls so, and the blocks are the list of the configured length
whose members run, in order and once each, when the decoder reads text. A vision tower stays silent then.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from daemon.errors import DataError


@dataclass(frozen=True)
class Layout:
    """The decoder (tokens → hidden states, no head), its blocks from input to output, and the head."""

    decoder: nn.Module
    blocks: tuple[nn.Module, ...]
    head: nn.Module
    hidden_size: int
    n_layers: int


def find_layout(model: Any) -> Layout:
    """The layout of a causal language model; one pass over three tokens is run.

    Raises:
        DataError: No list of the configured length runs as the decoder's blocks.
    """
    config = model.config.get_text_config()
    hidden, n_layers = int(config.hidden_size), int(config.num_hidden_layers)
    decoder, head = _decoder(model), model.get_output_embeddings()
    lists = [m for m in decoder.modules() if isinstance(m, nn.ModuleList) and len(m) == n_layers]
    blocks = next((tuple(each) for each in lists if _runs_as_blocks(decoder, tuple(each), hidden)), None)
    if blocks is None or head is None:
        lacks = "output head" if blocks else f"list of {n_layers} blocks that runs on text"
        raise DataError(f"{type(model).__name__}: no {lacks} in it; use a causal language model")
    return Layout(decoder, blocks, head, hidden, n_layers)


def hidden_of(output: Any) -> Tensor:
    """A block's output (batch, tokens, hidden), whether it comes alone or in a tuple."""
    hidden: Tensor = output[0] if isinstance(output, tuple) else output
    return hidden


def with_hidden(output: Any, hidden: Tensor) -> Any:
    """The same output with another hidden state."""
    return (hidden, *output[1:]) if isinstance(output, tuple) else hidden


def _decoder(model: Any) -> nn.Module:
    decoder: nn.Module = model.get_decoder()
    base: nn.Module = model.base_model
    return base if decoder is model or decoder is None else decoder


def _runs_as_blocks(decoder: nn.Module, blocks: tuple[nn.Module, ...], hidden: int) -> bool:
    """Whether each of `blocks` runs once, in order, and gives (1, 3, hidden), when the decoder reads three tokens."""
    ran: list[int] = []

    def noted(_module: nn.Module, _args: object, output: Any, index: int) -> None:
        if getattr(hidden_of(output), "shape", None) == (1, 3, hidden):
            ran.append(index)

    handles = [
        block.register_forward_hook(lambda m, a, o, index=index: noted(m, a, o, index))
        for index, block in enumerate(blocks)
    ]
    ids = torch.tensor([[1, 2, 3]], device=next(decoder.parameters()).device)
    try:
        with torch.no_grad():
            decoder(input_ids=ids, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return ran == list(range(len(blocks)))
