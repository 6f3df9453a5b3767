"""The largest dose within the bars, the knee of an effect, and which layers and doses are chosen."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.proof import calibrate as calibration
from daemon.proof.calibrate import (
    HEADROOM,
    LEAST_DOSE,
    calibrate,
    candidate_layers,
    chosen_places,
    knee,
    largest_within,
)
from daemon.proof.prepared import PreparedPairs
from daemon.protocol import DosePoint, ExtractRequest, Placement
from daemon.steering.apply import deltas_at
from daemon.steering.extract import run_extract
from daemon.steering.score import KL
from daemon.steering.vector_file import load
from tests.steering.planted import SETTINGS, make_pairs, neutral


@given(st.floats(1e-4, 20), st.floats(0.5, 4), st.floats(0.05, 2))
def test_the_root_of_any_power_is_found_from_below(root, power, most):
    """KL grows like a power of the dose, near 2 at first and less when it saturates."""
    asked = []

    def over(dose):
        asked.append(dose)
        return power * math.log(dose / root)

    found = largest_within(over, most)
    assert len(asked) <= 8
    assert found <= min(root, most) * (1 + 1e-9)
    if most < root:
        assert found == pytest.approx(most, rel=0.1)
    elif root > 2 * LEAST_DOSE:
        assert over(found) > -0.1  # close below the root


def test_a_root_search_gives_nothing_where_every_dose_is_over_or_no_number():
    assert largest_within(lambda _: math.inf, 1.0) == 0.0
    assert largest_within(lambda _: 5.0, 1.0) == 0.0
    assert largest_within(lambda _: -math.inf, 0.7) == pytest.approx(0.7)


def test_a_wall_is_approached_from_below():
    found = largest_within(lambda dose: -math.inf if dose < 0.33 else math.inf, 1.0)
    assert 0.2 <= found < 0.33


@pytest.mark.parametrize("peak", [0.2, 0.37, 0.62, 0.9])
def test_the_knee_is_where_the_effect_stops_growing(peak):
    dose, effect = knee(lambda dose: -((dose - peak) ** 2), 1.0)
    assert dose == pytest.approx(peak, abs=0.06)
    assert effect == -((dose - peak) ** 2)


def test_an_effect_that_still_grows_takes_the_whole_reach():
    assert knee(lambda dose: 2 * dose, 0.4) == (0.4, 0.8)


def test_candidate_layers_are_fractions_of_depth():
    assert candidate_layers(SETTINGS.model_copy(update={"layers": (0.4, 0.5, 0.6)}), 30) == [12, 14, 17]
    assert candidate_layers(SETTINGS.model_copy(update={"layers": (0.0, 1.0, 1.0)}), 30) == [0, 29]
    assert candidate_layers(SETTINGS, 1) == [0]


@pytest.fixture
def file(planted_model, tmp_path):
    run_extract(
        planted_model,
        ExtractRequest(model="unused", pairs=make_pairs(24, seed=1), out=tmp_path / "v", behaviour="planted"),
        lambda _: None,
    )
    return load(tmp_path / "v")


def calibrated(loaded, file, layers=(1, 2), **changes):
    settings = SETTINGS.model_copy(update=changes)
    return calibrate(loaded, file, layers, make_pairs(8, seed=2), neutral(seed=51), settings, lambda _: None)


def test_every_layer_has_its_operating_point_within_both_bars(planted_model, file):
    found = calibrated(planted_model, file, kl_p95_max=0.5, kl_rmse_max=0.4)
    assert [point.layer for point in found.layer_curve] == [1, 2]
    for point in found.layer_curve:
        assert point.kl_p95 <= HEADROOM * 0.5
        assert point.kl_rmse <= HEADROOM * 0.4
        assert point.kl_p95 > 0.9 * HEADROOM * 0.5 or point.kl_rmse > 0.9 * HEADROOM * 0.4 or point.dose == 1.0
    best = max(found.layer_curve, key=lambda point: point.effect)
    (at,) = found.placements
    assert (at.layer, at.dose) == (best.layer, best.dose)
    assert at.coefficient == pytest.approx(file.coefficient(at.layer, at.dose))


def test_the_root_mean_square_is_a_bar_of_its_own(planted_model, file):
    """A few ruined positions: the percentile has room, the root mean square has none."""
    found = calibrated(planted_model, file, kl_p95_max=100.0, kl_rmse_max=0.05)
    assert all(0 < point.kl_rmse <= HEADROOM * 0.05 for point in found.layer_curve)
    free = calibrated(planted_model, file, kl_p95_max=100.0, kl_rmse_max=100.0)
    assert all(point.kl_rmse > 0.05 for point in free.layer_curve)


def test_a_dose_whose_divergence_is_no_number_is_over_the_bars(planted_model, file, monkeypatch):
    monkeypatch.setattr(calibration, "kl_summary", lambda _: KL(math.nan, math.nan, math.nan))
    assert calibrated(planted_model, file).placements == ()


def test_the_sweep_goes_from_minus_two_to_two_times_the_operating_dose(planted_model, file):
    found = calibrated(planted_model, file)
    dose = found.placements[0].dose
    assert [point.dose / dose for point in found.dose_curve] == pytest.approx([-2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2])
    nothing, own = found.dose_curve[4], found.dose_curve[6]
    assert (nothing.effect, nothing.kl_p95) == (0.0, 0.0)
    assert own.effect == pytest.approx(max(point.effect for point in found.layer_curve), abs=1e-6)
    assert all(point.perplexity > 1 for point in found.dose_curve)


def test_no_dose_within_the_bars_is_no_placement(planted_model, file):
    found = calibrated(planted_model, file, kl_p95_max=1e-12)
    assert (found.placements, found.dose_curve) == ((), ())
    assert [point.dose for point in found.layer_curve] == [0.0, 0.0]


class TwoLayers:
    """Effects add up over layers, and so do divergences, which grow with the square of a dose: 1 at dose 0.4."""

    settings = SETTINGS.model_copy(update={"span": 2})

    def __init__(self, gain):
        self.gain = gain

    def placed(self, layer, dose):
        return (Placement(layer=layer, dose=dose, coefficient=10 * dose),)

    def effect(self, at):
        return sum(self.gain[place.layer] * place.dose for place in at)

    def over(self, at):
        return math.log(sum((place.dose / 0.4) ** 2 for place in at))


def points(gain):
    return [
        DosePoint(layer=layer, dose=0.4, effect=0.4 * each, kl_mean=0, kl_p95=1) for layer, each in sorted(gain.items())
    ]


def test_a_span_of_layers_adds_at_each_its_own_dose_within_the_same_bars():
    alike = {3: 1.0, 7: 0.9, 5: 0.1}
    found = chosen_places(TwoLayers(alike), points(alike))
    assert [at.layer for at in found] == [3, 7]
    assert [at.dose for at in found] == pytest.approx([0.4 / math.sqrt(2)] * 2, rel=0.03)
    assert sum(at.dose**2 for at in found) <= 0.4**2
    assert [at.coefficient for at in found] == pytest.approx([10 * at.dose for at in found])


def test_layers_that_bring_no_more_at_the_same_price_are_left_out():
    unlike = {3: 1.0, 7: 0.2}
    assert chosen_places(TwoLayers(unlike), points(unlike)) == TwoLayers(unlike).placed(3, 0.4)


def test_a_span_on_a_real_pass_keeps_to_the_bars(planted_model, file):
    found = calibrated(planted_model, file, span=2, kl_p95_max=0.1)
    own = next(point for point in found.dose_curve if point.dose == found.placements[0].dose)
    assert 0 < own.kl_p95 <= HEADROOM * 0.1
    pairs = PreparedPairs.of(planted_model, make_pairs(8, seed=2), [1, 2])
    assert own.effect == pytest.approx(float(pairs.effects(deltas_at(file, found.placements)).mean()), abs=1e-6)
