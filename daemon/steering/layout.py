"""Where things are in a model, found from the model itself: decoder, blocks, head, and what each linear map does.

No table of architectures: the decoder is what transformers calls it, the blocks are its one list of the right length,
and roles come from watching one small forward pass.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from daemon.errors import DataError


@dataclass(frozen=True)
class Layout:
    """The decoder, its blocks from input to output, the head, and the residual stream's width."""

    decoder: nn.Module
    blocks: tuple[nn.Module, ...]
    head: nn.Module
    hidden_size: int

    @property
    def n_layers(self) -> int:
        """Number of blocks."""
        return len(self.blocks)


@dataclass(frozen=True)
class Target:
    """A linear map of one block, by its name in the model."""

    name: str
    module: nn.Module
    layer: int


def find_layout(model: Any) -> Layout:
    """The layout of a causal language model.

    Raises:
        DataError: It has no decoder, or no list of blocks of the length that its configuration states.
    """
    config = model.config.get_text_config()
    decoder = model.get_decoder()
    lists = [m for m in decoder.modules() if isinstance(m, nn.ModuleList) and len(m) == config.num_hidden_layers]
    if not lists:
        raise DataError(f"{type(model).__name__}: found no list of {config.num_hidden_layers} blocks in its decoder")
    head = model.get_output_embeddings()
    return Layout(decoder, tuple(lists[0]), head, config.hidden_size)


def hidden_of(output: Any) -> Tensor:
    """A block's output (batch, tokens, hidden), whether it comes alone or in a tuple."""
    hidden: Tensor = output[0] if isinstance(output, tuple) else output
    return hidden


def with_hidden(output: Any, hidden: Tensor) -> Any:
    """The same output with another hidden state."""
    return (hidden, *output[1:]) if isinstance(output, tuple) else hidden


def _is_fused(layout: Layout, roles: dict[str, tuple[str, ...]]) -> bool:
    first, output = (layout.blocks[0].get_submodule(roles[role][0]) for role in ("query", "writers"))
    return out_in(first)[0] != out_in(output)[1]


@dataclass
class _Call:
    """One call of a linear map in the dry run: its input's dependence on position 0, seen at position 1."""

    name: str
    module: nn.Module
    depends: bool


def find_targets(model: nn.Module, layout: Layout, which: Literal["writers", "query"], last_layer: int) -> list[Target]:
    """Linear maps by role in blocks 0..`last_layer`.

    `writers`: the attention's output and the MLP's last map, which write to the residual stream. `query`: the
    attention's first map.

    Raises:
        DataError: A block has no such map, for instance a fused query.
    """
    names = {module: name for name, module in model.named_modules()}
    roles = _roles(layout)
    if which == "query" and _is_fused(layout, roles):
        raise DataError("targets 'query': this model computes query, key and value in one map; use 'writers'")
    found = []
    for layer in range(last_layer + 1):
        for path in roles[which]:
            module = layout.blocks[layer].get_submodule(path)
            found.append(Target(names[module], module, layer))
    return found


def mlp_down(layout: Layout, layer: int) -> nn.Module:
    """The last linear map of the MLP in block `layer`: (features) → (hidden)."""
    return layout.blocks[layer].get_submodule(_roles(layout)["writers"][1])


def out_in(module: nn.Module) -> tuple[int, int]:
    """(outputs, inputs) of a linear map; GPT-2's Conv1D keeps its weight transposed."""
    weight: Tensor = module.weight  # type: ignore[assignment]
    a, b = weight.shape
    return (b, a) if _is_conv1d(module) else (a, b)


def is_linear(module: nn.Module) -> bool:
    """Whether it is a linear map: torch's, or GPT-2's Conv1D."""
    return isinstance(module, nn.Linear) or _is_conv1d(module)


def _is_conv1d(module: nn.Module) -> bool:
    return type(module).__name__ == "Conv1D"


def _roles(layout: Layout) -> dict[str, tuple[str, ...]]:
    """Paths inside a block by role, from block 0 of a dry run."""
    calls = _dry_run(layout)
    mixing = next((i for i, call in enumerate(calls) if call.depends), None)
    if mixing is None:
        raise DataError("no linear map of the first block sees other positions; is there attention in it?")
    output = calls[mixing]
    attention = output.name.split(".")[0]
    rest = [call for call in calls if call.name.split(".")[0] != attention]
    downs = [call for call in rest if out_in(call.module)[0] == layout.hidden_size]
    if not downs:
        raise DataError("the first block has no linear map outside its attention that writes to the residual stream")
    first = next(call for call in calls if call.name.split(".")[0] == attention)
    return {"writers": (output.name, downs[-1].name), "query": (first.name,)}


def _dry_run(layout: Layout) -> list[_Call]:
    """Linear maps of block 0 in the order of execution, in two passes that differ at position 0 only."""
    device = next(layout.decoder.parameters()).device
    seen: list[list[tuple[str, nn.Module, Tensor]]] = []
    for first_token in (1, 2):
        ids = torch.tensor([[first_token, 3, 4]], device=device)
        with _watched(layout.blocks[0]) as calls, torch.no_grad():
            layout.decoder(input_ids=ids, use_cache=False)
        seen.append(calls)
    return [
        _Call(name, module, not torch.equal(one, two))
        for (name, module, one), (_, _, two) in zip(seen[0], seen[1], strict=True)
    ]


@contextmanager
def _watched(block: nn.Module) -> Iterator[list[tuple[str, nn.Module, Tensor]]]:
    """Record the input at position 1 of every linear map in `block`."""
    calls: list[tuple[str, nn.Module, Tensor]] = []

    def hook(name: str) -> Any:
        def record(module: nn.Module, args: tuple[Tensor, ...]) -> None:
            flat = args[0].reshape(-1, args[0].shape[-1])
            calls.append((name, module, flat[min(1, len(flat) - 1)].clone()))

        return record

    handles = [m.register_forward_pre_hook(hook(name)) for name, m in block.named_modules() if is_linear(m)]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()
