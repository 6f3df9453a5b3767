"""A proved vector measured again at its place gives what its proof gave; on another model what that gives."""

import dataclasses

import pytest
import torch

from daemon.errors import MismatchError
from daemon.proof.recheck import run_recheck
from daemon.proof.verify import run_verify
from daemon.protocol import ExtractRequest, Placement, RecheckRequest
from daemon.steering.extract import run_extract
from tests.steering.planted import SETTINGS, make_pairs, neutral, verify_request
from tests.tiny import tiny_loaded


@pytest.fixture
def vector(planted_model, tmp_path):
    request = ExtractRequest(model="unused", pairs=make_pairs(24, seed=1), out=tmp_path / "v", behaviour="planted")
    run_extract(planted_model, request, lambda _: None)
    return tmp_path / "v"


def again(loaded, vector, placements, **changes):
    given = {"test": make_pairs(12, seed=3), "neutral_test": neutral(seed=52), "bootstrap": SETTINGS.bootstrap}
    request = RecheckRequest(model="unused", vector=vector, placements=placements, **given | changes)
    return run_recheck(loaded, request, lambda _: None)


def test_the_same_model_and_pairs_give_the_numbers_of_the_proof(planted_model, vector):
    proof = run_verify(planted_model, verify_request(vector), lambda _: None)
    found = again(planted_model, vector, proof.placements)
    assert found.effect == pytest.approx(proof.effect, abs=1e-6)
    assert found.effect_interval == pytest.approx(proof.effect_interval, abs=1e-6)
    assert found.side_effects.kl_p95 == pytest.approx(proof.side_effects.kl_p95, abs=1e-6)
    assert (found.n_test, found.n_groups) == (12, 6)


def test_another_template_is_measured_and_not_refused(planted_model, vector):
    at = (Placement(layer=2, dose=0.2, coefficient=1.0),)
    other = dataclasses.replace(planted_model, template_digest="f" * 64)
    assert again(other, vector, at).template_digest == "f" * 64


def test_weights_that_lost_the_direction_lose_the_effect(planted_model, vector):
    at = (Placement(layer=2, dose=0.2, coefficient=1.0),)
    assert again(planted_model, vector, at).effect_interval[0] > 0
    lost = again(tiny_loaded("llama"), vector, at)
    assert lost.effect < 0.3 * again(planted_model, vector, at).effect
    assert lost.effect_interval[0] < lost.effect < lost.effect_interval[1]


def test_the_coefficient_of_the_proof_is_what_is_added(planted_model, vector):
    """Servers add coefficient times the stored vector; norms may have moved since the proof."""
    from daemon.proof.prepared import PreparedPairs
    from daemon.steering.vector_file import load

    file = load(vector)
    at = (Placement(layer=2, dose=0.2, coefficient=file.coefficient(2, 0.2)),)
    added = torch.from_numpy(file.vectors[2]) * at[0].coefficient
    pairs = PreparedPairs.of(planted_model, make_pairs(12, seed=3), [2])
    assert again(planted_model, vector, at).effect == pytest.approx(float(pairs.effects({2: added}).mean()), abs=1e-6)
    twice = (at[0].model_copy(update={"coefficient": 2 * at[0].coefficient}),)
    assert again(planted_model, vector, twice).effect == pytest.approx(
        float(pairs.effects({2: 2 * added}).mean()), abs=1e-6
    )


def test_a_layer_that_the_model_has_not_is_refused(planted_model, vector):
    with pytest.raises(MismatchError, match=r"layers and width are \(4, 32\), this model has \(4, 32\)"):
        again(planted_model, vector, (Placement(layer=7, dose=0.2, coefficient=1.0),))
