"""The closed-form gated bake: one ridge solve gives a rank-1 change of one matrix that adds v on replies only.

    u = argmin  mean_reply (u·m − 1)²  +  Σ_k μ_k · mean_k (u·m)²  +  λ d̄ ‖u‖²          then u ← u / mean_reply(u·m)
    W_down(L) ← W_down(L) + s · c · v uᵀ

m is the input of the MLP's down projection at layer L; k runs over the texts that must stay as they are (neutral
text, replies of behaviours that were trained before), d̄ is the mean diagonal of the weighted Gram matrix and λ the
relative ridge.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from daemon.errors import DataError

_SHUT = 1e-6
"""A fitted mean opening lies between 0 and 1; below this it is rounding."""


@dataclass(frozen=True)
class Moments:
    """Mean (d,) and mean outer product (d, d) of `count` feature vectors, float64."""

    count: int
    mean: Tensor
    gram: Tensor

    @classmethod
    def of(cls, features: Tensor) -> Self:
        """Of features (n, d)."""
        wide = features.to(torch.float64)
        n = wide.shape[0]
        return cls(n, wide.mean(dim=0), wide.T @ wide / n)


def solve_gate(replies: Moments, quiet: list[tuple[float, Moments]], ridge: float) -> Tensor:
    """The gate u (d,), float64: mean 1 over the replies, near 0 over the `quiet` samples (each with its weight μ).

    Raises:
        DataError: no gate separates them (the mean gate over the replies is not positive).
    """
    gram = replies.gram + sum((weight * sample.gram for weight, sample in quiet), torch.zeros_like(replies.gram))
    damped = gram + ridge * gram.diagonal().mean() * torch.eye(len(gram), dtype=torch.float64)
    u = torch.linalg.solve(damped, replies.mean)
    opened = float(u @ replies.mean)
    if not opened > _SHUT:
        raise DataError("gated solve: replies cannot be told from neutral text; give more pairs or less gate_ridge")
    gate: Tensor = u / opened
    return gate
