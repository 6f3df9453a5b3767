"""What is known of a vector before anything is steered: do pairs agree, does it separate replies it never saw?

    coherence     mean cosine of a training pair's difference to the mean of the others'
    split half    cosine between the vectors of two random halves of the training pairs
    d′            Fisher's, of held-out positive and negative replies along the vector

That the first and the last foretell steerability: arXiv:2505.22637 (36 data sets).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from daemon.protocol import LayerPrediction, VerifySettings
from daemon.steering.contrast import Contrast
from daemon.steering.moments import d_prime, moments
from daemon.steering.vector_file import VectorFile


@dataclass(frozen=True)
class _Bar:
    """One of the numbers, in words, and what is asked of it."""

    number: str
    words: str
    least: float


def predict(file: VectorFile, train: Contrast | None, held_out: Contrast, seed: int) -> tuple[LayerPrediction, ...]:
    """For each layer that was read; without training pairs coherence is what the file says, and split half unknown."""
    depth = held_out.n_layers
    separation = separations(held_out, torch.from_numpy(file.vectors[:depth]))
    if train is None:
        known: list[float | None] = [*file.coherence, *[None] * depth][:depth]
        halves: list[float | None] = [None] * depth
    else:
        found = moments(train.pairs, len(train.keys), seed)
        known, halves = found.coherence.tolist(), found.split_half_cosine.tolist()
    return tuple(
        LayerPrediction(layer=layer, coherence=known[layer], split_half_cosine=halves[layer], d_prime=separation[layer])
        for layer in range(depth)
    )


def separations(read: Contrast, vectors: Tensor) -> list[float]:
    """(μ₊ − μ₋) / √((σ₊² + σ₋²) / 2) of replies projected on `vectors` (layers, hidden), one number a layer."""
    along = torch.stack(list(_projected(read, vectors.to(torch.float64))))  # (pairs, 2, layers)
    found: list[float] = d_prime(along[:, 0], along[:, 1]).tolist()
    return found


def _projected(read: Contrast, vectors: Tensor) -> Iterator[Tensor]:
    for sides in read.pairs():
        yield torch.stack([(side.to(torch.float64) * vectors).sum(dim=1) for side in sides])


def steerable(
    predictions: tuple[LayerPrediction, ...], layers: list[int], settings: VerifySettings
) -> tuple[list[int], str]:
    """Those of `layers` that meet every bar, and why there are none, if there are none.

    A number that nobody knows counts as met. d′ counts without its sign: polarity is settled on validation pairs later.
    """
    bars = (
        _Bar("coherence", "mean cosine of a pair's difference to that of the others", settings.min_coherence),
        _Bar("split_half_cosine", "cosine between the vectors of two halves of the pairs", settings.min_split_half),
        _Bar("d_prime", "separation (d′) of held-out replies", settings.min_d_prime),
    )
    missed = {layer: [bar for bar in bars if not _meets(predictions[layer], bar)] for layer in layers}
    met = [layer for layer in layers if not missed[layer]]
    if met:
        return met, ""
    near = min(layers, key=lambda layer: (len(missed[layer]), -_shortest(predictions[layer], missed[layer])))
    bar = missed[near][0]
    value = getattr(predictions[near], bar.number)
    told = f"{bar.words} {value:.2f} at layer {near}, at least {bar.least:g} is asked"
    return [], f"not one direction: {told}"


def _meets(known: LayerPrediction, bar: _Bar) -> bool:
    value = getattr(known, bar.number)
    return value is None or abs(value) >= bar.least if bar.number == "d_prime" else value is None or value >= bar.least


def _shortest(known: LayerPrediction, missed: list[_Bar]) -> float:
    """The value of the first bar that it misses: among layers that miss as many, the nearest is told of."""
    value: float = getattr(known, missed[0].number)
    return value
