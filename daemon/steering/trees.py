"""Sequences packed into batches, so that what they share is computed once.

A trie holds many sequences in one row: a shared prompt, or the shared system prefix of many prompts, stands there once,
and each token sees its own ancestors only.

    s₀ s₁ ┬ p₂ p₃ ┬ a₄ a₅        ids        s₀ s₁ p₂ p₃ a₄ a₅ b₄ q₂ …
          │       └ b₄           positions   0  1  2  3  4  5  4  2 …
          └ q₂ …                 mask        token i sees token j  ⇔  j is i or an ancestor of i

Exact for full attention (measured: 3e-4 on values up to 539). Where a model mixes positions otherwise (recurrence, a
window shorter than the text), `daemon.steering.exactness` finds out and the sequences stand apart, padded on the right.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from daemon.steering.text import EncodedReply

PADDED_TOKENS = 1024
TRIE_TOKENS = 384


@dataclass(frozen=True)
class Batch:
    """b rows of T tokens, and where the scored tokens of the items stand in them.

    `attention_mask` is (b, T) int64, or (b, 1, T, T) float32 that is added to attention scores. Of the n scored ones,
    token `targets[k]` of item `owners[k]` stands in row `rows[k]` at `columns[k]`, and is predicted at `before[k]`.
    `read` (m, 2) lists row and column of every token but the first of every item, shared ones once for each item.
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

    def as_arguments(self) -> dict[str, Tensor]:
        """What a decoder is called with."""
        return {
            "input_ids": self.input_ids,
            "position_ids": self.position_ids,
            "attention_mask": self.attention_mask,
        }


def make_batches(items: Sequence[EncodedReply], *, tries: bool, token_budget: int | None = None) -> list[Batch]:
    """All `items`, in an order that depends on them alone; a batch has at most `token_budget` tokens, or one item."""
    budget = token_budget or (TRIE_TOKENS if tries else PADDED_TOKENS)
    return _tries(items, budget) if tries else _padded(items, budget)


def _padded(items: Sequence[EncodedReply], budget: int) -> list[Batch]:
    """One sequence a row, shortest first, padded on the right."""
    groups: list[list[int]] = []
    for index in sorted(range(len(items)), key=lambda i: (len(items[i].ids), i)):
        if groups and (len(groups[-1]) + 1) * len(items[index].ids) <= budget:
            groups[-1].append(index)
        else:
            groups.append([index])
    return [_padded_batch(items, group) for group in groups]


def _padded_batch(items: Sequence[EncodedReply], group: list[int]) -> Batch:
    width = max(len(items[index].ids) for index in group)
    ids, mask = torch.zeros(len(group), width, dtype=torch.long), torch.zeros(len(group), width, dtype=torch.long)
    for row, index in enumerate(group):
        ids[row, : len(items[index].ids)] = torch.tensor(items[index].ids)
        mask[row, : len(items[index].ids)] = 1
    positions = torch.arange(width).repeat(len(group), 1)
    paths = [(row, index, list(range(len(items[index].ids)))) for row, index in enumerate(group)]
    return _batch(items, ids, positions, mask, paths)


def _tries(items: Sequence[EncodedReply], budget: int) -> list[Batch]:
    """One trie a batch: in the order of their ids, since neighbours share most."""
    batches, trie = [], _Trie()
    for index in sorted(range(len(items)), key=lambda i: (items[i].ids, i)):
        if trie.paths and len(trie.ids) + trie.growth(items[index].ids) > budget:
            batches.append(trie.batch(items))
            trie = _Trie()
        trie.add(index, items[index].ids)
    return [*batches, trie.batch(items)] if trie.paths else batches


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

    def batch(self, items: Sequence[EncodedReply]) -> Batch:
        seen = torch.eye(len(self.ids), dtype=torch.bool)
        for node, parent in enumerate(self._parents):
            if parent >= 0:
                seen[node] |= seen[parent]
        mask = torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)[None, None]
        return _batch(items, torch.tensor([self.ids]), torch.tensor([self._depths]), mask, self.paths)


def _batch(
    items: Sequence[EncodedReply], ids: Tensor, positions: Tensor, mask: Tensor, paths: list[tuple[int, int, list[int]]]
) -> Batch:
    scored, read = [], []
    for row, index, path in paths:
        given = len(items[index].prompt_ids)
        read += [(row, column) for column in path[1:]]
        scored += [(row, path[i], path[i - 1], items[index].ids[i], index) for i in range(given, len(path))]
    rows, columns, before, targets, owners = torch.tensor(scored, dtype=torch.long).reshape(-1, 5).unbind(dim=1)
    seen = torch.tensor(read, dtype=torch.long).reshape(-1, 2)
    return Batch(ids, positions, mask, rows, columns, before, targets, owners, seen)


def average_by_item(values: Sequence[Tensor], batches: Sequence[Batch], n_items: int) -> Tensor:
    """Values (n, ...) at the scored tokens of each batch → means over each item's tokens (n_items, ...), float64."""
    sums = torch.zeros(n_items, *values[0].shape[1:], dtype=torch.float64)
    counts = torch.zeros(n_items, dtype=torch.float64)
    for value, batch in zip(values, batches, strict=True):
        sums.index_add_(0, batch.owners, value.to(torch.float64))
        counts.index_add_(0, batch.owners, torch.ones(len(value), dtype=torch.float64))
    return sums / counts.clamp_min(1).reshape(-1, *[1] * (sums.ndim - 1))
