"""The matrices that a bake may change, their clean values, and the proof that they are clean.

A teacher taken from weights that were already baked once looks like a finding (a random vector "had" 0.58 of the
effect), so `assert_clean` stands before every teacher.
"""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from daemon.errors import MismatchError

Change = Mapping[str, Tensor]
"""What is added to the clean values, by parameter name; a missing name means nothing is added."""


def tensor_sha256(tensor: Tensor) -> str:
    """Of shape, dtype and bytes."""
    raw = tensor.detach().cpu().contiguous()
    found = hashlib.sha256(f"{tuple(raw.shape)} {raw.dtype} ".encode())
    found.update(raw.view(torch.uint8).numpy().tobytes() if raw.ndim else str(raw.item()).encode())
    return found.hexdigest()


class TouchedWeights:
    """Parameters by name, with a copy of the values they had when this was made."""

    def __init__(self, parameters: Mapping[str, nn.Parameter]) -> None:
        self.parameters = dict(parameters)
        self.clean = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}
        self.sha256 = {name: tensor_sha256(value) for name, value in self.clean.items()}

    def assert_clean(self) -> None:
        """See that the model in memory is the base.

        Raises:
            MismatchError: a matrix differs from what it was; its name is in the message.
        """
        for name, parameter in self.parameters.items():
            if tensor_sha256(parameter) != self.sha256[name]:
                raise MismatchError(
                    f"{name}: changed since the base was loaded; a teacher must come from clean weights, restore them"
                )

    @torch.no_grad()
    def put(self, change: Change, scale: float = 1.0) -> None:
        """Make every parameter clean + scale · change."""
        for name, parameter in self.parameters.items():
            parameter.copy_(self.clean[name])
            if name in change:
                parameter.add_(change[name].to(parameter), alpha=scale)

    def restore(self) -> None:
        """Make every parameter clean."""
        self.put({})

    def values(self) -> dict[str, Tensor]:
        """Copies of the current values."""
        return {name: parameter.detach().clone() for name, parameter in self.parameters.items()}

    @torch.no_grad()
    def load(self, values: Mapping[str, Tensor]) -> None:
        """Take up values that `values` gave."""
        for name, value in values.items():
            self.parameters[name].copy_(value)

    def change(self) -> dict[str, Tensor]:
        """Current − clean, of the parameters that differ, on the CPU."""
        moved = [name for name, parameter in self.parameters.items() if not torch.equal(parameter, self.clean[name])]
        return {name: (self.parameters[name].detach() - self.clean[name]).cpu() for name in moved}

    def relative_size(self, change: Change) -> float:
        """‖change‖ / ‖clean‖ over all touched matrices."""
        moved = sum(float(value.double().square().sum()) for value in change.values())
        whole = sum(float(value.double().square().sum()) for value in self.clean.values())
        return float((moved / whole) ** 0.5)
