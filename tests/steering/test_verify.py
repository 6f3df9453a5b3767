"""A vector earns its place on directions it has never seen, or is refused with the one number that failed."""

import pytest
import torch

from daemon.errors import MismatchError, NoInputError
from daemon.protocol import DosePoint, ExtractRequest, Null, SideEffects, VerifyReport
from daemon.steering import calibrate as calibration
from daemon.steering import verify as proof
from daemon.steering.calibrate import candidate_layers, choose
from daemon.steering.extract import run_extract
from daemon.steering.nulls import random_direction, shuffled
from daemon.steering.text import encode
from daemon.steering.vector_file import VectorFile, load, save
from daemon.steering.verify import first_failing, group_interval, run_verify, slopes_over_doses
from tests.steering import oracle
from tests.steering.planted import SETTINGS, make_pairs, neutral, verify_request
from tests.tiny import tiny_tokenizer

TRAIN = make_pairs(24, seed=1)


def extracted(loaded, path, pairs=TRAIN):
    run_extract(loaded, ExtractRequest(model="unused", pairs=pairs, out=path, behaviour="planted"), lambda _: None)
    return path


@pytest.fixture
def vector(planted_model, tmp_path):
    return extracted(planted_model, tmp_path / "v")


def verified(loaded, vector, **changes):
    return run_verify(loaded, verify_request(vector, **changes), lambda _: None)


def test_a_planted_direction_is_verified(planted_model, vector):
    report = verified(planted_model, vector)
    assert (report.verdict, report.reason) == ("verified", "")
    assert report.effect > 0.3
    assert 0 < report.effect_interval[0] < report.effect < report.effect_interval[1]
    assert report.steered_gap - report.base_gap == pytest.approx(report.effect)
    assert report.anti_steerable == 0
    assert report.steerability > 0
    assert [null.kind for null in report.nulls] == ["random"] * 20 + ["shuffled"] * 20
    assert max(null.effect for null in report.nulls) < report.effect
    assert report.side_effects.kl_p95 <= SETTINGS.kl_p95_max
    assert report.side_effects.kl_mean <= report.side_effects.kl_rmse
    assert (report.n_validation, report.n_test, report.polarity_flipped) == (8, 12, False)


def test_the_effect_is_that_of_one_sequence_at_a_time(planted_model, vector):
    report, file, tokenizer = verified(planted_model, vector), load(vector), tiny_tokenizer()
    delta = {report.layer: torch.from_numpy(file.vectors[report.layer]) * report.coefficient}
    effects = []
    for pair in make_pairs(12, seed=3):
        good, bad = (encode(tokenizer, pair.prompt, reply) for reply in (pair.positive, pair.negative))
        gaps = [
            oracle.reply_logprob(planted_model.model, good, d) - oracle.reply_logprob(planted_model.model, bad, d)
            for d in (delta, {})
        ]
        effects.append(gaps[0] - gaps[1])
    assert report.effect == pytest.approx(sum(effects) / 12, abs=1e-4)
    assert float(delta[report.layer].norm()) == pytest.approx(
        abs(report.dose) * file.median_residual_norm[report.layer], rel=1e-5
    )


def test_the_same_proof_twice_is_the_same_proof(planted_model, vector):
    one, two = (verified(planted_model, vector).model_copy(update={"seconds": 0.0}) for _ in range(2))
    assert one == two


def test_the_curve_holds_every_layer_and_dose_and_the_choice_is_its_best_allowed_point(planted_model, vector):
    report = verified(planted_model, vector)
    layers = candidate_layers(SETTINGS, 4)
    assert [(point.layer, point.dose) for point in report.dose_curve] == [
        (i, d) for i in layers for d in sorted(SETTINGS.doses)
    ]
    assert all(point.effect == point.kl_p95 == 0 for point in report.dose_curve if point.dose == 0)
    allowed = [p for p in report.dose_curve if p.dose > 0 and p.kl_p95 <= calibration.HEADROOM * SETTINGS.kl_p95_max]
    best = max(allowed, key=lambda point: point.effect)
    assert (report.layer, report.dose) == (best.layer, best.dose)


def test_shuffled_labels_are_refused_before_anything_is_steered(planted_model, tmp_path, monkeypatch):
    mixed = make_pairs(24, seed=1, swap=True)
    monkeypatch.setattr(proof, "calibrate", lambda *_: pytest.fail("steered"))
    report = verified(planted_model, extracted(planted_model, tmp_path / "v", mixed), train=mixed)
    assert report.verdict == "refused"
    assert report.reason.startswith("not one direction: mean cosine")
    assert report.effect is None


