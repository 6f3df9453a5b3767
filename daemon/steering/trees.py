"""Sequences packed into batches, so that what they share is computed once.

A trie holds many sequences in one row: a shared prompt, or the shared system prefix of many prompts, stands there once,
and each token sees its own ancestors only.

    s₀ s₁ ┬ p₂ p₃ ┬ a₄ a₅        ids        s₀ s₁ p₂ p₃ a₄ a₅ b₄ q₂ …
          │       └ b₄           positions   0  1  2  3  4  5  4  2 …
          └ q₂ …                 mask        token i sees token j  ⇔  j is i or an ancestor of i

Exact for full attention (measured: 3e-4 on values up to 539). Where a model mixes positions otherwise (recurrence, a
window shorter than the text), `daemon.steering.exactness` finds out and the sequences stand apart, padded on the right.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from daemon.steering.text import EncodedReply

PADDED_TOKENS = 1024
TRIE_TOKENS = 2048
TRIE_AT_ONCE = 512
BLOCK = 64
NO_MASK = torch.zeros(1, 1, 1, 1)
BATCH_COST = 40
"""What a batch costs beside its tokens, in tokens: calls, and matrix products too small to be fast (SmolLM2-135M)."""


@dataclass(frozen=True)
class Block:
    """Tokens [`start`, `end`) of a trie.

    `before` (n,) are the ancestors of the first one; `mask` (end - start, n + end - start) float32 is added to scores.
    """

    start: int
    end: int
    before: Tensor
    mask: Tensor


@dataclass(frozen=True)
class Batch:
    """b rows of T tokens, and where the scored tokens of the items stand in them.

    `attention_mask` is (b, T) int64, or (b, 1, T, T) float32 that is added to attention scores; a trie in `blocks` has
    `NO_MASK`, since attention that goes by them asks for none. Of the n scored ones, token `targets[k]` of item
    `owners[k]` stands in row `rows[k]` at `columns[k]`, and is predicted at `before[k]`. `read` (m, 2) lists row and
    column of every token but the first of every item, shared ones once for each item; `readers` (m,) says which item.
    """

    input_ids: Tensor
    position_ids: Tensor
    attention_mask: Tensor
    rows: Tensor
    columns: Tensor
    before: Tensor
    targets: Tensor
    owners: Tensor
    read: Tensor
    readers: Tensor
    blocks: tuple[Block, ...] = ()

    def to(self, device: torch.device, dtype: torch.dtype = torch.float32) -> "Batch":
        """The same on `device`; masks that are added to scores are of the type of these."""
        if self.input_ids.device == device and dtype in {torch.float32, self.attention_mask.dtype}:
            return self
        moved = {name: _moved(getattr(self, name), device, dtype) for name in _TENSORS}
        blocks = (
            replace(each, before=each.before.to(device), mask=_moved(each.mask, device, dtype)) for each in self.blocks
        )
        return replace(self, **moved, blocks=tuple(blocks))

    def as_arguments(self) -> dict[str, Tensor]:
        """What a decoder is called with."""
        return {
            "input_ids": self.input_ids,
            "position_ids": self.position_ids,
            "attention_mask": self.attention_mask,
        }


_TENSORS = tuple(each.name for each in fields(Batch) if each.name != "blocks")


def _moved(tensor: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    return tensor.to(device, dtype) if tensor.is_floating_point() else tensor.to(device)


def make_batches(
    items: Sequence[EncodedReply],
    *,
    tries: bool,
    blocks: bool = False,
    token_budget: int | None = None,
    width: float = math.inf,
) -> list[Batch]:
    """All `items`, in an order that depends on them alone; a batch has at most `token_budget` tokens, or one item.

    In a trie of T tokens each one is set against all T, related or not, unless attention goes by `blocks`. `width` is
    how many such meetings cost as much as the rest of one token's way through the model.
    """
    return list(iter_batches(items, tries=tries, blocks=blocks, token_budget=token_budget, width=width))


def iter_batches(
    items: Sequence[EncodedReply], *, tries: bool, blocks: bool, token_budget: int | None = None, width: float
) -> Iterator[Batch]:
    """The same one by one: a mask is large, and lives as long as its batch."""
    if tries:
        return _tries(items, token_budget or TRIE_TOKENS, math.inf if blocks else width, blocks)
    return _padded(items, token_budget or PADDED_TOKENS)


def _padded(items: Sequence[EncodedReply], budget: int) -> Iterator[Batch]:
    """One sequence a row, shortest first, padded on the right."""
    groups: list[list[int]] = []
    for index in sorted(range(len(items)), key=lambda i: (len(items[i].ids), i)):
        if groups and (len(groups[-1]) + 1) * len(items[index].ids) <= budget:
            groups[-1].append(index)
        else:
            groups.append([index])
    return (_padded_batch(items, group) for group in groups)


def _padded_batch(items: Sequence[EncodedReply], group: list[int]) -> Batch:
    width = max(len(items[index].ids) for index in group)
    ids, mask = torch.zeros(len(group), width, dtype=torch.long), torch.zeros(len(group), width, dtype=torch.long)
    for row, index in enumerate(group):
        ids[row, : len(items[index].ids)] = torch.tensor(items[index].ids)
        mask[row, : len(items[index].ids)] = 1
    positions = torch.arange(width).repeat(len(group), 1)
    paths = [(row, index, list(range(len(items[index].ids)))) for row, index in enumerate(group)]
    return _batch(items, ids, positions, mask, paths)


def make_trie(items: Sequence[EncodedReply], *, blocks: bool) -> Batch:
    """All `items` in one trie, however long it gets."""
    trie = _Trie()
    for index in sorted(range(len(items)), key=lambda i: (items[i].ids, i)):
        trie.add(index, items[index].ids)
    return trie.batch(items, blocks)


def widest_trie(items: Sequence[EncodedReply]) -> int:
    """How many tokens the largest trie of a packing has that goes by blocks."""
    return max((len(trie.ids) for trie in _grown(items, TRIE_TOKENS, math.inf)), default=0)


def _tries(items: Sequence[EncodedReply], budget: int, width: float, blocks: bool) -> Iterator[Batch]:
    """One trie a batch."""
    return (trie.batch(items, blocks) for trie in _grown(items, budget, width))


def _grown(items: Sequence[EncodedReply], budget: int, width: float) -> Iterator["_Trie"]:
    """Tries that hold all `items`, in the order of their ids, since neighbours share most."""
    trie = _Trie()
    for index in sorted(range(len(items)), key=lambda i: (items[i].ids, i)):
        if trie.paths and not _belongs(trie, items[index].ids, budget, width):
            yield trie
            trie = _Trie()
        trie.add(index, items[index].ids)
    if trie.paths:
        yield trie


def _belongs(trie: "_Trie", ids: Sequence[int], budget: int, width: float) -> bool:
    """Whether the sequence costs less in this trie, which it makes longer, than at the beginning of another.

    Another one would hold the s shared tokens once more; in this one all T meet all. So a token costs s / T + T / width
    more than by itself, which is least for T = √(s · width). By blocks nobody meets more in a longer trie, and sharing
    alone decides beyond `TRIE_AT_ONCE`.
    """
    growth = trie.growth(ids)
    whole, shared = len(trie.ids) + growth, len(ids) - growth
    if width == math.inf:
        return whole <= min(budget, TRIE_AT_ONCE) or (whole <= budget and shared >= growth)
    return whole <= min(budget, math.sqrt((shared + BATCH_COST) * width))


class _Trie:
    """Tokens in order of arrival; each knows its parent, -1 for a first one."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.paths: list[tuple[int, int, list[int]]] = []
        self._parents: list[int] = []
        self._depths: list[int] = []
        self._places: dict[tuple[int, int], int] = {}

    def growth(self, ids: Sequence[int]) -> int:
        """How many tokens `ids` would add."""
        node = -1
        for shared, token in enumerate(ids):
            found = self._places.get((node, token))
            if found is None:
                return len(ids) - shared
            node = found
        return 0

    def add(self, index: int, ids: Sequence[int]) -> None:
        node, path = -1, []
        for depth, token in enumerate(ids):
            place = self._places.setdefault((node, token), len(self.ids))
            if place == len(self.ids):
                self.ids.append(token)
                self._parents.append(node)
                self._depths.append(depth)
            node = place
            path.append(node)
        self.paths.append((0, index, path))

    def batch(self, items: Sequence[EncodedReply], blocks: bool) -> Batch:
        seen = torch.eye(len(self.ids), dtype=torch.bool)
        for node, parent in enumerate(self._parents):
            if parent >= 0:
                seen[node] |= seen[parent]
        ids, depths = torch.tensor([self.ids]), torch.tensor([self._depths])
        if blocks:
            return _batch(items, ids, depths, NO_MASK, self.paths, blocks_of(seen))
        return _batch(items, ids, depths, _added(seen)[None, None], self.paths)


