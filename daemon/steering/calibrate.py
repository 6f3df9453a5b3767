"""Layer and dose of a vector, chosen on validation pairs and neutral validation text.

    effect(layer, dose) = mean over pairs of (gap under the vector − gap without it)        nats a token
    chosen: the most effect among the points whose neutral KL p95 is within 0.8 of the bar

A dose is in median residual norms of its layer; a negative one subtracts the vector. A vector that lowers the gap at
small doses points the wrong way: then the doses are mirrored, and that is on record.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from daemon.protocol import DosePoint, NeutralText, Progress, VerifySettings
from daemon.steering.loading import LoadedModel
from daemon.steering.score import KL, kl_summary, pair_gaps
from daemon.steering.sweep import Prepared, disturbance, logprobs, prepare, under
from daemon.steering.text import encode_neutral, encode_pairs
from daemon.steering.vector_file import VectorFile
from graph.schema import Pair

OnProgress = Callable[[Progress], None]

HEADROOM = 0.8
"""Part of the KL bar that a dose may use up on validation text, since test text is other text and has the whole bar."""


@dataclass(frozen=True)
class PreparedPairs:
    """Pairs, computed once; `base` (n,) are their gaps without a vector."""

    prepared: Prepared
    base: Tensor

    @classmethod
    def of(cls, loaded: LoadedModel, pairs: Sequence[Pair], layers: Sequence[int]) -> "PreparedPairs":
        """Ready for vectors at `layers`."""
        prepared = prepare(loaded, encode_pairs(loaded.tokenizer, pairs), layers)
        return cls(prepared, pair_gaps(logprobs(prepared, prepared.finals)))

    def effects(self, layer: int, delta: Tensor) -> Tensor:
        """(n,) float64: change of each pair's gap when `delta` (hidden) is added at `layer`, nats a token."""
        return pair_gaps(logprobs(self.prepared, under(self.prepared, layer, delta))) - self.base


@dataclass(frozen=True)
class Calibration:
    """The whole sweep, and its best point: None when no point helps within the bar. `flipped`: doses are negative."""

    curve: tuple[DosePoint, ...]
    chosen: DosePoint | None
    flipped: bool


def candidate_layers(settings: VerifySettings, n_layers: int) -> list[int]:
    """0-based layers at the configured fractions of depth, each once."""
    last = n_layers - 1
    return sorted({min(last, max(0, round(fraction * last))) for fraction in settings.layers})


def delta(file: VectorFile, layer: int, dose: float) -> Tensor:
    """(hidden,) float32: what is added to the block output at that dose; its norm is |dose| median residual norms."""
    return torch.from_numpy(file.vectors[layer]) * file.coefficient(layer, dose)


def prepare_neutral(loaded: LoadedModel, texts: Sequence[NeutralText], layers: Sequence[int]) -> Prepared:
    """Neutral texts, computed once, ready for vectors at `layers`."""
    return prepare(loaded, [encode_neutral(loaded.tokenizer, text) for text in texts], layers)


def calibrate(
    loaded: LoadedModel,
    file: VectorFile,
    pairs: Sequence[Pair],
    neutral: Sequence[NeutralText],
    settings: VerifySettings,
    on_progress: OnProgress,
) -> Calibration:
    """Sweep all candidate layers and doses, and choose."""
    layers = candidate_layers(settings, loaded.layout.n_layers)
    ready, quiet = PreparedPairs.of(loaded, pairs, layers), prepare_neutral(loaded, neutral, layers)
    flipped = points_the_wrong_way(ready, file, layers[len(layers) // 2], settings)
    sign = -1.0 if flipped else 1.0
    doses = sorted(sign * dose for dose in settings.doses)
    curve: list[DosePoint] = []
    for layer in layers:
        curve += _points(ready, quiet, file, layer, doses)
        on_progress(Progress(stage="choosing layer and dose", done=len(curve), total=len(layers) * len(doses)))
    return Calibration(tuple(curve), choose(curve, HEADROOM * settings.kl_p95_max, sign), flipped)


def points_the_wrong_way(pairs: PreparedPairs, file: VectorFile, layer: int, settings: VerifySettings) -> bool:
    """Whether the gap falls, from − the smallest dose to + the smallest dose."""
    small = min((abs(dose) for dose in settings.doses if dose), default=0.1)
    up, down = (pairs.effects(layer, delta(file, layer, dose)).mean() for dose in (small, -small))
    return bool(up < down)


def choose(curve: Sequence[DosePoint], kl_p95_max: float, sign: float) -> DosePoint | None:
    """The point with the most effect whose dose has the right sign and whose neutral KL is within the bar."""
    allowed = [point for point in curve if point.dose * sign > 0 and point.kl_p95 <= kl_p95_max and point.effect > 0]
    return max(allowed, key=lambda point: (point.effect, -point.kl_p95), default=None)


def _points(
    pairs: PreparedPairs, quiet: Prepared, file: VectorFile, layer: int, doses: Sequence[float]
) -> list[DosePoint]:
    """One layer's part of the sweep; at dose 0 nothing changes, so nothing is computed."""
    changes = {dose: delta(file, layer, dose) for dose in doses if dose}
    stirred = disturbance(quiet, [under(quiet, layer, change) for change in changes.values()])
    told = {dose: kl_summary(row) for dose, row in zip(changes, stirred, strict=True)} | {0.0: KL(0.0, 0.0, 0.0)}
    effects = {dose: float(pairs.effects(layer, change).mean()) for dose, change in changes.items()} | {0.0: 0.0}
    return [
        DosePoint(layer=layer, dose=dose, effect=effects[dose], kl_mean=told[dose].mean, kl_p95=told[dose].p95)
        for dose in doses
    ]
