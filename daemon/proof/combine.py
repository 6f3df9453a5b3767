"""One budget for several vectors: doses at which all of them together disturb neutral text no more than one may.

    validation   alone ─▶ interference ─▶ one scale for all ─▶ doses balanced, for each budget ─▶ the frontier
    test         the chosen doses, once: joint effect, share kept of each single effect, joint KL

Balancing: whoever keeps the smallest share of its own effect is given more, whoever keeps the largest less, and all are
scaled until the budget is met again, or until the least keeps all of its own effect: more is not wanted. The doses that
keep most of the least are taken. Where every share grows with its own dose and the budget binds, the best smallest
share is the one that all have. A vector that others work against needs more than its own dose; a gate leaves room.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from daemon.errors import DataError
from daemon.proof.calibrate import largest_within
from daemon.proof.gate import Probe
from daemon.proof.gated import GatedPairs, GatedText, probe_of
from daemon.proof.held_out import resampled
from daemon.proof.interference import cosines, cross_effects, told
from daemon.proof.prepared import Deltas, OnProgress
from daemon.protocol import Progress
from daemon.protocol.combine import (
    CombineReport,
    CombineRequest,
    CombineSettings,
    FrontierPoint,
    JointEffect,
    JointKl,
    JointReport,
    Member,
)
from daemon.steering.apply import deltas_at
from daemon.steering.loading import LoadedModel
from daemon.steering.score import KL, kl_summary
from daemon.steering.vector_file import VectorFile, load, require_shape
from graph.schema import Pair
from store.clock import SystemClock

LEAST_SCALE = 1e-6
_STEP = 0.7
_SMALLER, _ABOUT = 4, 0.05
_LEAST_SHARE, _MOST_SHARE = 0.1, 3.0

Multipliers = tuple[float, ...]


@dataclass(frozen=True)
class Bench:
    """m vectors, with pairs of each one's behaviour and neutral text, all computed once without a vector.

    `single` (m,) float64 is the mean effect of each vector alone at its own doses on its own pairs. `quiet` are the
    neutral texts on each of which the budget is to hold.
    """

    files: tuple[VectorFile, ...]
    members: tuple[Member, ...]
    pairs: tuple[GatedPairs, ...]
    quiet: tuple[GatedText, ...]
    single: Tensor
    _kl: dict[Multipliers, KL] = field(default_factory=dict)

    def parts(self, multipliers: Multipliers) -> list[Deltas]:
        """What each vector adds at its doses times its multiplier."""
        every = zip(self.files, self.members, multipliers, strict=True)
        return [deltas_at(file, member.placements, scale) for file, member, scale in every]

    def kl(self, multipliers: Multipliers) -> KL:
        """Of neutral text under the whole set, each number that of the text where it is worst; remembered."""
        if multipliers not in self._kl:
            found = [kl_summary(text.divergences(self.parts(multipliers))) for text in self.quiet]
            self._kl[multipliers] = KL(*map(_worst, zip(*found, strict=True)))
        return self._kl[multipliers]

    def kept(self, multipliers: Multipliers) -> Tensor:
        """(m,) float64: joint effect on each behaviour's pairs, as a share of the single effect."""
        parts = self.parts(multipliers)
        return torch.stack([own.effects(parts).mean() for own in self.pairs]) / self.single


def _worst(values: Sequence[float]) -> float:
    """The largest; NaN if one is."""
    return math.nan if any(map(math.isnan, values)) else max(values)


def run_combine(loaded: LoadedModel, request: CombineRequest, on_progress: OnProgress) -> CombineReport:
    """Measure how the members of `request` disturb each other, choose their doses together, measure these once.

    Raises:
        MismatchError: A vector file was made for a model of another shape.
        DataError: A file is malformed, or a vector alone has no effect on its own validation pairs.
    """
    clock = SystemClock()
    started = clock.monotonic()
    report = _combined(loaded, request, _files(loaded, request.members), on_progress)
    return report.model_copy(update={"seconds": clock.monotonic() - started})


def run_joint(loaded: LoadedModel, request: CombineRequest, on_progress: OnProgress) -> JointReport:
    """Neutral text under all members at the doses they have, on both sides; nothing is chosen.

    Raises:
        MismatchError: A vector file was made for a model of another shape.
        DataError: A file is malformed.
    """
    members, files = request.members, _files(loaded, request.members)
    parts = [deltas_at(file, member.placements) for file, member in zip(files, members, strict=True)]
    lowest = sorted({min(deltas) for deltas in parts})
    gates = [probe_of(member.gate) for member in members]
    sides = {"validation": request.neutral_validation, "test": request.neutral_test}
    found = {}
    for done, (side, texts) in enumerate(sides.items()):
        on_progress(Progress(stage="joint KL", done=done, total=len(sides)))
        found[side] = _joint_kl(GatedText.of(loaded, texts, lowest, gates), parts)
    reasons = [over_budget(kl, request.settings, side) for side, kl in found.items()]
    return JointReport(**found, reason=next(filter(None, reasons), ""))