def test_without_the_training_pairs_their_recorded_coherence_decides_and_nothing_is_shuffled(
    planted_model, vector, tmp_path
):
    report = verified(planted_model, vector, train=())
    assert report.verdict == "verified"
    assert {null.kind for null in report.nulls} == {"random"}
    file = load(vector)
    save(tmp_path / "w", VectorFile(file.vectors, file.metadata | {"coherence": "[0.0, 0.01, 0.02, 0.0]"}))
    refused = verified(planted_model, tmp_path / "w", train=())
    assert refused.reason.startswith(
        "not one direction: mean cosine of a pair's difference to that of the others 0.02 at layer 2"
    )


def test_a_random_vector_is_refused(planted_model, vector, tmp_path):
    file = load(vector)
    noise = torch.randn(file.vectors.shape, generator=torch.Generator().manual_seed(5)).numpy()
    save(tmp_path / "w", VectorFile(noise, file.metadata))
    report = verified(planted_model, tmp_path / "w")
    assert report.verdict == "refused"
    assert "baseline of equal norm" in report.reason
    assert report.effect <= max(null.effect for null in report.nulls)


def test_a_vector_that_points_the_wrong_way_is_used_the_other_way_round_and_says_so(planted_model, vector, tmp_path):
    file = load(vector)
    save(tmp_path / "w", VectorFile(-file.vectors, file.metadata))
    straight, turned = verified(planted_model, vector), verified(planted_model, tmp_path / "w")
    assert turned.verdict == "verified"
    assert turned.polarity_flipped
    assert (turned.layer, turned.dose, turned.coefficient) == (straight.layer, -straight.dose, -straight.coefficient)
    assert turned.effect == pytest.approx(straight.effect, abs=1e-5)
    assert turned.steerability == pytest.approx(straight.steerability, abs=1e-4)
    assert turned.anti_steerable == 0


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"validation": make_pairs(3)}, "3 validation pairs, 4 are needed"),
        ({"validation": ()}, "0 validation pairs"),
        ({"test": make_pairs(5)}, "5 test pairs, 6 are needed"),
        ({"test": make_pairs(8, groups=1)}, "test pairs of 1 group, 2 are needed"),
        ({"neutral_test": ()}, "no neutral text"),
    ],
)
def test_too_little_evidence_is_a_refusal_and_no_crash(planted_model, vector, changes, reason):
    report = verified(planted_model, vector, **changes)
    assert report.verdict == "refused"
    assert reason in report.reason
    assert (report.effect, report.dose_curve) == (None, ())


def test_a_bar_on_side_effects_that_no_dose_meets_is_a_refusal_with_the_curve(planted_model, vector):
    report = verified(planted_model, vector, settings=SETTINGS.model_copy(update={"kl_p95_max": 1e-6}))
    assert report.reason == "no dose helps on validation pairs with neutral KL p95 within 1e-06 nat"
    assert len(report.dose_curve) == len(candidate_layers(SETTINGS, 4)) * len(SETTINGS.doses)


def test_test_pairs_are_not_looked_at_before_layer_and_dose_are_fixed(planted_model, vector, monkeypatch):
    order = []
    of, whole = calibration.PreparedPairs.of, calibration.calibrate

    def noted(cls, loaded, pairs, layers):
        order.append(("read", pairs[0].group.split("-")[0], list(layers)))
        return of(loaded, pairs, layers)

    def fixed(*args):
        found = whole(*args)
        order.append(("fixed", found.chosen.layer))
        return found

    monkeypatch.setattr(calibration.PreparedPairs, "of", classmethod(noted))
    monkeypatch.setattr(proof, "calibrate", fixed)
    verified(planted_model, vector)
    layer = order[1][1]
    assert order == [("read", "g2", candidate_layers(SETTINGS, 4)), ("fixed", layer), ("read", "g3", [layer])]


def test_a_vector_of_another_model_is_an_error(planted_model, llama, vector, tmp_path):
    import dataclasses

    with pytest.raises(MismatchError, match="model digest"):
        verified(dataclasses.replace(planted_model, digest="f" * 64), vector)
    with pytest.raises(NoInputError):
        verified(planted_model, tmp_path / "nowhere")


# ---------------------------------------------------------------- the parts


def point(dose, effect, p95, layer=1):
    return DosePoint(layer=layer, dose=dose, effect=effect, kl_mean=0.0, kl_p95=p95)


def test_the_most_effect_within_the_bar_is_chosen():
    curve = [
        point(-0.2, 9.0, 0.1),
        point(0.0, 0.0, 0.0),
        point(0.1, 1.0, 0.2),
        point(0.2, 2.0, 0.8),
        point(0.3, 3.0, 0.9),
    ]
    assert choose(curve, 0.8, 1.0) == curve[3]
    assert choose(curve, 0.8, -1.0) == curve[0]
    assert choose(curve, 0.1, 1.0) is None
    assert choose([point(0.1, -1.0, 0.1)], 1.0, 1.0) is None
    assert choose([point(0.1, float("nan"), 0.1)], 1.0, 1.0) is None


