"""The proof: coherent at all? which layer, which dose (validation)? how much, once, against what baselines (test)?

    coherence ─▶ polarity, layer, dose on validation ─▶ one measurement on test ─▶ verified | refused(the one reason)

Nothing of the test pairs is looked at before layer and dose are fixed. Effects are in nats a token.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from daemon.protocol import DosePoint, Null, Progress, SideEffects, VerifyReport, VerifyRequest, VerifySettings
from daemon.steering.aggregate import coherence
from daemon.steering.extract import differences
from daemon.steering.loading import LoadedModel
from daemon.steering.score import Prepared, Steerable, bootstrap_interval, kl_statistics
from daemon.steering.vector_file import VectorFile, load, require_model
from graph.schema import Pair
from store.clock import SystemClock

OnProgress = Callable[[Progress], None]
_MIN_PAIRS = 2


@dataclass(frozen=True)
class _Proof:
    """One verification under way: what it is about and what it has to work with."""

    loaded: LoadedModel
    request: VerifyRequest
    file: VectorFile
    on_progress: OnProgress

    @property
    def settings(self) -> VerifySettings:
        return self.request.settings

    def delta(self, layer: int, dose: float, sign: float) -> Tensor:
        """(hidden,): the layer's vector at that dose."""
        vector = torch.from_numpy(self.file.vectors[layer])
        return vector * (sign * self.file.coefficient(layer, dose))

    def layers(self) -> list[int]:
        """Candidate layers, 0-based."""
        last = self.loaded.layout.n_layers - 1
        return sorted({min(last, max(0, round(fraction * last))) for fraction in self.settings.layers})


@dataclass(frozen=True)
class _Choice:
    """The operating point, chosen on validation."""

    layer: int
    dose: float
    sign: float


def run_verify(loaded: LoadedModel, request: VerifyRequest, on_progress: OnProgress) -> VerifyReport:
    """Verify the vector file of `request`, or refuse it.

    Raises:
        MismatchError: The file was made for another model or template.
        DataError: The file is malformed.
    """
    clock = SystemClock()
    started = clock.monotonic()
    file = load(request.vector)
    require_model(file, request.vector, loaded.digest, loaded.template_digest)
    report = _verify(_Proof(loaded, request, file, on_progress))
    return report.model_copy(update={"seconds": clock.monotonic() - started})


def _verify(proof: _Proof) -> VerifyReport:
    request = proof.request
    if min(len(request.validation), len(request.test)) < _MIN_PAIRS:
        counts = f"{len(request.validation)} validation and {len(request.test)} test pairs"
        return _refused(proof, f"too little held-out evidence: {counts}, at least {_MIN_PAIRS} of each are needed")
    pairwise = _train_differences(proof)
    incoherent = _incoherent(proof, pairwise)
    if incoherent:
        return _refused(proof, incoherent)
    choice, curve = _choose(proof)
    if choice is None:
        bar = proof.settings.kl_p95_max
        return _refused(proof, f"no dose helps on validation with neutral KL p95 within {bar:g} nat", curve)
    return _measure(proof, choice, curve, pairwise)


def _refused(proof: _Proof, reason: str, curve: tuple[DosePoint, ...] = ()) -> VerifyReport:
    return VerifyReport(
        verdict="refused",
        reason=reason,
        layer=None,
        dose=None,
        coefficient=None,
        effect=None,
        effect_interval=None,
        base_gap=None,
        steered_gap=None,
        steerability=None,
        anti_steerable=None,
        dose_curve=curve,
        n_validation=len(proof.request.validation),
        n_test=len(proof.request.test),
    )


def _train_differences(proof: _Proof) -> Tensor | None:
    """(n, n_layers, hidden) float64 differences of the training pairs, None when they are not at hand."""
    if len(proof.request.train) < _MIN_PAIRS:
        return None
    positives, negatives, _ = differences(proof.loaded, proof.request.train, proof.on_progress)
    return positives - negatives


def _incoherent(proof: _Proof, pairwise: Tensor | None) -> str:
    """Why this is not one direction, or "". Predicted before any forward pass is steered."""
    if pairwise is None:
        return ""
    found = {i: coherence(pairwise[:, i], torch.from_numpy(proof.file.vectors[i]).double()) for i in proof.layers()}
    best = max(found, key=lambda layer: abs(found[layer]))
    if abs(found[best]) >= proof.settings.min_coherence:
        return ""
    bar = proof.settings.min_coherence
    cosine = f"mean cosine of pair differences to the vector {found[best]:.2f} at layer {best}"
    return f"not one direction: {cosine}, below {bar:g}"


