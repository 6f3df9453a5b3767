"""Vectors of every layer from contrastive pairs: capture, aggregate, describe, write. Same inputs, same bytes."""

import hashlib
from collections.abc import Callable

import torch
from torch import Tensor

from daemon.errors import DataError
from daemon.protocol import ExtractReport, ExtractRequest, LayerStatistics, Progress
from daemon.steering.aggregate import AGGREGATORS, coherence, split_half_cosine
from daemon.steering.capture import reply_means
from daemon.steering.loading import LoadedModel
from daemon.steering.text import pair_tree
from daemon.steering.trees import one_reply_each, trees_are_exact
from daemon.steering.vector_file import VectorFile, describe, save
from graph.schema import Pair
from store.clock import SystemClock

OnProgress = Callable[[Progress], None]


def differences(loaded: LoadedModel, pairs: tuple[Pair, ...], on_progress: OnProgress) -> tuple[Tensor, Tensor, Tensor]:
    """Reply means of both sides, (n, n_layers, hidden) float64 each, and median residual norms (n_layers,)."""
    trees = [pair_tree(loaded.tokenizer, pair) for pair in pairs]
    stage = f"reading {len(pairs)} pairs"

    def told(done: int) -> None:
        on_progress(Progress(stage=stage, done=done, total=len(trees)))

    if trees_are_exact(loaded, trees):
        found = reply_means(loaded, trees, 2, told)
        return found.replies[:, 0], found.replies[:, 1], found.norms
    single = [part for each in trees for part in one_reply_each(each)]
    found = reply_means(loaded, single, 1, lambda done: told(done // 2))
    return found.replies[0::2, 0], found.replies[1::2, 0], found.norms


def run_extract(loaded: LoadedModel, request: ExtractRequest, on_progress: OnProgress) -> ExtractReport:
    """Extract, write the vector file, report.

    Raises:
        DataError: Fewer than two pairs, or a pair without tokens.
        FullError: The file cannot be written.
    """
    if len(request.pairs) < 2:
        raise DataError(f"{request.behaviour}: {len(request.pairs)} pairs; at least two are needed for a direction")
    clock = SystemClock()
    started = clock.monotonic()
    positives, negatives, norms = differences(loaded, request.pairs, on_progress)
    aggregate = AGGREGATORS[request.aggregator]
    vectors = torch.stack([aggregate(positives[:, i], negatives[:, i]) for i in range(loaded.layout.n_layers)])
    matrix = vectors.to(torch.float32).numpy()
    metadata = describe(
        request.behaviour, request.pairs, loaded.digest, loaded.template_digest, norms.tolist(), request.aggregator
    )
    save(request.out, VectorFile(matrix, metadata))
    return ExtractReport(
        path=request.out,
        sha256=hashlib.sha256(matrix.astype("<f4").tobytes()).hexdigest(),
        n_layers=loaded.layout.n_layers,
        hidden_size=loaded.layout.hidden_size,
        n_pairs=len(request.pairs),
        pairs_digest=metadata["pairs_digest"],
        model_digest=loaded.digest,
        template_digest=loaded.template_digest,
        layers=tuple(_statistics(i, positives, negatives, vectors, norms, request.seed) for i in range(len(matrix))),
        seconds=clock.monotonic() - started,
    )


def _statistics(
    layer: int, positives: Tensor, negatives: Tensor, vectors: Tensor, norms: Tensor, seed: int
) -> LayerStatistics:
    pairwise = positives[:, layer] - negatives[:, layer]
    return LayerStatistics(
        layer=layer,
        vector_norm=float(vectors[layer].norm()),
        median_residual_norm=float(norms[layer]),
        coherence=coherence(pairwise, vectors[layer]),
        split_half_cosine=split_half_cosine(pairwise, seed),
    )
