"""A vector earns its place on directions it has never seen, or is refused with the one number that failed."""

import pytest
import torch

from daemon.errors import MismatchError, NoInputError
from daemon.proof import held_out as looked_at
from daemon.proof import verify as proof
from daemon.proof.calibrate import HEADROOM, candidate_layers
from daemon.proof.held_out import group_interval, slopes_over_doses
from daemon.proof.verify import run_verify
from daemon.protocol import ExtractRequest, Rival
from daemon.steering.extract import run_extract
from daemon.steering.text import encode
from daemon.steering.vector_file import VectorFile, load, save
from tests.steering import oracle
from tests.steering.planted import SETTINGS, make_pairs, neutral, planted_direction, verify_request
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


def test_the_choice_is_the_layer_with_the_most_effect_at_its_own_dose(planted_model, vector):
    report = verified(planted_model, vector)
    assert [point.layer for point in report.layer_curve] == candidate_layers(SETTINGS, 4)
    assert all(point.kl_p95 <= HEADROOM * SETTINGS.kl_p95_max for point in report.layer_curve)
    best = max(report.layer_curve, key=lambda point: point.effect)
    assert (report.layer, report.dose) == (best.layer, best.dose)
    (at,) = report.placements
    assert (at.layer, at.dose, at.coefficient) == (report.layer, report.dose, report.coefficient)


def test_every_pair_has_its_own_effect_and_slope(planted_model, vector):
    report = verified(planted_model, vector)
    assert [sample.pair for sample in report.samples] == [pair.id for pair in make_pairs(12, seed=3)]
    assert sum(sample.effect for sample in report.samples) / 12 == pytest.approx(report.effect)
    assert sum(sample.slope for sample in report.samples) / 12 == pytest.approx(report.steerability)
    assert report.samples[0].direction == make_pairs(12, seed=3)[0].prompt[0].content


def test_every_condition_is_told_with_its_number_bar_and_count(planted_model, vector):
    report = verified(planted_model, vector)
    assert len(report.conditions) >= 9
    assert all(condition.met and condition.n > 0 and condition.reason == "" for condition in report.conditions)
    assert {condition.what for condition in report.conditions} >= {"effect, nats a token", "neutral KL p95, nats"}


def test_another_behaviours_vector_is_a_baseline(planted_model, vector, tmp_path):
    """Where it does as much for these pairs, the evidence does not tell the two behaviours apart."""
    file = load(vector)
    save(tmp_path / "true", VectorFile(planted_direction().expand(4, -1).numpy().copy(), file.metadata))
    save(tmp_path / "opposite", VectorFile(-file.vectors, file.metadata))
    one, two = Rival(name="opposite", vector=tmp_path / "opposite"), Rival(name="true", vector=tmp_path / "true")
    assert verified(planted_model, vector, rivals=(one,)).verdict == "verified"
    report = verified(planted_model, vector, rivals=(one, two))
    assert [null.name for null in report.nulls if null.kind == "behaviour"] == ["opposite", "true"]
    assert report.verdict == "refused"
    assert "of a behaviour baseline true of equal norm" in report.reason


def test_more_behaviours_proved_together_raise_the_bar(planted_model, vector):
    one, many = (verified(planted_model, vector, family=family).null_test for family in (1, 300))
    assert many.bar > one.bar
    assert (one.family, many.family, one.p_value) == (1, 300, many.p_value)


def test_shuffled_labels_are_refused_before_anything_is_steered(planted_model, tmp_path, monkeypatch):
    mixed = make_pairs(24, seed=1, swap=True)
    monkeypatch.setattr(proof, "calibrate", lambda *_: pytest.fail("steered"))
    report = verified(planted_model, extracted(planted_model, tmp_path / "v", mixed), train=mixed)
    assert report.verdict == "refused"
    assert report.reason.startswith("not one direction: ")
    assert report.effect is None
    assert report.predictions[2].coherence < SETTINGS.min_coherence


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
    assert report.effect <= max(report.null_test.bar, report.null_test.strongest)
    assert "baseline of equal norm" in report.reason or "chance alone reaches" in report.reason


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
    report = verified(planted_model, vector, settings=SETTINGS.model_copy(update={"kl_p95_max": 1e-12}))
    assert report.reason == "no dose helps on validation pairs with neutral KL p95 within 1e-12 and RMSE within 1 nat"
    assert [point.dose for point in report.layer_curve] == [0, 0]


def test_test_pairs_are_not_looked_at_before_layer_and_dose_are_fixed(planted_model, vector, monkeypatch):
    order = []
    whole, of = proof.calibrate, looked_at.HeldOut.of

    def fixed(*args):
        assert not any(pair in args[3] for pair in make_pairs(12, seed=3))
        found = whole(*args)
        order.append(("fixed", found.placements[0].layer))
        return found

    def noted(cls, loaded, pairs, layers):
        order.append(("read", list(layers)))
        return of(loaded, pairs, layers)

    monkeypatch.setattr(proof, "calibrate", fixed)
    monkeypatch.setattr(looked_at.HeldOut, "of", classmethod(noted))
    verified(planted_model, vector)
    layer = order[0][1]
    assert order == [("fixed", layer), ("read", [layer])]


def test_a_vector_of_another_model_is_an_error(planted_model, llama, vector, tmp_path):
    import dataclasses

    with pytest.raises(MismatchError, match="model digest"):
        verified(dataclasses.replace(planted_model, digest="f" * 64), vector)
    with pytest.raises(NoInputError):
        verified(planted_model, tmp_path / "nowhere")


# ---------------------------------------------------------------- the parts


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


def test_neutral_text_is_not_empty_and_not_shared_between_sides():
    from daemon.steering.neutral import load_neutral

    sides = [load_neutral(side) for side in ("train", "validation", "test")]
    assert all(len(side) >= 8 for side in sides)
    assert {text.kind for text in sides[1]} >= {"prose", "chat"}
    said = [set(side) for side in ([text.model_dump_json() for text in side] for side in sides)]
    assert not said[0] & said[1]
    assert not said[2] & (said[0] | said[1])
    assert neutral() == neutral()
