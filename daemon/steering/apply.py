"""Adding vectors to block outputs, at every position but the first, wherever the first is.

Positions are absolute. Under the KV cache a forward pass sees only new tokens, and padding may stand on the left, so
the first real column of each row is read from the mask of the whole sequence, and the past from the cache's length.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from daemon.protocol.verify import Placement
from daemon.steering.layout import Layout, hidden_of, with_hidden
from daemon.steering.vector_file import VectorFile


def deltas_at(file: VectorFile, placements: Iterable[Placement], scale: float = 1.0) -> dict[int, Tensor]:
    """(hidden,) each: what the vector adds at its placements, times `scale`, by coefficient as a server does."""
    return {at.layer: torch.from_numpy(file.vectors[at.layer]) * (scale * at.coefficient) for at in placements}


@dataclass
class _Pass:
    """What the hooks must know of the forward pass under way: (rows or 1, tokens, 1) bool, True at a first token."""

    first: Tensor | None = None


@contextmanager
def steer(layout: Layout, deltas: Mapping[int, Tensor]) -> Iterator[None]:
    """Add `deltas[layer]`, (hidden) or one for each row of a batch (rows, hidden), to that block's output.

    Coefficients are already in the deltas. Nested uses add up. No state is shared between models; the hooks are removed
    on the way out, whatever happened. Whoever wants to see steered outputs registers hooks after this.
    """
    current = _Pass()
    handles = [layout.decoder.register_forward_pre_hook(_observer(current), with_kwargs=True)]
    try:
        for layer, delta in deltas.items():
            handles.append(layout.blocks[layer].register_forward_hook(_adder(current, delta)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def first_tokens(kwargs: Mapping[str, Any]) -> Tensor:
    """(rows or 1, tokens) bool: which of a decoder call's tokens are the first of their sequence."""
    tokens = kwargs["input_ids"] if kwargs.get("input_ids") is not None else kwargs["inputs_embeds"]
    mask, positions = kwargs.get("attention_mask"), kwargs.get("position_ids")
    cache = kwargs.get(
        "cache", kwargs.get("past_key_values")
    )  # the older name is still in use before transformers 5.24
    past = _length(cache) if cache is not None else int(kwargs.get("state", kwargs.get("cache_params")) is not None)
    if isinstance(mask, Tensor) and mask.ndim == 2:  # it is that of the whole sequence, past included
        columns = torch.arange(mask.shape[1] - tokens.shape[1], mask.shape[1], device=tokens.device)[None]
        return columns == mask.to(torch.long).argmax(dim=1)[:, None]
    columns = torch.arange(past, past + tokens.shape[1], device=tokens.device)[None]
    if positions is not None:  # the mask was built by the caller: a trie may have several first tokens
        return torch.as_tensor(positions == 0)
    return columns == 0


def _length(cache: Any) -> int:
    """How many tokens a cache has seen; one that holds states alone does not count them, and says so by an error."""
    try:
        return int(cache.get_seq_length()) if cache is not None else 0
    except ValueError:
        return int(cache.has_previous_state()) if hasattr(cache, "has_previous_state") else 0


def _observer(current: _Pass) -> Any:
    def observe(_decoder: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        named = kwargs | ({"input_ids": args[0]} if args else {})
        current.first = first_tokens(named)[..., None]

    return observe


def _adder(current: _Pass, delta: Tensor) -> Any:
    def add(_block: object, _args: object, output: Any) -> Any:
        hidden = hidden_of(output)
        assert current.first is not None
        added = delta.to(hidden) if delta.ndim == 1 else delta.to(hidden)[:, None, :]
        return with_hidden(output, hidden + added * ~current.first)

    return add
