"""Vectors of every layer from contrastive pairs: read, aggregate, describe, write. Same pairs, same bytes."""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version

import torch
from torch import Tensor

from daemon.errors import DataError
from daemon.protocol import ExtractReport, ExtractRequest, LayerStatistics
from daemon.steering.aggregate import AGGREGATORS
from daemon.steering.contrast import Contrast, OnProgress, contrast, rows_root
from daemon.steering.loading import LoadedModel
from daemon.steering.moments import Moments, moments
from daemon.steering.vector_file import VectorFile, describe, save
from store.clock import SystemClock

IN_MEMORY = 1 << 26
"""Numbers that an aggregator which needs all pairs at once may hold: as many layers at a time as fit."""
_LIBRARIES = ("torch", "transformers", "tokenizers", "numpy")


@dataclass(frozen=True)
class Extraction:
    """`vectors` (layers, hidden) float32; `norms` are median residual norms, one a layer."""

    vectors: Tensor
    moments: Moments
    norms: list[float]


def run_extract(loaded: LoadedModel, request: ExtractRequest, on_progress: OnProgress) -> ExtractReport:
    """Extract, write the vector file, report. The order of the pairs makes no difference.

    Raises:
        DataError: Fewer than two pairs, or a pair without tokens.
        FullError: A file cannot be written.
    """
    if len(request.pairs) < 2:
        raise DataError(f"{request.behaviour}: {len(request.pairs)} pairs; at least two are needed for a direction")
    clock = SystemClock()
    started = clock.monotonic()
    pairs = sorted(request.pairs, key=lambda pair: pair.id)
    with rows_root(request.rows, request.rows_bytes) as root:
        read = contrast(loaded, pairs, math.ceil(request.depth * loaded.layout.n_layers), root, on_progress)
        found = extract(read, request.aggregator, request.seed)
    layers = statistics(found)
    metadata = describe(
        request.behaviour,
        pairs,
        loaded.digest,
        loaded.template_digest,
        found.norms,
        [layer.coherence for layer in layers],
        request.aggregator,
    )
    save(request.out, VectorFile(found.vectors.numpy(), metadata))
    return ExtractReport(
        path=request.out,
        sha256=hashlib.sha256(found.vectors.numpy().astype("<f4").tobytes()).hexdigest(),
        n_layers=len(found.vectors),
        hidden_size=loaded.layout.hidden_size,
        n_pairs=len(pairs),
        pairs_digest=metadata["pairs_digest"],
        model_digest=loaded.digest,
        template_digest=loaded.template_digest,
        layers=layers,
        seconds=clock.monotonic() - started,
        libraries={name: version(name) for name in _LIBRARIES},
        device=str(loaded.device),
        threads=torch.get_num_threads(),
    )


def extract(read: Contrast, aggregator: str, seed: int) -> Extraction:
    """Vectors and statistics of pairs that have been read; `seed` divides them into halves for the statistics."""
    found = moments(read.pairs, len(read.keys), seed)
    vectors = found.mean if aggregator == "mean_difference" else torch.cat(list(_aggregated(read, aggregator)))
    return Extraction(vectors.to(torch.float32), found, read.median_norms())


def _aggregated(read: Contrast, aggregator: str) -> Iterator[Tensor]:
    """Vectors (some layers, hidden) float64, in order."""
    aggregate = AGGREGATORS[aggregator]
    hidden = next(read.pairs())[0].shape[1]
    at_once = max(1, IN_MEMORY // (2 * len(read.keys) * hidden))
    for start in range(0, read.n_layers, at_once):
        layers = range(start, min(start + at_once, read.n_layers))
        positives, negatives = read.at(layers)
        for place in range(len(layers)):
            one, two = (side[:, place].to(torch.float64) for side in (positives, negatives))
            yield aggregate(one, two)[None]


def statistics(found: Extraction) -> tuple[LayerStatistics, ...]:
    """What is reported of each layer."""
    known = found.moments
    return tuple(
        LayerStatistics(
            layer=layer,
            vector_norm=float(found.vectors[layer].norm()),
            median_residual_norm=norm,
            coherence=float(known.coherence[layer]),
            split_half_cosine=float(known.split_half_cosine[layer]),
            d_prime=None if known.d_prime[layer].isnan() else float(known.d_prime[layer]),
        )
        for layer, norm in enumerate(found.norms)
    )
