"""The model as a bake sees it: where the vector acts, which matrices may change, and the vector itself."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from daemon.training.forward import steered
from daemon.training.weights import TouchedWeights

MATCHED_ABOVE = 4
"""Activations are matched at the vector's layer and this many blocks above it."""


@dataclass(frozen=True)
class Subject:
    """A model under treatment.

    `blocks` are all blocks; `down` is the MLP's down projection at `layer`, whose weight is named `down_name`; `trained`
    names the matrices that the optimizer may move, all of them and `down_name` being in `weights`. `shift` (d,) is
    coefficient · vector, what the hook adds.
    """

    model: nn.Module
    blocks: tuple[nn.Module, ...]
    layer: int
    down: nn.Module
    down_name: str
    trained: tuple[str, ...]
    weights: TouchedWeights
    shift: Tensor

    @property
    def matched(self) -> dict[int, nn.Module]:
        """The blocks whose outputs are matched."""
        above = min(self.layer + MATCHED_ABOVE, len(self.blocks) - 1)
        return {layer: self.blocks[layer] for layer in sorted({self.layer, above})}

    @contextmanager
    def hooked(self, shift: Tensor) -> Iterator[None]:
        """The clean base with `shift` added at `layer`.

        Raises:
            MismatchError: the weights are not clean.
        """
        self.weights.assert_clean()
        with steered(self.blocks[self.layer], shift):
            yield

    @contextmanager
    def changed(self, change: dict[str, Tensor], scale: float = 1.0) -> Iterator[None]:
        """The weights with scale · change in them, clean again afterwards."""
        self.weights.put(change, scale)
        try:
            yield
        finally:
            self.weights.restore()

    def rank1(self, shift: Tensor, gate: Tensor) -> dict[str, Tensor]:
        """The change that adds `shift` where `gate` opens; transposed for layers that store (in, out)."""
        outer = torch.outer(shift.double(), gate.double()).float()
        return {self.down_name: outer if isinstance(self.down, nn.Linear) else outer.T.contiguous()}

    def random_shift(self, seed: int) -> Tensor:
        """A random direction as long as `shift`, the same for the same seed."""
        generator = torch.Generator("cpu").manual_seed(seed)
        drawn = torch.randn(self.shift.shape, generator=generator, device="cpu")
        return drawn / drawn.norm() * self.shift.norm()
