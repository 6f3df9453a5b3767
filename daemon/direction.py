"""How far two vectors point apart, layer by layer."""

import numpy as np
from numpy.typing import NDArray


def cosines(one: bytes, other: bytes, width: int) -> list[float | None]:
    """Cosine of each layer that both have; None where one is zero.

    Both are matrices (layers, width), float32 little-endian, from layer 0 on; one may end sooner.
    """
    a, b = (np.frombuffer(data, dtype="<f4").reshape(-1, width).astype(np.float64) for data in (one, other))
    return [_cosine(x, y) for x, y in zip(a, b, strict=False)]


def _cosine(x: NDArray[np.float64], y: NDArray[np.float64]) -> float | None:
    norms = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(np.clip(x @ y / norms, -1.0, 1.0)) if norms else None