def _files(loaded: LoadedModel, members: Sequence[Member]) -> list[VectorFile]:
    files = [load(member.vector) for member in members]
    shape = (loaded.layout.n_layers, loaded.layout.hidden_size)
    for file, member in zip(files, members, strict=True):
        require_shape(file, member.vector, shape, [at.layer for at in member.placements])
    return files


def _combined(
    loaded: LoadedModel, request: CombineRequest, files: Sequence[VectorFile], on_progress: OnProgress
) -> CombineReport:
    members, settings = request.members, request.settings
    names = tuple(member.name for member in members)
    alone = [deltas_at(file, member.placements) for file, member in zip(files, members, strict=True)]
    lowest = sorted({min(deltas) for deltas in alone})
    on_progress(Progress(stage="interference", done=0, total=0))
    gates = [probe_of(member.gate) for member in members]
    pairs = tuple(GatedPairs.of(loaded, member.validation, lowest, gates) for member in members)
    effects = cross_effects(pairs, alone)
    single = torch.stack([own.effects(_only(alone, place)).mean() for place, own in enumerate(pairs)])
    for name, own in zip(names, single.tolist(), strict=True):
        if not own > 0:
            raise DataError(
                f"{name}: alone it has no effect on its own validation pairs ({own:+.3f} nats a token); leave it out"
            )
    texts = [request.neutral_validation, *([request.neutral_test] if settings.hold_on_test_text else [])]
    quiet = tuple(GatedText.of(loaded, each, lowest, gates) for each in texts)
    bench = Bench(tuple(files), members, pairs, quiet, single)
    common, frontier = search(bench, settings, on_progress)
    chosen = max(frontier, key=worth)
    on_progress(Progress(stage="joint test", done=0, total=0))
    joint = _joint(loaded, request, alone, bench.parts(chosen.multipliers), chosen.multipliers, gates)
    kl = _joint_kl(GatedText.of(loaded, request.neutral_test, lowest, gates), bench.parts(chosen.multipliers))
    reason = over_budget(kl, settings)
    return CombineReport(
        members=names,
        cosines=cosines(files, [member.placements for member in members]),
        cross=told(names, effects, [len(member.validation) for member in members]),
        common_scale=common,
        frontier=frontier,
        chosen=chosen,
        joint=joint,
        kl=kl,
        within_budget=not reason,
        reason=reason,
    )


# ---------------------------------------------------------------- the search, on validation


def search(bench: Bench, settings: CombineSettings, on_progress: OnProgress) -> tuple[float, tuple[FrontierPoint, ...]]:
    """The common scale within the whole budget, and the best doses found for each share of it, smallest first.

    Doses found for one budget are where the search for the next begins; what fits a smaller one fits a larger one too.
    """
    together = (1.0,) * len(bench.members)
    load = partial(load_of, bench, together, settings=settings, budget=1.0)
    common = scale_within(load, 1.0)
    ratios, points, budgets = together, list[FrontierPoint](), sorted(settings.budgets)
    for done, budget in enumerate(budgets):
        on_progress(Progress(stage="joint doses", done=done, total=len(budgets)))
        found = [*points[-1:], *balanced(bench, settings, budget, ratios)]
        best = max(found, key=worth)
        points.append(best.model_copy(update={"budget": budget}))
        ratios = best.multipliers
    return common, tuple(points)


def balanced(bench: Bench, settings: CombineSettings, budget: float, ratios: Multipliers) -> list[FrontierPoint]:
    """The points that balancing passes through, each within `budget`, from doses in the given ratios on."""
    points = []
    for _ in range(settings.rounds):
        ratios = tuple(ratio / max(ratios) for ratio in ratios)
        load = partial(load_of, bench, ratios, settings=settings, budget=budget)
        multipliers, kept = enough(bench, _scaled(ratios, scale_within(load, settings.max_multiplier)))
        kl = bench.kl(multipliers)
        points.append(
            FrontierPoint(
                budget=budget,
                multipliers=multipliers,
                kept=tuple(kept.tolist()),
                min_kept=float(kept.min()),
                kl_p95=kl.p95,
                kl_rmse=kl.rmse,
            )
        )
        ratios = evened(multipliers, kept.tolist(), settings.max_multiplier)
    return points


def enough(bench: Bench, multipliers: Multipliers) -> tuple[Multipliers, Tensor]:
    """The same doses, or in their ratios so much less that the least keeps about all of its effect; and what is kept.

    Effects grow more slowly than doses where these are large, so one step is not always enough.
    """
    kept = bench.kept(multipliers)
    for _ in range(_SMALLER):
        least = float(kept.min())
        if not least > 1 + _ABOUT:
            break
        multipliers = _scaled(multipliers, 1 / least)
        kept = bench.kept(multipliers)
    return multipliers, kept


