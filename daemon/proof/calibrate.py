"""Where a vector is added and how strongly, chosen on validation pairs and neutral validation text alone.

    for each layer   reach: the largest dose whose neutral KL is within HEADROOM of both bars, by a root search;
                     the effect there and half way, the larger of which stands for the layer
    for the best     operating dose: the largest up to the reach whose effect still grows, refined at the knee
    chosen           the layer with the most effect at its operating dose
    with a span      that many of the best layers, each at its own dose, all scaled until they fit the bars together
    the sweep        −2 … +2 times the operating dose, for people to look at

A dose is in median residual norms of its layer; a negative one subtracts the vector. A vector that lowers the gap at
small doses points the wrong way: then the doses are negative, and that is on record.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from daemon.proof.prepared import OnProgress, PreparedPairs, delta, prepare_neutral
from daemon.protocol import DosePoint, NeutralText, Placement, Progress, VerifySettings
from daemon.steering.apply import deltas_at
from daemon.steering.loading import LoadedModel
from daemon.steering.score import KL, kl_summary
from daemon.steering.sweep import Prepared, disturbance, perplexity, under
from daemon.steering.vector_file import VectorFile
from graph.schema import Pair

HEADROOM = 0.8
"""Part of the KL bars that a dose may use up on validation text: test text is other text, and has the whole bar."""
FIRST_DOSE = 0.2
"""Where the root search begins."""
SMALL = 0.25
"""Part of the first dose at which polarity is tried."""

LEAST_DOSE = 0.005
"""Less than this is nothing: no smaller dose is tried."""

REFINED = 2
"""How many of the best layers are refined, or as many as the span asks for."""

_CLOSE = 0.03
_MOST_TRIES = 8
_HALF = 0.5
_STEPS = (0.25, _HALF, 0.75, 1.0)
_BEFORE_THE_END = 0.95
_KNEE_TRIES = 4
_GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class Calibration:
    """The operating points of all layers, the sweep at the chosen place, and that place: empty when no dose helps."""

    layer_curve: tuple[DosePoint, ...]
    dose_curve: tuple[DosePoint, ...]
    placements: tuple[Placement, ...]
    flipped: bool


@dataclass
class _Trial:
    """One vector under trial; `points` are all that were measured, by (layers, dose of the first)."""

    file: VectorFile
    pairs: PreparedPairs
    quiet: Prepared
    settings: VerifySettings
    on_progress: OnProgress
    tried: int = field(default=0)
    known: dict[Sequence[Placement], KL] = field(default_factory=dict)

    def placed(self, layer: int, dose: float) -> tuple[Placement, ...]:
        return (Placement(layer=layer, dose=dose, coefficient=self.file.coefficient(layer, dose)),)

    def effect(self, at: Sequence[Placement]) -> float:
        """Mean over validation pairs, nats a token."""
        self._tell()
        return float(self.pairs.effects(deltas_at(self.file, at)).mean())

    def over(self, at: Sequence[Placement]) -> float:
        """Log of neutral KL over the stricter of its bars: 0 at the bar, −inf without any KL, inf for NaN."""
        kl = self.kl(at)
        shares = (kl.p95 / (HEADROOM * self.settings.kl_p95_max), kl.rmse / (HEADROOM * self.settings.kl_rmse_max))
        if not all(map(math.isfinite, shares)):
            return math.inf
        return math.log(max(shares)) if max(shares) > 0 else -math.inf

    def kl(self, at: Sequence[Placement]) -> KL:
        """Of neutral validation text, in nats; remembered."""
        if at not in self.known:
            self._tell()
            finals = under(self.quiet, deltas_at(self.file, at))
            self.known[at] = kl_summary(disturbance(self.quiet, [finals])[0])
        return self.known[at]

    def point(self, at: Sequence[Placement], effect: float) -> DosePoint:
        """What is told of a dose that has this effect."""
        kl = self.kl(at)
        return DosePoint(
            layer=at[0].layer, dose=at[0].dose, effect=effect, kl_mean=kl.mean, kl_p95=kl.p95, kl_rmse=kl.rmse
        )

    def swept(self, at: Sequence[Placement]) -> DosePoint:
        """The same with its effect and the perplexity of neutral text."""
        finals = under(self.quiet, deltas_at(self.file, at))
        self.known[at] = kl_summary(disturbance(self.quiet, [finals])[0])
        told = self.point(at, self.effect(at))
        return told.model_copy(update={"perplexity": perplexity(self.quiet, finals)})

    def _tell(self) -> None:
        self.tried += 1
        self.on_progress(Progress(stage="choosing layer and dose", done=self.tried, total=0))


def candidate_layers(settings: VerifySettings, n_layers: int) -> list[int]:
    """0-based layers at the configured fractions of depth, each once."""
    last = n_layers - 1
    return sorted({min(last, max(0, round(fraction * last))) for fraction in settings.layers})


def calibrate(
    loaded: LoadedModel,
    file: VectorFile,
    layers: Sequence[int],
    pairs: Sequence[Pair],
    neutral: Sequence[NeutralText],
    settings: VerifySettings,
    on_progress: OnProgress,
) -> Calibration:
    """Try the vector at each of `layers`, choose, and sweep."""
    ready, quiet = PreparedPairs.of(loaded, pairs, layers), prepare_neutral(loaded, neutral, layers)
    trial = _Trial(file, ready, quiet, settings, on_progress)
    flipped = points_the_wrong_way(ready, file, layers[len(layers) // 2])
    sign = -1.0 if flipped else 1.0
    curve = _operating(trial, {layer: _coarse(trial, layer, sign) for layer in layers}, sign)
    chosen = chosen_places(trial, [point for point in curve if point.effect > 0 and point.dose != 0])
    return Calibration(tuple(curve), _sweep(trial, chosen), chosen, flipped)


def points_the_wrong_way(pairs: PreparedPairs, file: VectorFile, layer: int) -> bool:
    """Whether the gap falls, from − a small dose to + it."""
    small = SMALL * FIRST_DOSE
    up, down = (pairs.effects({layer: delta(file, layer, dose)}).mean() for dose in (small, -small))
    return bool(up < down)


@dataclass(frozen=True)
class _Coarse:
    """A layer's reach, 0 where no dose is within the bars, and the effects at shares of it."""

    reach: float
    effects: dict[float, float]

    @property
    def best(self) -> float:
        """The share with the most effect."""
        return max(self.effects, key=lambda share: self.effects[share])


