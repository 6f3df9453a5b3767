"""What each linear map of a block does, found by trying: attention output, MLP down projection, query.

Every block is fed the same made-up input, so that each is judged by itself; hybrids, whose blocks differ, included.

    attention output   the first map whose input at position 1 depends on position 0
    MLP down           the last map outside the attention that gives the residual stream's width
    query              before the attention output; what it says at position 0 never reaches position 1
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from daemon.errors import DataError
from daemon.steering.layout import Layout

_POSITIONS = 2
_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Target:
    """A linear map by its name in the model; its weight is (outputs, inputs), in GPT-2's Conv1D (inputs, outputs)."""

    name: str
    module: nn.Module
    layer: int


@dataclass(frozen=True)
class _Call:
    """One call of a linear map: its path in the block, its input (2 rows, 2 positions, features), its width out."""

    path: str
    module: nn.Module
    entered: Tensor
    width: int


@dataclass(frozen=True)
class _Block:
    """The calls of one block in order, and which of them is the attention output."""

    calls: tuple[_Call, ...]
    attention: _Call | None


def find_targets(model: nn.Module, layout: Layout, kind: Literal["writers", "query"], last_layer: int) -> list[Target]:
    """Maps by role in the blocks 0..`last_layer`, in order: attention output and MLP down, or the query alone.

    A block that lacks one of them (a linear attention, experts) is passed over.

    Raises:
        DataError: No block has any, for instance since query, key and value are one map.
    """
    names = {module: name for name, module in model.named_modules()}
    layers = list(range(last_layer + 1))
    blocks = _observe(layout, layers)
    found = (
        _queries(layout, blocks) if kind == "query" else {layer: _writers(layout, blocks[layer]) for layer in layers}
    )
    targets = [Target(names[call.module], call.module, layer) for layer in layers for call in found.get(layer, [])]
    if not targets:
        raise DataError(f"{type(model).__name__}: no separate {kind} map in blocks 0..{last_layer}; use other targets")
    return targets


def mlp_down(model: nn.Module, layout: Layout, layer: int) -> nn.Module:
    """The down projection of the MLP in block `layer`: features → residual stream.

    Raises:
        DataError: The block has none.
    """
    down = _mlp_down(layout, _observe(layout, [layer])[layer])
    if down is None:
        raise DataError(
            f"{type(model).__name__}: block {layer} has no MLP that ends in one linear map; choose another layer"
        )
    return down.module


def is_linear(module: nn.Module) -> bool:
    """Whether it is a linear map: torch's, or GPT-2's Conv1D."""
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"


def _writers(layout: Layout, block: _Block) -> list[_Call]:
    return [call for call in (block.attention, _mlp_down(layout, block)) if call is not None]


def _mlp_down(layout: Layout, block: _Block) -> _Call | None:
    inside = _child(block.attention) if block.attention else None
    downs = [call for call in block.calls if call.width == layout.hidden_size and _child(call) != inside]
    return downs[-1] if downs else None


def _child(call: _Call) -> str:
    return call.path.split(".")[0]


def _queries(layout: Layout, blocks: dict[int, _Block]) -> dict[int, list[_Call]]:
    """The query map of each block that has one of its own."""
    candidates = {layer: _before_output(block) for layer, block in blocks.items()}
    verdicts: dict[int, list[tuple[int, _Call]]] = {layer: [] for layer in blocks}
    for turn in range(max((len(calls) for calls in candidates.values()), default=0)):
        tried = {layer: calls[turn] for layer, calls in candidates.items() if turn < len(calls)}
        first, second = (_reach(layout, blocks, tried, position) for position in range(_POSITIONS))
        for layer, call in tried.items():
            if second[layer][1] and not first[layer][1]:  # a gate moves position 0 too, a query does not
                verdicts[layer].append((int(first[layer][0]), call))
    return {layer: [min(found, key=lambda each: each[0])[1]] for layer, found in verdicts.items() if found}


def _before_output(block: _Block) -> list[_Call]:
    if block.attention is None:
        return []
    before = block.calls[: block.calls.index(block.attention)]
    return [call for call in before if _child(call) == _child(block.attention)]


def _reach(
    layout: Layout, blocks: dict[int, _Block], tried: dict[int, _Call], position: int
) -> dict[int, tuple[bool, bool]]:
    """Whether noise on a map's output at `position` reaches the attention output, at position 0 and at position 1."""
    handles = [call.module.register_forward_hook(_noise(position)) for call in tried.values()]
    try:
        seen = _watch(layout, list(tried), alike=True)
    finally:
        for handle in handles:
            handle.remove()
    reached = {}
    for layer in tried:
        output = blocks[layer].attention
        entered = next(call.entered for call in seen[layer] if output is not None and call.path == output.path)
        reached[layer] = (_differ(entered, 0), _differ(entered, 1))
    return reached


def _noise(position: int) -> Callable[..., Tensor]:
    """A hook that adds noise to the second row of an output, at one position."""

    def add(_module: nn.Module, _args: object, output: Tensor) -> Tensor:
        changed = output.clone()
        drawn = torch.randn(output.shape[-1], generator=torch.Generator().manual_seed(1))
        changed.view(2, _POSITIONS, -1)[1, position] += drawn.to(output)
        return changed

    return add


def _observe(layout: Layout, layers: list[int]) -> dict[int, _Block]:
    """The linear maps of each block, when its two rows differ at position 0 only."""
    blocks = {}
    for layer, calls in _watch(layout, layers, alike=False).items():
        attention = next((call for call in calls if _differ(call.entered, 1)), None)
        blocks[layer] = _Block(tuple(calls), attention)
    return blocks


def _differ(entered: Tensor, position: int) -> bool:
    one, two = entered[0, position], entered[1, position]
    return bool((one - two).abs().max() > _TOLERANCE * (1 + one.abs().max()))


def _watch(layout: Layout, layers: list[int], *, alike: bool) -> dict[int, list[_Call]]:
    """Run the decoder once; every block of `layers` gets a made-up input (2, 2, hidden), and its maps are recorded."""
    made = torch.randn(2, _POSITIONS, layout.hidden_size, generator=torch.Generator().manual_seed(0))
    made[1, int(not alike) :] = made[0, int(not alike) :]
    parameter = next(layout.decoder.parameters())
    calls: dict[int, list[_Call]] = {layer: [] for layer in layers}
    ids = torch.ones(2, _POSITIONS, dtype=torch.long, device=parameter.device)
    with _hooked(layout, calls, made.to(parameter)), torch.no_grad():
        layout.decoder(input_ids=ids, use_cache=False)
    return calls


@contextmanager
def _hooked(layout: Layout, calls: dict[int, list[_Call]], made: Tensor) -> Iterator[None]:
    def feed(
        _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return ((made, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": made})

    handles = []
    for layer, found in calls.items():
        handles.append(layout.blocks[layer].register_forward_pre_hook(feed, with_kwargs=True))
        handles += [
            module.register_forward_hook(_recorder(path, found))
            for path, module in layout.blocks[layer].named_modules()
            if is_linear(module)
        ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _recorder(path: str, found: list[_Call]) -> Callable[..., None]:
    def record(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        if args[0].numel() == 2 * _POSITIONS * args[0].shape[-1]:  # an expert sees some of the tokens only
            entered = args[0].detach().reshape(2, _POSITIONS, -1).clone()
            found.append(_Call(path, module, entered, output.shape[-1]))

    return record
