"""What a pass reads, item by item: final hidden states, block outputs and watched inputs where a prediction counts.

The decoder runs without its head; a teacher is then kept as hidden states (n, d) rather than as log-probabilities
(n, vocabulary): the head is never trained, so nothing is lost.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from daemon.steering.exactness import batches_of
from daemon.steering.forward import decode
from daemon.steering.layout import Layout, hidden_of
from daemon.steering.text import EncodedReply
from daemon.steering.trees import Batch

Reading = dict[str, Tensor]
"""Of one item: "final" (n, d) after the last norm, "block.<l>" (n, d), and watched inputs (n, k), n scored tokens."""


@dataclass(frozen=True)
class Watch:
    """What to read beside the final states: outputs of blocks by number, inputs of modules by name."""

    blocks: Mapping[int, nn.Module]
    inputs: Mapping[str, nn.Module]


NOTHING = Watch({}, {})


@dataclass(frozen=True)
class PairTexts:
    """Both replies of every pair in turn (item 2 i + r), and the group of every pair."""

    items: tuple[EncodedReply, ...]
    groups: tuple[str, ...]

    def of_pairs(self, pairs: Sequence[int]) -> list[int]:
        """The items of some pairs."""
        return [item for pair in pairs for item in (2 * pair, 2 * pair + 1)]


def run(layout: Layout, items: Sequence[EncodedReply], tries: bool, watch: Watch = NOTHING) -> Reading:
    """One reading of all `items` together, in their order; gradients flow if they are enabled.

    The hooks that read are registered here, hence after any hook that steers: they see what the next block sees.
    """
    parts: list[Reading] = []
    owners: list[Tensor] = []
    for batch in batches_of(layout, items, tries=tries):
        found: Reading = {}
        with _watched(watch, batch, found):
            found["final"] = decode(layout, batch)
        parts.append(found)
        owners.append(batch.owners)
    order = torch.argsort(torch.cat(owners), stable=True)
    return {name: torch.cat([part[name] for part in parts])[order] for name in parts[0]}


def read(layout: Layout, items: Sequence[EncodedReply], tries: bool, watch: Watch = NOTHING) -> list[Reading]:
    """The reading of each item, without gradients, on the CPU: it is kept for long."""
    if not items:
        return []
    with torch.no_grad():
        together = {name: value.cpu() for name, value in run(layout, items, tries, watch).items()}
    sizes = [len(item.reply_ids) for item in items]
    apart = {name: torch.split(value, sizes) for name, value in together.items()}
    return [{name: values[i].clone() for name, values in apart.items()} for i in range(len(items))]


def joined(readings: Sequence[Reading], name: str) -> Tensor:
    """One entry of many readings, (sum of n, k), in their order."""
    return torch.cat([reading[name] for reading in readings])


def targets(items: Sequence[EncodedReply]) -> Tensor:
    """The scored tokens of all items, in order."""
    return torch.tensor([token for item in items for token in item.reply_ids], dtype=torch.long)


def past_the_first(items: Sequence[EncodedReply]) -> Tensor:
    """Bool for every scored token in order: whether it is predicted elsewhere than at position 0.

    Position 0 is an attention sink whose features dwarf all others; the hook leaves it alone, and so must a gate's fit.
    """
    return torch.tensor([len(item.prompt_ids) + i > 1 for item in items for i in range(len(item.reply_ids))])


def item_means(items: Sequence[EncodedReply], values: Tensor) -> Tensor:
    """Values (n,) of the scored tokens in order → mean of each item (items,), float64."""
    parts = torch.split(values.to(torch.float64), [len(item.reply_ids) for item in items])
    return torch.stack([part.mean() for part in parts])


@contextmanager
def _watched(watch: Watch, batch: Batch, found: Reading) -> Iterator[None]:
    def output(name: str, _module: nn.Module, _args: Any, value: Any) -> None:
        found[name] = hidden_of(value)[batch.rows, batch.before]

    def entered(name: str, _module: nn.Module, args: tuple[Tensor, ...]) -> None:
        found[name] = args[0][batch.rows, batch.before]

    handles = [b.register_forward_hook(partial(output, f"block.{layer}")) for layer, b in watch.blocks.items()]
    handles += [m.register_forward_pre_hook(partial(entered, name)) for name, m in watch.inputs.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
