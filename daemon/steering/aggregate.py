"""From activations to one direction: plain functions (positives (n, d), negatives (n, d)) → (d,), float64.

Row i of both belongs to one pair. Every direction points from negative to positive.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Aggregate = Callable[[Tensor, Tensor], Tensor]


def mean_difference(positives: Tensor, negatives: Tensor) -> Tensor:
    """The mean of p − n. Source: Rimsky et al., arXiv:2312.06681 (CAA)."""
    return (positives - negatives).mean(dim=0)


def pca(positives: Tensor, negatives: Tensor) -> Tensor:
    """First right singular vector of the differences, *not* centred, with the length of the mean difference.

    Centring would remove the very mean that is wanted. Sign by the mean difference.
    """
    differences = positives - negatives
    direction = torch.linalg.svd(differences, full_matrices=False).Vh[0]
    mean = differences.mean(dim=0)
    sign = 1.0 if direction @ mean >= 0 else -1.0
    return sign * direction * mean.norm()


def logistic(positives: Tensor, negatives: Tensor, ridge: float = 1.0, steps: int = 50) -> Tensor:
    """Normal of the L2-regularised logistic boundary on standardised rows, with the length of the mean difference.

    Newton's method in the span of the 2n rows (kernel form, so that the cost is n³ and not d³).
    """
    rows = torch.cat([positives, negatives])
    centred = rows - rows.mean(dim=0)
    scale = centred.square().mean().sqrt().clamp_min(1e-12)
    x = centred / scale
    y = torch.cat([torch.ones(len(positives)), torch.zeros(len(negatives))]).to(x)
    kernel, weights = x @ x.T, torch.zeros(len(x)).to(x)
    for _ in range(steps):
        margins = kernel @ weights
        p = torch.sigmoid(margins)
        curvature = (p * (1 - p)).clamp_min(1e-6)
        target = margins + (y - p) / curvature
        step = torch.linalg.solve(kernel + torch.diag(ridge / curvature), target)
        if torch.allclose(step, weights, atol=1e-10):
            break
        weights = step
    direction = x.T @ weights
    return direction / direction.norm().clamp_min(1e-12) * mean_difference(positives, negatives).norm()


AGGREGATORS: dict[str, Aggregate] = {"mean_difference": mean_difference, "pca": pca, "logistic": logistic}


def coherence(differences: Tensor, direction: Tensor) -> float:
    """Mean cosine of the pair differences (n, d) to `direction` (d,): below about 0.1 there is no one direction."""
    norms = differences.norm(dim=1) * direction.norm()
    return float((differences @ direction / norms.clamp_min(1e-12)).mean())


def split_half_cosine(differences: Tensor, seed: int) -> float:
    """Cosine between the mean differences of two random halves of the pairs."""
    order = torch.randperm(len(differences), generator=torch.Generator().manual_seed(seed))
    half = len(order) // 2
    if half == 0:
        return 0.0
    one, two = differences[order[:half]].mean(dim=0), differences[order[half:]].mean(dim=0)
    return float(one @ two / (one.norm() * two.norm()).clamp_min(1e-12))
