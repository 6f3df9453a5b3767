"""The proof: one direction at all? which layer and dose (validation)? how much, once, against chance (test)?

    enough pairs ─▶ no confound ─▶ one direction ─▶ polarity, layer, dose ─▶ one measurement ─▶ verified
         └──────────────┴───────────────┴─────────────────┴─────────────────────┴──────────▶ refused(the one reason)
         nothing was steered yet                     validation                test

Nothing of the test pairs is looked at before layer and dose are fixed. Effects are in nats a token.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from daemon.errors import DataError
from daemon.proof.calibrate import Calibration, calibrate, candidate_layers, scaled
from daemon.proof.checks import run_checks
from daemon.proof.confounds import adjusted_for_length, against, examine
from daemon.proof.gate import gate_report, owners_of
from daemon.proof.generations import answer
from daemon.proof.held_out import HeldOut, group_interval, slopes_over_doses
from daemon.proof.limits import MIN_GROUPS, MIN_TEST, MIN_VALIDATION
from daemon.proof.nulls import measure_nulls, null_test
from daemon.proof.predict import predict, steerable
from daemon.proof.prepared import Deltas, OnProgress, prepare_neutral
from daemon.proof.side_effects import side_effects
from daemon.proof.turns import direction_of
from daemon.proof.verdict import judged
from daemon.protocol import (
    Confounds,
    GateReport,
    LayerPrediction,
    Null,
    Placement,
    SampleEffect,
    VerifyReport,
    VerifyRequest,
    VerifySettings,
)
from daemon.steering.apply import deltas_at
from daemon.steering.contrast import Contrast, contrast, rows_root
from daemon.steering.loading import LoadedModel
from daemon.steering.sweep import Prepared
from daemon.steering.text import encode_pairs
from daemon.steering.vector_file import VectorFile, load, require_model
from graph.schema import Pair
from store.clock import SystemClock

_MEASURED = ("effect", "effect_interval", "base_gap", "steered_gap", "steerability", "anti_steerable")
_NOTHING = dict.fromkeys(("layer", "dose", "coefficient", *_MEASURED))
_TOLD_OF_A_DIRECTION = 200


@dataclass(frozen=True)
class _Known:
    """One verification under way: what it is about, and what was known of it before anything was steered.

    `differences[layer]` (n, hidden) float64 are those of the training pairs; None when none are at hand.
    """

    loaded: LoadedModel
    request: VerifyRequest
    file: VectorFile
    confounds: Confounds
    predictions: tuple[LayerPrediction, ...]
    differences: dict[int, Tensor] | None
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
    seen = (*request.train, *request.validation)
    confounds = examine(seen, _lengths(loaded, seen))
    if reason := against(confounds, request.settings.max_confound):
        return _refused(request, reason, confounds=confounds)
    known = _known(loaded, request, file, confounds, layers, on_progress)
    told = {"confounds": confounds, "predictions": known.predictions}
    layers, reason = steerable(known.predictions, layers, request.settings)
    if reason:
        return _refused(request, reason, **told)
    neutral = request.neutral_validation
    found = calibrate(loaded, file, layers, request.validation, neutral, request.settings, on_progress)
    if not found.placements:
        bars = f"p95 within {request.settings.kl_p95_max:g} and RMSE within {request.settings.kl_rmse_max:g} nat"
        reason = f"no dose helps on validation pairs with neutral KL {bars}"
        return _refused(request, reason, **told, layer_curve=found.layer_curve)
    return judged(_measured(known, found), request.settings)


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


def _refused(request: VerifyRequest, reason: str, **told: object) -> VerifyReport:
    counts = {"n_validation": len(request.validation), "n_test": len(request.test)}
    return VerifyReport.model_validate(_NOTHING | counts | {"verdict": "refused", "reason": reason} | told)


def _lengths(loaded: LoadedModel, pairs: Sequence[Pair]) -> list[tuple[int, int]]:
    """Tokens of the positive and of the negative reply of each pair."""
    counts = [len(item.reply_ids) for item in encode_pairs(loaded.tokenizer, pairs)]
    return list(zip(counts[0::2], counts[1::2], strict=True))


def _known(
    loaded: LoadedModel,
    request: VerifyRequest,
    file: VectorFile,
    confounds: Confounds,
    layers: list[int],
    on_progress: OnProgress,
) -> _Known:
    """Read training and validation pairs, unsteered: what extraction kept is not read again."""
    depth = max(layers) + 1
    with rows_root(request.rows, request.rows_bytes) as root:

        def read(pairs: tuple[Pair, ...]) -> Contrast:
            return contrast(loaded, sorted(pairs, key=lambda pair: pair.id), depth, root, on_progress)

        train = read(request.train) if len(request.train) > 1 else None
        predictions = predict(file, train, read(request.validation), request.settings.seed)
        differences = _differences(train, layers) if train is not None else None
    return _Known(loaded, request, file, confounds, predictions, differences, on_progress)


def _differences(train: Contrast, layers: list[int]) -> dict[int, Tensor]:
    positives, negatives = train.at(layers)
    between = positives.to(torch.float64) - negatives.to(torch.float64)
    return {layer: between[:, place] for place, layer in enumerate(layers)}


def _measured(known: _Known, found: Calibration) -> VerifyReport:
    """The one look at the test pairs and at the neutral test text; no verdict yet."""
    request, settings, at = known.request, known.settings, found.placements
    lowest, deltas = min(place.layer for place in at), deltas_at(known.file, at)
    held_out = HeldOut.of(known.loaded, request.test, [lowest])
    orders = held_out.ready.effects(deltas)
    effect = held_out.folded(orders)
    slopes = _slopes(known, held_out, at, effect) * (-1.0 if found.flipped else 1.0)
    nulls = _nulls(known, held_out, deltas)
    quiet = prepare_neutral(known.loaded, request.neutral_test, [lowest])
    side, divergence = side_effects(quiet, deltas)
    return VerifyReport(
        verdict="refused",
        reason="not judged yet",
        layer=at[0].layer,
        dose=at[0].dose,
        coefficient=at[0].coefficient,
        placements=at,
        effect=float(effect.mean()),
        effect_interval=group_interval(effect, request.test, settings.bootstrap, settings.seed),
        base_gap=float(held_out.base.mean()),
        steered_gap=float((held_out.base + effect).mean()),
        steerability=float(slopes.mean()),
        anti_steerable=float((slopes < 0).to(torch.float64).mean()),
        predictions=known.predictions,
        confounds=_confounds(known, held_out, orders),
        layer_curve=found.layer_curve,
        dose_curve=found.dose_curve,
        samples=_samples(held_out, effect, slopes),
        nulls=nulls,
        null_test=null_test(float(effect.mean()), nulls, settings.null_percentile, request.family) if nulls else None,
        side_effects=side,
        checks=run_checks(known.loaded, deltas, settings, known.on_progress),
        generations=answer(known.loaded, deltas, request.test, request.behaviour, settings, known.on_progress),
        gate=_gate(known, lowest, effect, divergence, quiet) if settings.gate else None,
        n_validation=len(request.validation),
        n_test=len(request.test),
        n_groups=len({pair.group for pair in request.test}),
        polarity_flipped=found.flipped,
    )


def _slopes(known: _Known, held_out: HeldOut, at: Sequence[Placement], effect: Tensor) -> Tensor:
    """(n,): over the multiples of the sweep that lie between nothing and the operating dose, and these two."""
    between = [multiple for multiple in known.settings.multiples if 0 < multiple < 1] or [0.5]
    effects = {0.0: torch.zeros_like(effect), at[0].dose: effect}
    for multiple in between:
        effects[multiple * at[0].dose] = held_out.effects(deltas_at(known.file, scaled(at, multiple)))
    return slopes_over_doses(effects)


def _samples(held_out: HeldOut, effect: Tensor, slopes: Tensor) -> tuple[SampleEffect, ...]:
    numbers = zip(held_out.base.tolist(), effect.tolist(), slopes.tolist(), strict=True)
    return tuple(
        SampleEffect(
            pair=pair.id,
            group=pair.group,
            direction=_in_short(direction_of(pair.prompt)),
            base_gap=base,
            effect=moved,
            slope=slope,
        )
        for pair, (base, moved, slope) in zip(held_out.pairs, numbers, strict=True)
    )


def _in_short(text: str) -> str:
    return text if len(text) <= _TOLD_OF_A_DIRECTION else text[: _TOLD_OF_A_DIRECTION - 1] + "…"


def _nulls(known: _Known, held_out: HeldOut, deltas: Deltas) -> tuple[Null, ...]:
    request, settings = known.request, known.settings
    rivals = {rival.name: load(rival.vector) for rival in request.rivals}
    return measure_nulls(
        held_out,
        deltas,
        known.differences,
        {name: _directions(file, deltas) for name, file in rivals.items()},
        (settings.nulls_random, settings.nulls_shuffled),
        settings.seed,
        known.on_progress,
    )


def _directions(file: VectorFile, deltas: Deltas) -> dict[int, Tensor]:
    """Another behaviour's vector at those of the layers that it has."""
    return {layer: torch.from_numpy(file.vectors[layer]) for layer in deltas if layer < len(file.vectors)}


def _gate(known: _Known, lowest: int, effect: Tensor, divergence: Tensor, quiet: Prepared) -> GateReport | None:
    """A gate for the vector, which lives below its lowest layer; from what was measured, nothing is steered again."""
    request = known.request
    return gate_report(
        known.loaded,
        (request.train, request.validation, request.test),
        (request.neutral_train, request.neutral_validation, request.neutral_test),
        lowest,
        effect,
        divergence,
        owners_of(quiet),
        known.settings,
        known.on_progress,
    )


def _confounds(known: _Known, held_out: HeldOut, orders: Tensor) -> Confounds:
    """What was found before, with what the test pairs show: the effect at equal length, and in either order.

    `orders` are the effects of each order of an item by itself.
    """
    request, settings, found = known.request, known.settings, known.confounds
    length = adjusted_for_length(
        found.length,
        held_out.folded(orders).tolist(),
        _lengths(known.loaded, request.test),
        [pair.group for pair in request.test],
        settings.bootstrap,
        settings.seed,
    )
    letter = found.letter
    if letter is not None and any(place is not None for place in held_out.exchanged):
        letter = held_out.letters(letter, orders)
    return found.model_copy(update={"length": length, "letter": letter})
