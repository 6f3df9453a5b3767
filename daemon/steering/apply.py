"""Adding vectors to block outputs, at every position but the first, wherever the first is.

Positions are absolute. Under the KV cache a forward pass sees only new tokens, and padding may stand on the left, so
the first real column of each row is taken from the attention mask of the whole, and the past from the cache's length.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from daemon.steering.layout import Layout, hidden_of, with_hidden


@dataclass
class _Pass:
    """What a hook must know of the current forward pass: where it starts, and each row's first real column."""

    past: int = 0
    first: Tensor | None = None  # (batch,)

    def keep(self, tokens: int, device: torch.device) -> Tensor:
        """(batch or 1, tokens, 1) bool: True where a vector is added."""
        columns = torch.arange(self.past, self.past + tokens, device=device)
        first = torch.zeros(1, dtype=torch.long, device=device) if self.first is None else self.first
        return (columns[None, :] != first[:, None])[..., None]


@contextmanager
def steer(layout: Layout, deltas: Mapping[int, Tensor]) -> Iterator[None]:
    """Add `deltas[layer]`, (hidden) or one for each row (batch, hidden), to that block's output while in the block.

    Coefficients are already in the deltas. Nested blocks add up. Other models and threads are not touched; hooks are
    removed on the way out, whatever happened.
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


def _observer(current: _Pass) -> Any:
    def observe(_: object, __: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        mask = kwargs.get("attention_mask")
        cache = kwargs.get("cache", kwargs.get("past_key_values"))  # renamed in transformers 5
        current.past = int(cache.get_seq_length()) if cache is not None else 0
        is_padding_mask = isinstance(mask, Tensor) and mask.ndim == 2
        current.first = mask.to(torch.long).argmax(dim=1) if mask is not None and is_padding_mask else None

    return observe


def _adder(current: _Pass, delta: Tensor) -> Any:
    def add(_: object, __: tuple[Any, ...], output: Any) -> Any:
        hidden = hidden_of(output)
        keep = current.keep(hidden.shape[1], hidden.device)
        added = delta.to(hidden) if delta.ndim == 1 else delta.to(hidden)[:, None, :]
        return with_hidden(output, hidden + keep * added)

    return add
