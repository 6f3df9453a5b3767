"""A prompt with all its replies as one sequence: the prompt is computed once, each reply sees the prompt and itself.

    prompt p₀ p₁ p₂ │ a₀ a₁ │ b₀ b₁ b₂        positions 0 1 2 │ 3 4 │ 3 4 5        b does not see a

Exact for full attention. Where a model mixes positions in another way (recurrence, a window shorter than the text) the
first batch shows it, and each reply gets a sequence of its own. Neutral text is a trunk with nothing on it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from daemon.steering.loading import LoadedModel


@dataclass(frozen=True)
class Slot:
    """The output at `index` of the sequence predicts token `target` of reply number `reply`."""

    index: int
    target: int
    reply: int


@dataclass(frozen=True)
class Tree:
    """One sequence; `branch` is 0 on the trunk and k on the k-th reply."""

    ids: tuple[int, ...]
    positions: tuple[int, ...]
    branch: tuple[int, ...]
    slots: tuple[Slot, ...]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Batch:
    """Trees padded on the right to T. `rows`, `columns`, `targets`, `replies` (n,) list the slots of all of them.

    `mask` (b, 1, T, T) float32 is added to attention scores. `replies` counts through the whole batch.
    """

    ids: Tensor
    positions: Tensor
    mask: Tensor
    rows: Tensor
    columns: Tensor
    targets: Tensor
    replies: Tensor


def tree(prompt: Sequence[int], replies: Sequence[Sequence[int]]) -> Tree:
    """The tree of `prompt` with `replies`; every reply token is predicted by the token before it on its own path."""
    ids, positions, branch = list(prompt), list(range(len(prompt))), [0] * len(prompt)
    slots = []
    for number, reply in enumerate(replies):
        before = len(prompt) - 1
        for offset, token in enumerate(reply):
            slots.append(Slot(before, token, number))
            before = len(ids)
            ids.append(token)
            positions.append(len(prompt) + offset)
            branch.append(number + 1)
    return Tree(tuple(ids), tuple(positions), tuple(branch), tuple(slots))


def chain(ids: Sequence[int], scored: Sequence[int]) -> Tree:
    """Plain text; `scored` are the indices (from 1) of the tokens whose prediction counts."""
    slots = tuple(Slot(index - 1, ids[index], 0) for index in scored)
    return Tree(tuple(ids), tuple(range(len(ids))), (0,) * len(ids), slots)


def batch(trees: Sequence[Tree]) -> Batch:
    """Pad and stack; the replies of tree i come before those of tree i + 1."""
    width = max(len(each) for each in trees)
    ids, positions = torch.zeros(len(trees), width, dtype=torch.long), torch.zeros(len(trees), width, dtype=torch.long)
    branch = torch.full((len(trees), width), -1)
    slots, first = [], 0
    for row, each in enumerate(trees):
        ids[row, : len(each)] = torch.tensor(each.ids)
        positions[row, : len(each)] = torch.tensor(each.positions)
        branch[row, : len(each)] = torch.tensor(each.branch)
        slots += [(row, slot.index, slot.target, first + slot.reply) for slot in each.slots]
        first += 1 + max((slot.reply for slot in each.slots), default=0)
    rows, columns, targets, replies = torch.tensor(slots, dtype=torch.long).reshape(-1, 4).unbind(dim=1)
    return Batch(ids, positions, _mask(branch), rows, columns, targets, replies)


def _mask(branch: Tensor) -> Tensor:
    """(b, T) branch numbers, -1 for padding → (b, 1, T, T) float32: 0 where a query may look, else the lowest number."""
    width = branch.shape[1]
    causal = torch.ones(width, width, dtype=torch.bool).tril()
    query, key = branch[:, :, None], branch[:, None, :]
    seen = causal & ((key == query) | (key == 0))
    seen |= torch.eye(width, dtype=torch.bool)  # padding looks at itself, for a softmax over nothing is not a number
    blocked = torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)
    return blocked[:, None]


def by_length(trees: Sequence[Tree], tokens: int) -> list[list[int]]:
    """Indices of `trees` in batches of at most `tokens` padded tokens (at least one tree each), shortest first."""
    batches: list[list[int]] = []
    for index in sorted(range(len(trees)), key=lambda i: (len(trees[i]), i)):
        if batches and (len(batches[-1]) + 1) * len(trees[index]) <= tokens:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def one_reply_each(each: Tree) -> list[Tree]:
    """The same prompt and replies as sequences of their own, one a reply: what a model that takes no trees is given."""
    trunk = [i for i, branch in enumerate(each.branch) if branch == 0]
    prompt = [each.ids[i] for i in trunk]
    replies = sorted({branch for branch in each.branch if branch})
    return [tree(prompt, [[each.ids[i] for i, b in enumerate(each.branch) if b == branch]]) for branch in replies]


def trees_are_exact(loaded: "LoadedModel", trees: Sequence[Tree]) -> bool:
    """Whether this model gives a tree's replies what it gives them alone (to 1e-3), tried on the longest tree."""
    from daemon.steering.forward import run

    longest = max(trees, key=len)
    with torch.no_grad():
        try:
            together = run(loaded.model, batch([longest])).final
        except (ValueError, RuntimeError, TypeError):
            return False
        alone = torch.cat([run(loaded.model, batch([part])).final for part in one_reply_each(longest)])
    return bool((together - alone).abs().max() <= 1e-3 * alone.abs().max())
