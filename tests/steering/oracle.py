"""The same numbers the slow way: one sequence at a time, whole forward passes, no batches, no cache, no short cuts."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from daemon.steering.text import EncodedReply

PATHS = (
    "model.layers",
    "transformer.h",
    "gpt_neox.layers",
    "model.language_model.layers",
    "transformer.blocks",
    "model.decoder.layers",
    "backbone.layers",
    "biogpt.layers",
    "rwkv.blocks",
)


def block_list(model: Any) -> Any:
    """The blocks, by the names that these families happen to have."""
    for path in PATHS:
        try:
            return model.get_submodule(path)
        except AttributeError:
            continue
    raise AssertionError("unknown family")


@contextmanager
def hooked(model: Any, deltas: dict[int, Tensor], seen: dict[int, Tensor]) -> Iterator[None]:
    """Add deltas to block outputs at columns ≥ 1 of an unpadded row; note what the next block gets."""

    def hook(layer: int) -> Any:
        def act(_module: object, _args: object, output: Any) -> Any:
            several = isinstance(output, tuple | list)
            hidden = (output[0] if several else output).clone()
            if layer in deltas:
                hidden[:, 1:] += deltas[layer]
            seen[layer] = hidden
            return type(output)([hidden, *output[1:]]) if several else hidden

        return act

    handles = [block.register_forward_hook(hook(i)) for i, block in enumerate(block_list(model))]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def run(model: Any, ids: Any, deltas: dict[int, Tensor] | None = None) -> tuple[Tensor, dict[int, Tensor]]:
    """(T, vocabulary) log-probabilities and {layer: (T, hidden)} block outputs of one sequence."""
    seen: dict[int, Tensor] = {}
    with hooked(model, deltas or {}, seen), torch.no_grad():
        logits = model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0]
    return logits.log_softmax(-1), {layer: hidden[0] for layer, hidden in seen.items()}


def reply_logprob(model: Any, item: EncodedReply, deltas: dict[int, Tensor] | None = None) -> float:
    told, _ = run(model, item.ids, deltas)
    start = len(item.prompt_ids)
    return float(sum(told[i - 1, item.ids[i]].double() for i in range(start, len(item.ids))) / len(item.reply_ids))


def reply_mean(model: Any, item: EncodedReply, layer: int) -> Tensor:
    _, seen = run(model, item.ids)
    return seen[layer][len(item.prompt_ids) :].double().mean(0)


def generate(model: Any, ids: list[int], deltas: dict[int, Tensor], new: int) -> list[int]:
    """Greedy, everything computed afresh for each token."""
    ids = list(ids)
    for _ in range(new):
        ids.append(int(run(model, ids, deltas)[0][-1].argmax()))
    return ids
