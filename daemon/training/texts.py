"""What a pass reads: pairs and neutral texts as trees, and the results taken apart again by reply."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from daemon.training import forward
from daemon.training.trees import Tree, batch, by_length, tree

TOKENS_PER_BATCH = 768


@dataclass(frozen=True)
class EncodedPair:
    """Token ids of one pair; the replies include what ends a turn."""

    prompt: tuple[int, ...]
    positive: tuple[int, ...]
    negative: tuple[int, ...]
    group: str


@dataclass(frozen=True)
class PairTexts:
    """Pairs as trees. `owners[t]` are the reply numbers (2 · pair for the positive, + 1 for the negative) of tree t."""

    trees: tuple[Tree, ...]
    owners: tuple[tuple[int, ...], ...]
    groups: tuple[str, ...]

    def of_pairs(self, pairs: Sequence[int]) -> list[int]:
        """The trees that hold the replies of `pairs`."""
        wanted = set(pairs)
        return [number for number, owners in enumerate(self.owners) if owners[0] // 2 in wanted]


def pair_texts(pairs: Sequence[EncodedPair], shared: bool) -> PairTexts:
    """One tree a pair where the prompt may be shared, else one a reply."""
    trees: list[Tree] = []
    owners: list[tuple[int, ...]] = []
    for number, pair in enumerate(pairs):
        replies = (pair.positive, pair.negative)
        if shared:
            trees.append(tree(pair.prompt, replies))
            owners.append((2 * number, 2 * number + 1))
        else:
            trees += [tree(pair.prompt, [reply]) for reply in replies]
            owners += [(2 * number,), (2 * number + 1,)]
    return PairTexts(tuple(trees), tuple(owners), tuple(pair.group for pair in pairs))


def shares_exactly(model: nn.Module, pair: EncodedPair) -> bool:
    """Whether this model reads a pair as one tree and as two sequences alike (to 1e-3 of the largest value)."""
    together = read(model, pair_texts([pair], shared=True).trees)[0]["final"]
    apart = torch.cat([each["final"] for each in read(model, pair_texts([pair], shared=False).trees)])
    return bool((together - apart).abs().max() <= 1e-3 * apart.abs().max())


def read(
    model: nn.Module,
    trees: Sequence[Tree],
    blocks: dict[int, nn.Module] | None = None,
    inputs: dict[str, nn.Module] | None = None,
) -> list[dict[str, Tensor]]:
    """What each tree gives at its slots, without gradients: "final", "block.<l>" and the watched inputs, (n, k) each."""
    found: list[dict[str, Tensor]] = [{} for _ in trees]
    for members in by_length(trees, TOKENS_PER_BATCH):
        with torch.no_grad():
            outputs = forward.run(model, batch([trees[i] for i in members]), blocks, inputs)
        sizes = [len(trees[i].slots) for i in members]
        for name, value in _named(outputs).items():
            for i, part in zip(members, value.split(sizes), strict=True):
                found[i][name] = part.clone()
    return found


def _named(outputs: forward.Outputs) -> dict[str, Tensor]:
    return {"final": outputs.final, **{f"block.{l}": value for l, value in outputs.blocks.items()}, **outputs.inputs}


def joined(readings: Sequence[dict[str, Any]], name: str) -> Tensor:
    """One reading of many trees, (sum of n, k), in their order."""
    return torch.cat([reading[name] for reading in readings])


def targets(trees: Sequence[Tree]) -> Tensor:
    """The predicted tokens of all slots, in order."""
    return torch.tensor([slot.target for each in trees for slot in each.slots], dtype=torch.long)


def slot_owners(texts: PairTexts) -> Tensor:
    """For every slot of all trees in order, the number of the reply that it belongs to."""
    pairs = zip(texts.trees, texts.owners, strict=True)
    return torch.tensor([owners[slot.reply] for each, owners in pairs for slot in each.slots], dtype=torch.long)