def _coarse(trial: _Trial, layer: int, sign: float) -> _Coarse:
    reach = largest_within(lambda dose: trial.over(trial.placed(layer, sign * dose)), trial.settings.max_dose)
    shares = (_HALF, 1.0) if reach else ()
    return _Coarse(reach, {share: trial.effect(trial.placed(layer, sign * share * reach)) for share in shares})


def _operating(trial: _Trial, found: dict[int, _Coarse], sign: float) -> list[DosePoint]:
    """The operating point of each layer, refined for the best ones; dose 0 where no dose is within the bars."""
    usable = [layer for layer, coarse in found.items() if coarse.reach]
    best = sorted(usable, key=lambda layer: -found[layer].effects[found[layer].best])
    refined = set(best[: max(REFINED, trial.settings.span)])
    curve = []
    for layer, coarse in found.items():
        if not coarse.reach:
            curve.append(DosePoint(layer=layer, dose=0.0, effect=0.0, kl_mean=0.0, kl_p95=0.0, kl_rmse=0.0))
            continue
        dose, effect = coarse.best * coarse.reach, coarse.effects[coarse.best]
        if layer in refined:

            def effect_at(dose: float, layer: int = layer) -> float:
                return trial.effect(trial.placed(layer, sign * dose))

            dose, effect = knee(effect_at, coarse.reach, coarse.effects)
        curve.append(trial.point(trial.placed(layer, sign * dose), effect))
    return curve


def largest_within(
    over: Callable[[float], float], most: float, first: float = FIRST_DOSE, least: float = LEAST_DOSE
) -> float:
    """The largest dose found in [`least`, `most`] with `over` ≤ 0, close below its root; 0 for none.

    `first` is tried first.

    Illinois' regula falsi in log dose. KL grows about with the square of the dose: the second try follows that.
    Source: Dowell and Jarratt, BIT 11 (1971); for steering, the search of iso-KL calibration.
    """
    below, above = (-math.inf, -math.inf), (math.inf, math.inf)
    at, lowest, side = math.log(min(first, most)), math.log(min(least, most)), 0
    for tries in range(_MOST_TRIES):
        value = over(most if at >= math.log(most) else math.exp(at))
        if value <= 0:
            below, above, side = (at, value), (above[0], above[1] / 2 if side < 0 else above[1]), -1
            if at >= math.log(most) or value > -_CLOSE:
                break
        else:
            above, below, side = (at, value), (below[0], below[1] / 2 if side > 0 else below[1]), 1
            if at <= lowest:
                break
        at = min(max(_next(below, above, 2.0**tries), lowest), math.log(most))
    return most if below[0] >= math.log(most) else math.exp(below[0])


