"""Attention over a trie by blocks: a token is set against its ancestors and its block, not against the whole trie.

In preorder, whatever a token of the block [s, e) sees before s are ancestors of s: what lies between belongs to other
branches. So the keys of a block are the path to s and the block itself,

    T tokens in blocks of B, d deep:    T · (d + B) meetings instead of T²

It is registered with transformers under a name of its own, and stands in for `sdpa` while `by_blocks` lasts. A model
that does not ask there, or that asks for more than plain attention, gives other numbers; `daemon.steering.exactness`
finds out.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from daemon.steering.layout import Layout
from daemon.steering.trees import Block

_NAME = "reflexd_trie"
_STANDS_IN_FOR = "sdpa"


_current: ContextVar[Sequence[Block]] = ContextVar(_NAME)


def attends_by_blocks(layout: Layout) -> bool:
    """Whether the decoder attends by torch's scaled dot product, for which blocks can stand in."""
    config: Any = getattr(layout.decoder, "config", None)
    return getattr(config, "_attn_implementation", "") == _STANDS_IN_FOR


@contextmanager
def by_blocks(layout: Layout, blocks: Sequence[Block]) -> Iterator[None]:
    """While in here, the decoder attends by `blocks`; without any, or where it cannot, as it always does."""
    if not blocks or not attends_by_blocks(layout):
        yield
        return
    config: Any = layout.decoder.config
    token = _current.set(blocks)
    config._attn_implementation = _NAME
    try:
        yield
    finally:
        config._attn_implementation = _STANDS_IN_FOR
        _current.reset(token)


def _attend(
    _module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    _mask: Any,
    scaling: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Queries (1, heads, T, d), keys and values (1, groups, T, d) → (1, T, heads, d)."""
    grouped = key.shape[1] != query.shape[1]
    parts = []
    for block in _current.get():
        here = slice(block.start, block.end)
        keys, values = (torch.cat([side[:, :, block.before], side[:, :, here]], dim=2) for side in (key, value))
        parts.append(
            scaled_dot_product_attention(
                query[:, :, here], keys, values, attn_mask=block.mask.to(query), scale=scaling, enable_gqa=grouped
            )
        )
    return torch.cat(parts, dim=2).transpose(1, 2).contiguous(), None


AttentionInterface.register(_NAME, _attend)
