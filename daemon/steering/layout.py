"""Where things are in a model, found from the model itself: its decoder, its blocks, its head.

No table of architectures: the decoder is what the model calls so, and the blocks are the list of the configured length
whose members run, in order and once each, when the decoder reads text. A vision tower stays silent then.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from daemon.errors import DataError

_FAULTS = (ValueError, RuntimeError, TypeError, AttributeError, AssertionError, IndexError, KeyError)


@dataclass(frozen=True)
class Layout:
    """The decoder (tokens → hidden states, no head), its blocks from input to output, and the head."""

    decoder: nn.Module
    blocks: tuple[nn.Module, ...]
    head: nn.Module
    hidden_size: int
    n_layers: int

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next(self.decoder.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The type of its weights."""
        return next(self.decoder.parameters()).dtype


def find_layout(model: Any) -> Layout:
    """The layout of a causal language model; some passes over three tokens are run.

    Raises:
        DataError: No list of the configured length runs as the decoder's blocks.
    """
    config = model.config.get_text_config()
    hidden, n_layers = int(config.hidden_size), int(config.num_hidden_layers)
    head = model.get_output_embeddings()
    found = next(_found(model, hidden, n_layers), None)
    if found is None or head is None:
        lacks = "output head" if found else f"list of {n_layers} blocks that runs on text"
        raise DataError(f"{type(model).__name__}: no {lacks} in it; use a causal language model")
    decoder, blocks = found
    if not _looks_back_only(decoder):
        raise DataError(f"{type(model).__name__}: a token sees those after it; use a causal language model")
    return Layout(decoder, blocks, head, hidden, n_layers)


def hidden_of(output: Any) -> Tensor:
    """A block's output (batch, tokens, hidden), whether it comes alone or in a tuple."""
    hidden: Tensor = output[0] if isinstance(output, tuple | list) else output
    return hidden


def with_hidden(output: Any, hidden: Tensor) -> Any:
    """The same output with another hidden state."""
    return type(output)([hidden, *output[1:]]) if isinstance(output, tuple | list) else hidden


def _found(model: Any, hidden: int, n_layers: int) -> Iterator[tuple[nn.Module, tuple[nn.Module, ...]]]:
    """Decoders that are one, with their blocks: what the model calls so, its base model, then its own parts."""
    tried: list[nn.Module] = [model]
    for decoder in (model.get_decoder(), model.base_model, *model.children()):
        if decoder is None or any(decoder is each for each in tried):
            continue
        tried.append(decoder)
        for each in decoder.modules():
            right = isinstance(each, nn.ModuleList) and len(each) == n_layers
            if right and _runs_as_blocks(decoder, tuple(each), hidden):
                yield decoder, tuple(each)


def _runs_as_blocks(decoder: nn.Module, blocks: tuple[nn.Module, ...], hidden: int) -> bool:
    """Whether each of `blocks` runs once, on what the one before it gave, (1, 3, hidden), as the decoder reads."""
    ran: list[int] = []
    flow: list[Tensor | None] = []

    def enters(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        flow.append(args[0] if args else kwargs.get("hidden_states"))

    def leaves(_module: nn.Module, _args: object, output: Any, index: int) -> None:
        flow.append(hidden_of(output))
        if getattr(hidden_of(output), "shape", None) == (1, 3, hidden):
            ran.append(index)

    handles = [block.register_forward_pre_hook(enters, with_kwargs=True) for block in blocks]
    handles += [
        block.register_forward_hook(lambda m, a, o, index=index: leaves(m, a, o, index))
        for index, block in enumerate(blocks)
    ]
    try:
        shape = getattr(_read(decoder, [1, 2, 3]), "shape", None)
    except _FAULTS:
        return False
    finally:
        for handle in handles:
            handle.remove()
    if ran != list(range(len(blocks))) or shape is None:
        return False
    given, taken = flow[1:-1:2], flow[2::2]
    return all(
        one is not None and two is not None and torch.equal(one, two) for one, two in zip(given, taken, strict=True)
    )


def _looks_back_only(decoder: nn.Module) -> bool:
    one, two = (_read(decoder, [1, 2, last]) for last in (3, 1))
    return bool(torch.allclose(one[:, :2], two[:, :2], rtol=1e-3, atol=1e-5))


def _read(decoder: nn.Module, ids: list[int]) -> Tensor:
    """Hidden states after the final norm (1, tokens, hidden)."""
    given = torch.tensor([ids]).to(next(decoder.parameters()).device)
    with torch.no_grad():
        final: Tensor = decoder(input_ids=given, use_cache=False).last_hidden_state
    return final
