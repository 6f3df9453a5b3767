"""Block outputs of every layer, reduced in the hook to what is wanted: one mean per reply, and residual norms.

Our own hooks read the block outputs themselves; `output_hidden_states[-1]` is after the final norm (measured: cosine
0.38 to the block's output). Only the decoder runs, never the head. Position 0, an attention sink whose norm is a
hundred times the others', is left out of the norms.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor

from daemon.steering.forward import run
from daemon.steering.layout import hidden_of
from daemon.steering.loading import LoadedModel
from daemon.steering.trees import Batch, Tree, batch, by_length

TOKENS = 1024


@dataclass(frozen=True)
class Activations:
    """`replies` (n trees, replies a tree, n_layers, hidden) float64 means over reply tokens; `norms` (n_layers,)."""

    replies: Tensor
    norms: Tensor


def reply_means(
    loaded: LoadedModel, trees: Sequence[Tree], replies: int, done: Callable[[int], None] = lambda _: None
) -> Activations:
    """Mean block output over each reply's tokens, for trees that hold `replies` replies each, in every layer."""
    layers = loaded.layout.n_layers
    means = torch.zeros(len(trees), replies, layers, loaded.layout.hidden_size, dtype=torch.float64)
    norms: list[list[Tensor]] = [[] for _ in range(layers)]
    finished = 0
    for rows in by_length(trees, TOKENS):
        chosen = [trees[row] for row in rows]
        gathered = _one_batch(loaded, chosen, replies, norms)
        means[torch.tensor(rows)] = gathered
        finished += len(rows)
        done(finished)
    return Activations(means, torch.stack([torch.cat(each).median() for each in norms]).to(torch.float64))


def _one_batch(loaded: LoadedModel, trees: list[Tree], replies: int, norms: list[list[Tensor]]) -> Tensor:
    packed = batch(trees)
    pick = _reply_weights(trees, packed, replies)  # (b, replies, T) float64, rows sum to 1
    real = torch.tensor([[0 < i < len(t) for i in range(packed.ids.shape[1])] for t in trees])
    means = torch.zeros(len(trees), replies, loaded.layout.n_layers, loaded.layout.hidden_size, dtype=torch.float64)

    def reader(layer: int) -> Callable[..., None]:
        def read(_module: object, _args: object, output: object) -> None:
            hidden = hidden_of(output).to(torch.float64)
            means[:, :, layer] = torch.einsum("brt,btd->brd", pick, hidden)
            norms[layer].append(hidden.norm(dim=-1)[real])

        return read

    with ExitStack() as hooks, torch.no_grad():
        for layer, block in enumerate(loaded.layout.blocks):
            hooks.callback(block.register_forward_hook(reader(layer)).remove)
        run(loaded.model, packed)
    return means


def _reply_weights(trees: list[Tree], packed: Batch, replies: int) -> Tensor:
    weights = torch.zeros(len(trees), replies, packed.ids.shape[1], dtype=torch.float64)
    for row, each in enumerate(trees):
        for column, branch in enumerate(each.branch):
            if branch:
                weights[row, branch - 1, column] = 1.0
    return weights / weights.sum(dim=-1, keepdim=True).clamp_min(1.0)
