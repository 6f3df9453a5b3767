"""The model as a bake sees it: where the vector acts, which matrices may change, and the vector itself."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from daemon.steering.apply import steer
from daemon.steering.forward import kl, logits
from daemon.steering.layout import Layout
from daemon.steering.text import EncodedReply
from daemon.training.texts import NOTHING, Reading, Watch, read, run
from daemon.training.weights import Change, TouchedWeights

HEAD_ROWS = 256
MATCHED_ABOVE = 4
"""Activations are matched where the vector is added, and this many blocks above the last of these."""


Shifts = Mapping[int, Tensor]
"""What a hook adds, (d,) for each block: coefficient · vector."""


@dataclass(frozen=True)
class Place:
    """The MLP's down projection in a block that the vector is added to, its weight named `down_name`."""

    down: nn.Module
    down_name: str

    def added(self, shift: Tensor, gate: Tensor) -> Tensor:
        """The change of its weight that adds `shift` where `gate` opens; transposed where it is stored (in, out)."""
        outer = torch.outer(shift.double(), gate.double()).float()
        return outer if isinstance(self.down, nn.Linear) else outer.T.contiguous()


@dataclass(frozen=True)
class Subject:
    """A model under treatment.

    The vector acts at `places`, by block; `shifts` are what the hook adds there. `trained` names the matrices that the
    optimizer may move; they and those of the places are in `weights`. `tries` says whether items may share their
    beginnings in a pass.
    """

    model: Any
    layout: Layout
    places: Mapping[int, Place]
    trained: tuple[str, ...]
    weights: TouchedWeights
    shifts: Shifts
    tries: bool

    @property
    def layer(self) -> int:
        """The last block that the vector is added to."""
        return max(self.places)

    @property
    def matched(self) -> dict[int, nn.Module]:
        """The blocks whose outputs are matched."""
        above = min(self.layer + MATCHED_ABOVE, self.layout.n_layers - 1)
        return {layer: self.layout.blocks[layer] for layer in sorted({*self.places, above})}

    def run(self, items: Sequence[EncodedReply], watch: Watch = NOTHING) -> Reading:
        """All items in one reading, with gradients if they are enabled."""
        return run(self.layout, items, self.tries, watch)

    def read(self, items: Sequence[EncodedReply], watch: Watch = NOTHING) -> list[Reading]:
        """A reading of each item, without gradients."""
        return read(self.layout, items, self.tries, watch)

    def log_probabilities(self, final: Tensor) -> Tensor:
        """(n, d) after the last norm → (n, vocabulary), on the model's device."""
        return logits(self.model, self.layout, final.to(self.layout.device)).log_softmax(dim=-1)

    def divergences(self, base: Tensor, other: Tensor) -> Tensor:
        """KL(base ‖ other) (n,) float64 of final states, without gradients, on the CPU."""
        with torch.no_grad():
            parts = [kl(*map(self.log_probabilities, parts)).double() for parts in _chunks(base, other)]
            return torch.cat(parts).cpu()

    def scores(self, final: Tensor, tokens: Tensor) -> Tensor:
        """Log P (n,) float64 of tokens, from final states, without gradients, on the CPU."""
        with torch.no_grad():
            return torch.cat([_told(self.log_probabilities(h), t) for h, t in _chunks(final, tokens)]).cpu()

    def compared(self, base: Tensor, final: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """KL(base ‖ other) and log P of tokens under the other, (n,) float64 each: the head runs once for both."""
        drift, scores = [], []
        with torch.no_grad():
            for (one, two), (_, wanted) in zip(_chunks(base, final), _chunks(base, tokens), strict=True):
                told = self.log_probabilities(two)
                drift.append(kl(self.log_probabilities(one), told).double())
                scores.append(_told(told, wanted))
        return torch.cat(drift).cpu(), torch.cat(scores).cpu()

    @contextmanager
    def hooked(self, shifts: Shifts) -> Iterator[None]:
        """The clean base with `shifts` added.

        Raises:
            MismatchError: the weights are not clean.
        """
        self.weights.assert_clean()
        with steer(self.layout, dict(shifts)):
            yield

    @contextmanager
    def changed(self, change: Change, scale: float = 1.0) -> Iterator[None]:
        """The weights with scale · change in them, clean again afterwards."""
        self.weights.put(change, scale)
        try:
            yield
        finally:
            self.weights.restore()

    def rank1(self, shifts: Shifts, gates: Mapping[int, Tensor]) -> dict[str, Tensor]:
        """The change that adds each block's shift where its gate opens."""
        return {place.down_name: place.added(shifts[layer], gates[layer]) for layer, place in self.places.items()}

    def random_shifts(self, seed: int) -> dict[int, Tensor]:
        """Random directions as long as `shifts`, the same for the same seed."""
        generator = torch.Generator("cpu").manual_seed(seed)
        drawn = {
            layer: torch.randn(shift.shape, generator=generator, device="cpu") for layer, shift in self.shifts.items()
        }
        return {layer: drawn[layer] / drawn[layer].norm() * shift.norm() for layer, shift in self.shifts.items()}


def _told(predicted: Tensor, tokens: Tensor) -> Tensor:
    """Log-probabilities (n, vocabulary) → of the tokens (n,), float64."""
    return predicted.gather(1, tokens.to(predicted.device)[:, None])[:, 0].double()


def _chunks(one: Tensor, other: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Both, `HEAD_ROWS` rows at a time: the head's output is never held as a whole."""
    yield from zip(torch.split(one, HEAD_ROWS), torch.split(other, HEAD_ROWS), strict=True)