def _next(below: tuple[float, float], above: tuple[float, float], stretch: float) -> float:
    """Where to try next, a little below the root that a straight line foretells; each is (log dose, value).

    As long as the root lies to one side of all that was tried, each step is stretched more than the one before.
    """
    if not math.isfinite(above[0]):
        return below[0] + stretch * (1.0 if math.isinf(below[1]) else (-below[1] - _CLOSE / 2) / 2)
    if not math.isfinite(below[0]):
        return above[0] - min(3.0, stretch * (above[1] + _CLOSE / 2) / 2)
    if not math.isfinite(below[1]) or not math.isfinite(above[1]):
        return (below[0] + above[0]) / 2
    share = (-_CLOSE / 2 - below[1]) / (above[1] - below[1])
    return below[0] + min(0.95, max(0.05, share)) * (above[0] - below[0])


def knee(
    effect: Callable[[float], float], reach: float, known: Mapping[float, float] | None = None
) -> tuple[float, float]:
    """(dose, effect): the largest dose up to `reach` at which the effect still grows, by golden section at its knee.

    `known` are effects at shares of the reach that need not be asked again.
    """
    told = dict(known or {})
    told |= {share: effect(share * reach) for share in _STEPS if share not in told}
    best = max(told, key=lambda share: told[share])
    if best == _STEPS[-1]:
        told[_BEFORE_THE_END] = effect(_BEFORE_THE_END * reach)
        if told[_BEFORE_THE_END] < told[best]:
            return best * reach, told[best]
    low, high = best - _STEPS[0], min(1.0, best + _STEPS[0])
    for _ in range(_KNEE_TRIES):
        one, two = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        for share in (one, two):
            told[share] = told[share] if share in told else effect(share * reach)
        low, high = (low, two) if told[one] >= told[two] else (one, high)
    best = max(told, key=lambda share: told[share])
    return best * reach, told[best]


def chosen_places(trial: _Trial, usable: list[DosePoint]) -> tuple[Placement, ...]:
    """Of the operating points of layers, the best one, or as many as the span says where together they bring more."""
    best = sorted(usable, key=lambda point: -point.effect)[: trial.settings.span]
    if len(best) < 2:
        return tuple(place for point in best for place in trial.placed(point.layer, point.dose))
    together = [place for point in best for place in trial.placed(point.layer, point.dose)]
    share = largest_within(lambda scale: trial.over(scaled(together, scale)), 1.0)
    if share == 0:
        return trial.placed(best[0].layer, best[0].dose)
    share, effect = knee(lambda scale: trial.effect(scaled(together, scale)), share)
    if effect <= best[0].effect:
        return trial.placed(best[0].layer, best[0].dose)  # more places at the same price brought no more
    return tuple(sorted(scaled(together, share), key=lambda place: place.layer))


def scaled(placements: Sequence[Placement], scale: float) -> tuple[Placement, ...]:
    """The same places with all doses times `scale`."""
    return tuple(
        at.model_copy(update={"dose": scale * at.dose, "coefficient": scale * at.coefficient}) for at in placements
    )


def _sweep(trial: _Trial, chosen: tuple[Placement, ...]) -> tuple[DosePoint, ...]:
    """At each multiple of the operating dose, dose 0 included, in order of dose."""
    if not chosen:
        return ()
    nothing = DosePoint(
        layer=chosen[0].layer,
        dose=0.0,
        effect=0.0,
        kl_mean=0.0,
        kl_p95=0.0,
        kl_rmse=0.0,
        perplexity=perplexity(trial.quiet, trial.quiet.finals),
    )
    points = [trial.swept(scaled(chosen, multiple)) for multiple in trial.settings.multiples if multiple]
    return tuple(sorted([nothing, *points], key=lambda point: point.dose))