def _added(visible: Tensor) -> Tensor:
    """What is added to attention scores: 0 where something is visible, else next to minus infinity."""
    return torch.zeros(visible.shape).masked_fill(~visible, torch.finfo(torch.float32).min)


def blocks_of(seen: Tensor) -> tuple[Block, ...]:
    """Blocks of a trie in preorder, from who sees whom: (T, T) bool."""
    found = []
    for start in range(0, len(seen), BLOCK):
        end = min(start + BLOCK, len(seen))
        before = seen[start, :start].nonzero()[:, 0]
        visible = torch.cat([seen[start:end][:, before], seen[start:end, start:end]], dim=1)
        found.append(Block(start, end, before, _added(visible)))
    return tuple(found)


def _batch(
    items: Sequence[EncodedReply],
    ids: Tensor,
    positions: Tensor,
    mask: Tensor,
    paths: list[tuple[int, int, list[int]]],
    blocks: tuple[Block, ...] = (),
) -> Batch:
    scored, read = [], []
    for row, index, path in paths:
        given = len(items[index].prompt_ids)
        read += [(row, column, index) for column in path[1:]]
        scored += [(row, path[i], path[i - 1], items[index].ids[i], index) for i in range(given, len(path))]
    rows, columns, before, targets, owners = torch.tensor(scored, dtype=torch.long).reshape(-1, 5).unbind(dim=1)
    seen = torch.tensor(read, dtype=torch.long).reshape(-1, 3)
    return Batch(ids, positions, mask, rows, columns, before, targets, owners, seen[:, :2], seen[:, 2], blocks)


def average_by_item(values: Sequence[Tensor], batches: Sequence[Batch], n_items: int) -> Tensor:
    """Values (n, ...) at the scored tokens of each batch → means over each item: (n_items, ...) float64, on the CPU."""
    sums = torch.zeros(n_items, *values[0].shape[1:], dtype=torch.float64)
    counts = torch.zeros(n_items, dtype=torch.float64)
    for value, batch in zip(values, batches, strict=True):
        owners = batch.owners.cpu()
        sums.index_add_(0, owners, value.cpu().to(torch.float64))
        counts.index_add_(0, owners, torch.ones(len(value), dtype=torch.float64))
    return sums / counts.clamp_min(1).reshape(-1, *[1] * (sums.ndim - 1))