def _choose(proof: _Proof) -> tuple[_Choice | None, tuple[DosePoint, ...]]:
    """The point with the most effect on validation whose neutral KL is within the bar, and the whole curve."""
    layers = proof.layers()
    pairs = Steerable(proof.loaded, Prepared.of_pairs(proof.loaded, proof.request.validation), layers)
    quiet = Steerable(proof.loaded, Prepared.of_neutral(proof.loaded, proof.request.neutral_validation), layers)
    sign = _polarity(proof, pairs, layers)
    doses = sorted(dose for dose in proof.settings.doses if dose > 0)
    points: list[DosePoint] = []
    for number, layer in enumerate(layers):
        for point in _climb(proof, pairs, quiet, layer, doses, sign):
            points.append(point)
            done = number * len(doses) + len([p for p in points if p.layer == layer])
            proof.on_progress(Progress(stage="choosing layer and dose", done=done, total=len(layers) * len(doses)))
    within = [p for p in points if p.kl_p95 <= proof.settings.kl_p95_max and p.effect > 0]
    best = max(within, key=lambda point: point.effect, default=None)
    return (_Choice(best.layer, best.dose, sign) if best else None), tuple(points)


def _polarity(proof: _Proof, pairs: Steerable, layers: list[int]) -> float:
    """+1, or -1 when the vector points the wrong way on validation pairs."""
    base = pairs.gaps(pairs.base())
    small = min((dose for dose in proof.settings.doses if dose > 0), default=0.1)
    moved = [float((pairs.gaps(pairs.under(i, proof.delta(i, small, 1.0))) - base).mean()) for i in layers]
    return 1.0 if sum(moved) >= 0 else -1.0


def _climb(
    proof: _Proof, pairs: Steerable, quiet: Steerable, layer: int, doses: list[float], sign: float
) -> Iterator[DosePoint]:
    """Doses upwards, until neutral text is disturbed beyond the bar."""
    base = pairs.gaps(pairs.base())
    calm = quiet.log_probabilities(quiet.base())
    for dose in doses:
        delta = proof.delta(layer, dose, sign)
        mean, p95, _ = kl_statistics(calm, quiet.log_probabilities(quiet.under(layer, delta)))
        effect = float((pairs.gaps(pairs.under(layer, delta)) - base).mean())
        yield DosePoint(layer=layer, dose=dose, effect=effect, kl_mean=mean, kl_p95=p95)
        if p95 > proof.settings.kl_p95_max:
            return


def _measure(proof: _Proof, choice: _Choice, curve: tuple[DosePoint, ...], pairwise: Tensor | None) -> VerifyReport:
    """The one look at the test pairs."""
    request, settings = proof.request, proof.settings
    pairs = Steerable(proof.loaded, Prepared.of_pairs(proof.loaded, request.test), [choice.layer])
    base = pairs.gaps(pairs.base())
    at_dose = pairs.gaps(pairs.under(choice.layer, proof.delta(choice.layer, choice.dose, choice.sign)))
    slopes = _slopes(proof, pairs, base, choice)
    nulls = tuple(_nulls(proof, pairs, base, choice, pairwise))
    report = VerifyReport(
        verdict="verified",
        reason="",
        layer=choice.layer,
        dose=choice.dose,
        coefficient=choice.sign * proof.file.coefficient(choice.layer, choice.dose),
        effect=float((at_dose - base).mean()),
        effect_interval=bootstrap_interval(at_dose - base, _groups(request.test), settings.bootstrap, settings.seed),
        base_gap=float(base.mean()),
        steered_gap=float(at_dose.mean()),
        steerability=float(slopes.mean()),
        anti_steerable=float((slopes < 0).to(torch.float64).mean()),
        nulls=nulls,
        side_effects=_side_effects(proof, choice),
        dose_curve=curve,
        n_validation=len(request.validation),
        n_test=len(request.test),
        polarity_flipped=choice.sign < 0,
    )
    reason = first_failing(report, settings)
    return report.model_copy(update={"verdict": "refused" if reason else "verified", "reason": reason})


def _groups(pairs: tuple[Pair, ...]) -> list[str]:
    return [pair.group for pair in pairs]


