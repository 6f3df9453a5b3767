"""Vectors of every layer from contrastive pairs: capture, aggregate, describe, write. Same pairs, same bytes."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from daemon.errors import DataError
from daemon.protocol import ExtractReport, ExtractRequest, LayerStatistics, Progress
from daemon.steering.aggregate import AGGREGATORS, coherence, split_half_cosine
from daemon.steering.capture import reply_means
from daemon.steering.loading import LoadedModel
from daemon.steering.text import encode_pairs
from daemon.steering.vector_file import VectorFile, describe, save
from graph.schema import Pair
from store.clock import SystemClock

OnProgress = Callable[[Progress], None]


@dataclass(frozen=True)
class Contrast:
    """Mean block outputs over the replies of n pairs: (n, layers, hidden) float64 each; norms (layers,) float64."""

    positives: Tensor
    negatives: Tensor
    median_norms: Tensor


def contrast(loaded: LoadedModel, pairs: Sequence[Pair], layers: Sequence[int], on_progress: OnProgress) -> Contrast:
    """Read both replies of every pair at `layers`."""

    def told(done: int) -> None:
        on_progress(Progress(stage="reading pairs", done=done // 2, total=len(pairs)))

    found = reply_means(loaded.layout, encode_pairs(loaded.tokenizer, pairs), layers, told)
    return Contrast(found.means[0::2], found.means[1::2], found.median_norms)


def run_extract(loaded: LoadedModel, request: ExtractRequest, on_progress: OnProgress) -> ExtractReport:
    """Extract, write the vector file, report. The order of the pairs makes no difference.

    Raises:
        DataError: Fewer than two pairs, or a pair without tokens.
        FullError: The file cannot be written.
    """
    if len(request.pairs) < 2:
        raise DataError(f"{request.behaviour}: {len(request.pairs)} pairs; at least two are needed for a direction")
    clock = SystemClock()
    started = clock.monotonic()
    pairs = sorted(request.pairs, key=lambda pair: pair.id)
    found = contrast(loaded, pairs, range(loaded.layout.n_layers), on_progress)
    vectors = _vectors(found, request)
    layers = tuple(_statistics(i, found, vectors, request.seed) for i in range(len(vectors)))
    metadata = describe(
        request.behaviour,
        pairs,
        loaded.digest,
        loaded.template_digest,
        found.median_norms.tolist(),
        [layer.coherence for layer in layers],
        request.aggregator,
    )
    save(request.out, VectorFile(vectors.numpy(), metadata))
    return ExtractReport(
        path=request.out,
        sha256=hashlib.sha256(vectors.numpy().astype("<f4").tobytes()).hexdigest(),
        n_layers=loaded.layout.n_layers,
        hidden_size=loaded.layout.hidden_size,
        n_pairs=len(pairs),
        pairs_digest=metadata["pairs_digest"],
        model_digest=loaded.digest,
        template_digest=loaded.template_digest,
        layers=layers,
        seconds=clock.monotonic() - started,
    )


def _vectors(found: Contrast, request: ExtractRequest) -> Tensor:
    """(n_layers, hidden) float32."""
    aggregate = AGGREGATORS[request.aggregator]
    n_layers = found.positives.shape[1]
    rows = [aggregate(found.positives[:, layer], found.negatives[:, layer]) for layer in range(n_layers)]
    return torch.stack(rows).to(torch.float32)


def _statistics(layer: int, found: Contrast, vectors: Tensor, seed: int) -> LayerStatistics:
    differences = found.positives[:, layer] - found.negatives[:, layer]
    return LayerStatistics(
        layer=layer,
        vector_norm=float(vectors[layer].norm()),
        median_residual_norm=float(found.median_norms[layer]),
        coherence=coherence(differences),
        split_half_cosine=split_half_cosine(differences, seed),
    )
