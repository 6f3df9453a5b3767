"""The proof: one direction at all? which layer, which dose (validation)? how much, once, against what baselines (test)?

    enough pairs ─▶ coherent ─▶ polarity, layer, dose on validation ─▶ one measurement on test ─▶ verified
         └─────────────┴──────────────────────┴───────────────────────────────┴──────────────▶ refused(the one reason)

Nothing of the test pairs is looked at before layer and dose are fixed. Effects are in nats a token.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from daemon.errors import DataError
from daemon.protocol import DosePoint, Null, SideEffects, VerifyReport, VerifyRequest, VerifySettings
from daemon.steering.aggregate import coherence
from daemon.steering.calibrate import (
    Calibration,
    OnProgress,
    PreparedPairs,
    calibrate,
    candidate_layers,
    delta,
    prepare_neutral,
)
from daemon.steering.contrast import contrast, rows_root
from daemon.steering.loading import LoadedModel
from daemon.steering.nulls import measure_nulls
from daemon.steering.score import kl_summary
from daemon.steering.sweep import disturbance, perplexity, under
from daemon.steering.vector_file import VectorFile, load, require_model
from graph.schema import Pair
from store.clock import SystemClock

MIN_VALIDATION = 4
MIN_TEST = 6
MIN_GROUPS = 2
_NOTHING_MEASURED = dict.fromkeys(
    (
        "layer",
        "dose",
        "coefficient",
        "effect",
        "effect_interval",
        "base_gap",
        "steered_gap",
        "steerability",
        "anti_steerable",
    )
)


@dataclass(frozen=True)
class _Proof:
    """One verification under way: what it is about and what it has to work with.

    `differences` (n, candidate layers, hidden) float64 are those of the training pairs; None when none are at hand.
    """

    loaded: LoadedModel
    request: VerifyRequest
    file: VectorFile
    layers: list[int]
    differences: Tensor | None
    on_progress: OnProgress

    @property
    def settings(self) -> VerifySettings:
        return self.request.settings


def run_verify(loaded: LoadedModel, request: VerifyRequest, on_progress: OnProgress) -> VerifyReport:
    """Verify the vector file of `request`, or refuse it.

    Raises:
        MismatchError: The file was made for another model or template.
        DataError: The file is malformed.
    """
    clock = SystemClock()
    started = clock.monotonic()
    file = load(request.vector)
    shape = (loaded.layout.n_layers, loaded.layout.hidden_size)
    require_model(file, request.vector, loaded.digest, loaded.template_digest, shape)
    report = _verify(loaded, request, file, on_progress)
    return report.model_copy(update={"seconds": clock.monotonic() - started})


def _verify(loaded: LoadedModel, request: VerifyRequest, file: VectorFile, on_progress: OnProgress) -> VerifyReport:
    if reason := too_little(request):
        return _refused(request, reason)
    layers = candidate_layers(request.settings, loaded.layout.n_layers)
    if layers[-1] >= len(file.vectors):
        raise DataError(
            f"{request.vector}: has the first {len(file.vectors)} layers, layer {layers[-1]} is to be tried; "
            "extract it deeper, or set verification.layers"
        )
    proof = _Proof(loaded, request, file, layers, _differences(loaded, request, layers, on_progress), on_progress)
    if reason := _incoherent(proof):
        return _refused(request, reason)
    found = calibrate(loaded, file, request.validation, request.neutral_validation, request.settings, on_progress)
    if found.chosen is None:
        reason = f"no dose helps on validation pairs with neutral KL p95 within {request.settings.kl_p95_max:g} nat"
        return _refused(request, reason, found)
    return _measured(proof, found, found.chosen)


def too_little(request: VerifyRequest) -> str:
    """Which held-out evidence is lacking; "" when there is enough to measure on."""
    validation, test = len(request.validation), len(request.test)
    groups = len({pair.group for pair in request.test})
    if validation < MIN_VALIDATION:
        return f"too little held-out evidence: {validation} validation pairs, {MIN_VALIDATION} are needed"
    if test < MIN_TEST:
        return f"too little held-out evidence: {test} test pairs, {MIN_TEST} are needed"
    if groups < MIN_GROUPS:
        return f"too little held-out evidence: test pairs of {groups} group, {MIN_GROUPS} are needed"
    if not request.neutral_validation or not request.neutral_test:
        return "no neutral text to measure side effects on"
    return ""


def _refused(request: VerifyRequest, reason: str, found: Calibration | None = None) -> VerifyReport:
    return VerifyReport.model_validate(
        _NOTHING_MEASURED
        | {
            "verdict": "refused",
            "reason": reason,
            "dose_curve": found.curve if found else (),
            "polarity_flipped": bool(found and found.flipped),
            "n_validation": len(request.validation),
            "n_test": len(request.test),
        }
    )


def _differences(
    loaded: LoadedModel, request: VerifyRequest, layers: list[int], on_progress: OnProgress
) -> Tensor | None:
    if len(request.train) < 2:
        return None
    train = sorted(request.train, key=lambda pair: pair.id)
    with rows_root(request.rows, request.rows_bytes) as root:
        positives, negatives = contrast(loaded, train, max(layers) + 1, root, on_progress).at(layers)
    return positives.to(torch.float64) - negatives.to(torch.float64)


def _incoherent(proof: _Proof) -> str:
    """Why this is not one direction; "" when it is, or when nobody knows. No pass has been steered yet."""
    known = proof.file.coherence
    if proof.differences is not None:
        found = {layer: coherence(proof.differences[:, i]) for i, layer in enumerate(proof.layers)}
    else:
        found = {layer: known[layer] for layer in proof.layers if layer < len(known)}
    best = max(found, key=lambda layer: found[layer], default=None)
    if best is None or found[best] >= proof.settings.min_coherence:
        return ""
    return (
        f"not one direction: mean cosine of a pair's difference to that of the others {found[best]:.2f} "
        f"at layer {best}, at least {proof.settings.min_coherence:g} is asked"
    )


def _measured(proof: _Proof, found: Calibration, at: DosePoint) -> VerifyReport:
    """The one look at the test pairs."""
    request, settings = proof.request, proof.settings
    pairs = PreparedPairs.of(proof.loaded, request.test, [at.layer])
    effects = effects_by_dose(proof.file, pairs, at, settings)
    effect, slopes = effects[at.dose], slopes_over_doses(effects)
    if found.flipped:
        slopes = -slopes
    report = VerifyReport(
        verdict="verified",
        reason="",
        layer=at.layer,
        dose=at.dose,
        coefficient=proof.file.coefficient(at.layer, at.dose),
        effect=float(effect.mean()),
        effect_interval=group_interval(effect, request.test, settings.bootstrap, settings.seed),
        base_gap=float(pairs.base.mean()),
        steered_gap=float((pairs.base + effect).mean()),
        steerability=float(slopes.mean()),
        anti_steerable=float((slopes < 0).to(torch.float64).mean()),
        nulls=measure_nulls(
            pairs,
            at.layer,
            float(delta(proof.file, at.layer, at.dose).norm()),
            None if proof.differences is None else proof.differences[:, proof.layers.index(at.layer)],
            (settings.nulls_random, settings.nulls_shuffled),
            settings.seed,
            proof.on_progress,
        ),
        side_effects=_side_effects(proof, at),
        dose_curve=found.curve,
        n_validation=len(request.validation),
        n_test=len(request.test),
        polarity_flipped=found.flipped,
    )
    reason = first_failing(report, settings)
    return report.model_copy(update={"verdict": "refused" if reason else "verified", "reason": reason})


def effects_by_dose(
    file: VectorFile, pairs: PreparedPairs, at: DosePoint, settings: VerifySettings
) -> dict[float, Tensor]:
    """Effects (n,) at the chosen layer, for each dose of the sweep no stronger than the chosen one, 0 included."""
    sign = 1.0 if at.dose > 0 else -1.0
    doses = sorted({at.dose} | {sign * dose for dose in settings.doses if 0 < abs(dose) <= abs(at.dose)})
    steered = {dose: pairs.effects(at.layer, delta(file, at.layer, dose)) for dose in doses}
    return {0.0: torch.zeros_like(pairs.base)} | steered


def slopes_over_doses(effects: dict[float, Tensor]) -> Tensor:
    """Least-squares slope of each pair's gap over the doses, nats a token for one unit of dose: (n,) float64.

    Source: steerability in Tan et al., arXiv:2407.12404.
    """
    doses = torch.tensor(list(effects), dtype=torch.float64)
    centred = doses - doses.mean()
    return (torch.stack(list(effects.values()), dim=1) * centred).sum(dim=1) / centred.square().sum()


def group_interval(values: Tensor, pairs: Sequence[Pair], resamples: int, seed: int) -> tuple[float, float]:
    """95 % bootstrap interval of the mean of `values` (n,); pairs of one group come and go together."""
    names = sorted({pair.group for pair in pairs})
    member = torch.tensor([[pair.group == name for pair in pairs] for name in names], dtype=torch.float64)
    drawn = torch.randint(len(names), (resamples, len(names)), generator=torch.Generator().manual_seed(seed))
    sums, counts = member @ values, member.sum(dim=1)
    means = sums[drawn].sum(dim=1) / counts[drawn].sum(dim=1)
    return float(means.quantile(0.025)), float(means.quantile(0.975))


def _side_effects(proof: _Proof, at: DosePoint) -> SideEffects:
    quiet = prepare_neutral(proof.loaded, proof.request.neutral_test, [at.layer])
    finals = under(quiet, at.layer, delta(proof.file, at.layer, at.dose))
    divergence = disturbance(quiet, [finals])[0]
    mean, p95, rmse = kl_summary(divergence)
    return SideEffects(
        kl_mean=mean,
        kl_p95=p95,
        kl_rmse=rmse,
        perplexity=perplexity(quiet, finals),
        perplexity_base=perplexity(quiet, quiet.finals),
        n_positions=len(divergence),
    )


def first_failing(report: VerifyReport, settings: VerifySettings) -> str:
    """The first condition that a measured report misses, in words; "" when it meets all. NaN meets nothing."""
    assert report.effect is not None
    assert report.effect_interval is not None
    assert report.anti_steerable is not None
    assert report.side_effects is not None
    effect, low, anti, kl = report.effect, report.effect_interval[0], report.anti_steerable, report.side_effects.kl_p95
    strongest = max(report.nulls, key=lambda null: null.effect, default=Null(kind="random", seed=0, effect=-math.inf))
    told = f"{effect:+.3f} nats a token on test pairs"
    beaten_by = f"{strongest.effect:+.3f} of a {strongest.kind} baseline of equal norm"
    limit = f"at most {settings.max_anti_steerable:.0%} may"
    checks = (
        (effect >= settings.min_effect, f"effect {told}, at least {settings.min_effect:g} is asked"),
        (low > 0, f"effect {told}, but its interval reaches down to {low:+.3f}, above 0 is asked"),
        (effect > strongest.effect, f"effect {told}, not above the {beaten_by}"),
        (anti <= settings.max_anti_steerable, f"{anti:.0%} of the test pairs go the other way, {limit}"),
        (
            kl <= settings.kl_p95_max,
            f"neutral KL p95 {kl:.2f} nat on test text, over {settings.kl_p95_max:g}",
        ),
    )
    return next((reason for met, reason in checks if not met), "")