def worth(point: FrontierPoint) -> tuple[float, float]:
    """What a point is chosen by: the least share kept, up to all of it; of equal ones the smaller doses."""
    return round(min(point.min_kept, 1.0), 2), -sum(point.multipliers)


def evened(multipliers: Multipliers, kept: Sequence[float], most: float) -> Multipliers:
    """More for those that keep less than the others, at most `most`: m · (geometric mean of the shares / share)^0.7."""
    shares = [min(max(share, _LEAST_SHARE), _MOST_SHARE) for share in kept]
    middle = math.exp(sum(map(math.log, shares)) / len(shares))
    return tuple(min(most, scale * (middle / share) ** _STEP) for scale, share in zip(multipliers, shares, strict=True))


def load_of(bench: Bench, ratios: Multipliers, scale: float, settings: CombineSettings, budget: float) -> float:
    """What share of its budget the set takes at `scale`: the larger of those of both bars. Above 1 is too much."""
    kl, share = bench.kl(_scaled(ratios, scale)), budget * settings.headroom
    return max(kl.p95 / (share * settings.kl_p95_max), kl.rmse / (share * settings.kl_rmse_max))


def _scaled(ratios: Multipliers, scale: float) -> Multipliers:
    return tuple(ratio * scale for ratio in ratios)


def scale_within(load: Callable[[float], float], most: float) -> float:
    """The largest scale up to `most` that is found to have a load of at most 1; next to nothing where none is found."""

    def over(scale: float) -> float:
        found = load(scale)
        if not found < math.inf:
            return math.inf
        return math.log(found) if found > 0 else -math.inf

    return largest_within(over, most, first=most, least=LEAST_SCALE) or LEAST_SCALE


# ---------------------------------------------------------------- the one look at the test side


def _joint(
    loaded: LoadedModel,
    request: CombineRequest,
    alone: Sequence[Deltas],
    parts: Sequence[Deltas],
    multipliers: Multipliers,
    gates: Sequence[Probe | None],
) -> tuple[JointEffect, ...]:
    """Each behaviour's test pairs under its own vector `alone`, at its own dose, and under the `parts` of the set."""
    lowest = sorted({min(part) for part in parts})
    found = []
    for place, (member, scale) in enumerate(zip(request.members, multipliers, strict=True)):
        ready = GatedPairs.of(loaded, member.test, lowest, gates)
        single, joint = ready.effects(_only(alone, place)), ready.effects(parts)
        mean = float(single.mean())
        settings = request.settings
        found.append(
            JointEffect(
                name=member.name,
                multiplier=scale,
                placements=tuple(
                    at.model_copy(update={"dose": at.dose * scale, "coefficient": at.coefficient * scale})
                    for at in member.placements
                ),
                single=mean,
                joint=float(joint.mean()),
                kept=float(joint.mean()) / mean if mean > 0 else None,
                kept_interval=ratio_interval(joint, single, member.test, settings.bootstrap, settings.seed)
                if mean > 0
                else None,
                n=len(member.test),
            )
        )
    return tuple(found)


def ratio_interval(
    upper: Tensor, lower: Tensor, pairs: Sequence[Pair], resamples: int, seed: int
) -> tuple[float, float] | None:
    """95 % bootstrap interval of mean(upper) / mean(lower), (n,) each; pairs of one group come and go together.

    A resample without an effect to be a share of is left out; None when all are.
    """
    whole, part = resampled([lower, upper], pairs, resamples, seed)
    ratios = (part / whole)[whole > 0]
    if not len(ratios):
        return None
    return float(ratios.quantile(0.025)), float(ratios.quantile(0.975))


def _only(alone: Sequence[Deltas], place: int) -> list[Deltas]:
    """One of the vectors by itself: the others add nothing."""
    return [own if number == place else {} for number, own in enumerate(alone)]


def _joint_kl(quiet: GatedText, parts: Sequence[Deltas]) -> JointKl:
    divergence = quiet.divergences(parts)
    kl, everywhere = kl_summary(divergence), kl_summary(quiet.divergences_of_all(parts))
    return JointKl(
        mean=kl.mean, p95=kl.p95, rmse=kl.rmse, n_positions=len(divergence), p95_without_gates=everywhere.p95
    )


def over_budget(kl: JointKl, settings: CombineSettings, side: str = "test") -> str:
    """Which bar the set misses on the text of that side, in words; "" when it keeps within the budget. NaN does not."""
    for what, value, bar in (("p95", kl.p95, settings.kl_p95_max), ("rmse", kl.rmse, settings.kl_rmse_max)):
        if not value <= bar:
            return f"neutral KL {what} {value:.2f} nat on {side} text, over the {bar:g} of the budget"
    return ""
