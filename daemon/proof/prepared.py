"""Pairs and neutral text, read once without a vector; then any vector costs only what lies above its lowest layer."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from daemon.protocol import NeutralText, Progress
from daemon.steering.loading import LoadedModel
from daemon.steering.score import pair_gaps
from daemon.steering.sweep import Prepared, logprobs, prepare, under
from daemon.steering.text import encode_neutral, encode_pairs
from daemon.steering.vector_file import VectorFile
from graph.schema import Pair

OnProgress = Callable[[Progress], None]
Deltas = Mapping[int, Tensor]
"""What is added to which block's output: (hidden,) float32 each."""


@dataclass(frozen=True)
class PreparedPairs:
    """Pairs, computed once; `base` (n,) float64 are their gaps without a vector, nats a token."""

    prepared: Prepared
    base: Tensor

    @classmethod
    def of(cls, loaded: LoadedModel, pairs: Sequence[Pair], layers: Sequence[int]) -> "PreparedPairs":
        """Ready for vectors whose lowest layer is one of `layers`."""
        prepared = prepare(loaded, encode_pairs(loaded.tokenizer, pairs), layers)
        return cls(prepared, pair_gaps(logprobs(prepared, prepared.finals)))

    def effects(self, deltas: Deltas) -> Tensor:
        """(n,) float64: change of each pair's gap under `deltas`, nats a token."""
        return pair_gaps(logprobs(self.prepared, under(self.prepared, deltas))) - self.base


def prepare_neutral(loaded: LoadedModel, texts: Sequence[NeutralText], layers: Sequence[int]) -> Prepared:
    """Neutral texts, ready for vectors whose lowest layer is one of `layers`."""
    return prepare(loaded, [encode_neutral(loaded.tokenizer, text) for text in texts], layers)


def delta(file: VectorFile, layer: int, dose: float) -> Tensor:
    """(hidden,) float32: what is added to the block output at that dose; its norm is |dose| median residual norms."""
    return torch.from_numpy(file.vectors[layer]) * file.coefficient(layer, dose)


def joined(parts: Iterable[Deltas]) -> dict[int, Tensor]:
    """Several vectors at once: what they add to one block adds up."""
    total: dict[int, Tensor] = {}
    for deltas in parts:
        for layer, each in deltas.items():
            total[layer] = total[layer] + each if layer in total else each
    return total
