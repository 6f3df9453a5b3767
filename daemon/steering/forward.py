"""One forward pass over a batch of trees, read only where a prediction counts.

The decoder runs without its head; final hidden states at the slots go through the head alone. A teacher is then kept
as hidden states (n, d) rather than as log-probabilities (n, vocabulary): the head is never trained, so nothing is lost.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from daemon.steering.trees import Batch


@dataclass(frozen=True)
class Outputs:
    """What a pass gave at the slots of a batch.

    `final` (n, d) is the decoder's output after its last norm; `blocks[l]` (n, d) the output of block l before it;
    `inputs[name]` (n, k) what went into a module that was watched.
    """

    final: Tensor
    blocks: dict[int, Tensor] = field(default_factory=dict)
    inputs: dict[str, Tensor] = field(default_factory=dict)


def run(
    model: nn.Module,
    batch: Batch,
    blocks: Mapping[int, nn.Module] | None = None,
    inputs: Mapping[str, nn.Module] | None = None,
) -> Outputs:
    """Run the decoder; gradients flow if they are enabled.

    The hooks that read are registered here, hence after any hook that steers: they see what the next block sees.
    """
    seen: dict[int, Tensor] = {}
    entered: dict[str, Tensor] = {}
    with ExitStack() as hooks:
        for layer, block in (blocks or {}).items():
            hooks.enter_context(_watch_output(block, batch, lambda value, key=layer: seen.__setitem__(key, value)))
        for name, module in (inputs or {}).items():
            hooks.enter_context(_watch_input(module, batch, lambda value, key=name: entered.__setitem__(key, value)))
        decoder = model.get_decoder()  # type: ignore[operator]
        output = decoder(
            input_ids=batch.ids, position_ids=batch.positions, attention_mask=batch.mask, use_cache=False
        ).last_hidden_state
    return Outputs(output[batch.rows, batch.columns], seen, entered)


def log_probabilities(model: nn.Module, hidden: Tensor) -> Tensor:
    """(n, d) after the last norm → (n, vocabulary) log-probabilities, scaled as the configuration asks."""
    config: Any = model.config
    logits = model.get_output_embeddings()(hidden)  # type: ignore[operator]
    logits = logits * (getattr(config, "logit_scale", None) or 1.0) / (getattr(config, "logits_scaling", None) or 1.0)
    cap = getattr(config, "final_logit_softcapping", None)
    if cap:
        logits = torch.tanh(logits / cap) * cap
    return torch.log_softmax(logits.float(), dim=-1)


def divergence(teacher: Tensor, student: Tensor) -> Tensor:
    """KL(teacher ‖ student) in nats at each of n positions, of log-probabilities (n, vocabulary)."""
    return (teacher.exp() * (teacher - student)).sum(dim=-1)


@contextmanager
def _watch_output(module: nn.Module, batch: Batch, keep: Callable[[Tensor], None]) -> Iterator[None]:
    def read(_module: nn.Module, _args: Any, output: Any) -> None:
        hidden = output[0] if isinstance(output, tuple) else output
        keep(hidden[batch.rows, batch.columns])

    handle = module.register_forward_hook(read)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _watch_input(module: nn.Module, batch: Batch, keep: Callable[[Tensor], None]) -> Iterator[None]:
    def read(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
        keep(args[0][batch.rows, batch.columns])

    handle = module.register_forward_pre_hook(read)
    try:
        yield
    finally:
        handle.remove()