def test_candidate_layers_are_fractions_of_depth():
    assert candidate_layers(SETTINGS, 30) == [12, 14, 17]
    assert candidate_layers(SETTINGS.model_copy(update={"layers": (0.0, 1.0, 1.0)}), 30) == [0, 29]
    assert candidate_layers(SETTINGS, 1) == [0]


def test_the_slope_of_each_pair_is_its_own():
    effects = {
        d: torch.tensor([2.0, -1.0, 0.0]).double() * d + torch.tensor([0.0, 0.0, 1.0]).double()
        for d in (-0.1, 0.0, 0.1, 0.3)
    }
    assert slopes_over_doses(effects).tolist() == pytest.approx([2.0, -1.0, 0.0])


def test_pairs_of_a_group_come_and_go_together():
    """Twelve pairs of two sessions are two pieces of evidence, not twelve."""
    pairs = make_pairs(12, groups=2)
    values = torch.tensor([1.0 if pair.group.endswith("0") else 0.0 for pair in pairs]).double()
    assert group_interval(values, pairs, 500, 0) == (0.0, 1.0)
    alone = group_interval(values, make_pairs(12, groups=12), 500, 0)
    assert alone[0] > 0.1
    assert alone[1] < 0.9


def test_a_shuffled_baseline_keeps_nothing_of_what_all_pairs_share():
    draw = torch.Generator().manual_seed(0)
    shared = torch.zeros(40, dtype=torch.float64)
    shared[0] = 100.0
    for n in (20, 21):
        differences = shared + torch.randn(n, 40, generator=draw, dtype=torch.float64)
        for seed in range(10):
            mixed = shuffled(differences, torch.Generator().manual_seed(seed))
            assert abs(mixed[0]) < 3
            assert mixed.norm() > 0.5


def test_random_baselines_differ_and_repeat():
    one, two, again = (random_direction(8, torch.Generator().manual_seed(seed)) for seed in (1, 2, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, two)


def test_baselines_are_as_long_as_the_vector_at_its_dose(planted_model, vector, monkeypatch):
    lengths = {}
    effects = calibration.PreparedPairs.effects

    def noted(self, layer, delta):
        lengths.setdefault(layer, []).append(float(delta.norm()))
        return effects(self, layer, delta)

    monkeypatch.setattr(calibration.PreparedPairs, "effects", noted)
    report, file = verified(planted_model, vector), load(vector)
    wanted = report.dose * file.median_residual_norm[report.layer]
    assert lengths[report.layer][-40:] == pytest.approx([wanted] * 40, rel=1e-4)


def measured(**changes):
    side = SideEffects(kl_mean=0.1, kl_p95=0.5, kl_rmse=0.2, perplexity=2.0, perplexity_base=1.9, n_positions=9)
    given = {
        "verdict": "verified",
        "reason": "",
        "layer": 1,
        "dose": 0.2,
        "coefficient": 1.0,
        "effect": 1.0,
        "effect_interval": (0.5, 1.5),
        "base_gap": 0.0,
        "steered_gap": 1.0,
        "steerability": 5.0,
        "anti_steerable": 0.1,
        "nulls": (Null(kind="random", seed=0, effect=0.2), Null(kind="shuffled", seed=0, effect=0.4)),
        "side_effects": side,
    }
    return VerifyReport.model_validate(given | changes)


NAN = float("nan")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"effect": 0.05}, "effect +0.050 nats a token on test pairs, at least 0.1 is asked"),
        ({"effect": NAN}, "effect +nan"),
        ({"effect_interval": (-0.2, 2.0)}, "its interval reaches down to -0.200"),
        ({"nulls": (Null(kind="shuffled", seed=3, effect=1.0),)}, "not above the +1.000 of a shuffled baseline"),
        ({"anti_steerable": 0.5}, "50% of the test pairs go the other way, at most 25% may"),
        (
            {
                "side_effects": SideEffects(
                    kl_mean=1, kl_p95=1.2, kl_rmse=1, perplexity=1, perplexity_base=1, n_positions=1
                )
            },
            "neutral KL p95 1.20",
        ),
    ],
)
def test_each_number_that_fails_is_the_reason(changes, reason):
    assert reason in first_failing(measured(**changes), SETTINGS)


def test_a_report_that_meets_everything_has_no_reason_against_it():
    assert first_failing(measured(), SETTINGS) == ""
    assert first_failing(measured(nulls=()), SETTINGS) == ""


def test_neutral_text_is_not_empty_and_not_shared_between_sides():
    from daemon.steering.neutral import load_neutral

    sides = [load_neutral(side) for side in ("train", "validation", "test")]
    assert all(len(side) >= 8 for side in sides)
    assert {text.kind for text in sides[1]} >= {"prose", "chat"}
    said = [set(side) for side in ([text.model_dump_json() for text in side] for side in sides)]
    assert not said[0] & said[1]
    assert not said[2] & (said[0] | said[1])
    assert neutral() == neutral()
