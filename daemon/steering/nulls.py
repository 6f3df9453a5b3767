"""Baselines of equal norm: what any push, and what the same pairs without their labels, would do.

A shuffled baseline swaps the labels of one half of the training pairs, so nothing of the direction is left but chance.
Swapped by coins, a few heads too many would leave some of it, and scaling to equal norm would blow that up.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from daemon.protocol import Null, Progress
from daemon.steering.calibrate import PreparedPairs

OnProgress = Callable[[Progress], None]


def measure_nulls(
    pairs: PreparedPairs,
    layer: int,
    norm: float,
    differences: Tensor | None,
    counts: tuple[int, int],
    seed: int,
    on_progress: OnProgress,
) -> tuple[Null, ...]:
    """Mean effects, nats a token, of `counts` = (random, shuffled) vectors of length `norm` at `layer`.

    `differences` (n, hidden) are those of the training pairs at that layer; without them there are no shuffled ones.
    """
    hidden = pairs.prepared.loaded.layout.hidden_size
    kinds = ["random"] * counts[0] + ["shuffled"] * (0 if differences is None else counts[1])
    found = []
    for number, kind in enumerate(kinds):
        own = number if kind == "random" else number - counts[0]
        generator = torch.Generator().manual_seed(2 * (1000 * seed + own) + (kind == "random"))
        raw = (
            random_direction(hidden, generator)
            if differences is None or kind == "random"
            else shuffled(differences, generator)
        )
        effect = float(pairs.effects(layer, _of_length(raw, norm)).mean())
        found.append(Null.model_validate({"kind": kind, "seed": own, "effect": effect}))
        on_progress(Progress(stage="baselines", done=number + 1, total=len(kinds)))
    return tuple(found)


def random_direction(hidden: int, generator: torch.Generator) -> Tensor:
    """Gaussian (hidden,) float64: every direction is as likely."""
    return torch.randn(hidden, generator=generator, dtype=torch.float64)


def shuffled(differences: Tensor, generator: torch.Generator) -> Tensor:
    """Mean of differences (n, hidden) with the sign of a random half turned; of an odd number one is left out."""
    order = torch.randperm(len(differences), generator=generator)
    half = len(order) // 2
    mixed: Tensor = differences[order[:half]].mean(dim=0) - differences[order[half : 2 * half]].mean(dim=0)
    return mixed


def _of_length(raw: Tensor, norm: float) -> Tensor:
    """`raw` scaled to `norm`, float32; zero stays zero."""
    scaled: Tensor = raw * (norm / raw.norm().clamp_min(1e-12))
    return scaled.to(torch.float32)