def _slopes(proof: _Proof, pairs: Steerable, base: Tensor, choice: _Choice) -> Tensor:
    """(n,): least-squares slope of each pair's gap over all doses within ± the operating dose; nats a unit of dose."""
    doses = sorted({d for d in (*proof.settings.doses, choice.dose) if d and abs(d) <= choice.dose + 1e-9})
    gaps = [base]
    for number, dose in enumerate(doses):
        gaps.append(pairs.gaps(pairs.under(choice.layer, proof.delta(choice.layer, dose, choice.sign))))
        proof.on_progress(Progress(stage="slopes on held-out pairs", done=number + 1, total=len(doses)))
    x = torch.tensor([0.0, *doses], dtype=torch.float64)
    centred = x - x.mean()
    return (torch.stack(gaps, dim=1) * centred).sum(dim=1) / centred.square().sum()


def _nulls(proof: _Proof, pairs: Steerable, base: Tensor, choice: _Choice, pairwise: Tensor | None) -> Iterator[Null]:
    """Effects of baseline vectors whose norm is that of the vector at its dose."""
    norm = float(proof.delta(choice.layer, choice.dose, choice.sign).norm())
    kinds = [("random", seed) for seed in range(proof.settings.nulls_random)]
    if pairwise is not None:
        kinds += [("shuffled", seed) for seed in range(proof.settings.nulls_shuffled)]
    for number, (kind, seed) in enumerate(kinds):
        raw = _null_vector(
            kind, proof.settings.seed * 1000 + seed, proof.loaded.layout.hidden_size, pairwise, choice.layer
        )
        delta = (raw * (norm / raw.norm().clamp_min(1e-12))).to(torch.float32)
        effect = float((pairs.gaps(pairs.under(choice.layer, delta)) - base).mean())
        proof.on_progress(Progress(stage="baselines", done=number + 1, total=len(kinds)))
        yield Null(kind="random" if kind == "random" else "shuffled", seed=seed, effect=effect)


def _null_vector(kind: str, seed: int, hidden: int, pairwise: Tensor | None, layer: int) -> Tensor:
    """(hidden,) float64: Gaussian, or the mean difference with each pair's labels swapped by a coin."""
    generator = torch.Generator().manual_seed(seed)
    if kind == "random" or pairwise is None:
        return torch.randn(hidden, generator=generator, dtype=torch.float64)
    coins = torch.randint(2, (len(pairwise),), generator=generator).to(torch.float64) * 2 - 1
    return (pairwise[:, layer] * coins[:, None]).mean(dim=0)


def _side_effects(proof: _Proof, choice: _Choice) -> SideEffects:
    quiet = Steerable(proof.loaded, Prepared.of_neutral(proof.loaded, proof.request.neutral_test), [choice.layer])
    calm = quiet.log_probabilities(quiet.base())
    stirred = quiet.log_probabilities(quiet.under(choice.layer, proof.delta(choice.layer, choice.dose, choice.sign)))
    mean, p95, rmse = kl_statistics(calm, stirred)
    return SideEffects(
        kl_mean=mean,
        kl_p95=p95,
        kl_rmse=rmse,
        perplexity=quiet.perplexity(stirred),
        perplexity_base=quiet.perplexity(calm),
        n_positions=sum(len(each) for each in calm),
    )


def first_failing(report: VerifyReport, settings: VerifySettings) -> str:
    """The first condition that a measured report misses, in words; "" when it meets all. NaN meets nothing."""
    assert report.effect is not None
    assert report.effect_interval is not None
    assert report.anti_steerable is not None
    assert report.side_effects is not None
    strongest = max((null.effect for null in report.nulls), default=float("-inf"))
    p95, low = report.side_effects.kl_p95, report.effect_interval[0]
    checks = (
        (
            report.effect >= settings.min_effect,
            f"effect {report.effect:+.2f}, at least {settings.min_effect:g} is asked",
        ),
        (low > 0, f"the interval of the effect reaches {low:+.2f}"),
        (
            report.effect > strongest,
            f"a baseline of equal norm does as much: {strongest:+.2f} against {report.effect:+.2f}",
        ),
        (
            report.anti_steerable <= settings.max_anti_steerable,
            f"{report.anti_steerable:.0%} of held-out pairs go the other way, {settings.max_anti_steerable:.0%} may",
        ),
        (
            p95 <= 1.5 * settings.kl_p95_max,
            f"neutral KL p95 {p95:.2f} on test text, at most {1.5 * settings.kl_p95_max:g}",
        ),
    )
    return next((reason for met, reason in checks if not met), "")
