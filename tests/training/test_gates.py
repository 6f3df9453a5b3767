"""The arithmetic that decides; NaN never passes."""

import math

import pytest

from daemon.protocol import BakeRow, Gate, GateSettings
from daemon.training.gates import (
    Retained,
    at_least,
    at_most,
    candidate_gates,
    control_gate,
    divided,
    dominated,
    effect_ratio,
    failures,
    nearest_to_full,
    passes,
    reported,
    retention_gates,
)

SETTINGS = GateSettings()


def row(ratio: float = 0.9, *, left: float = 0.1, kl: float = 0.01, perplexity: float = 20.0) -> BakeRow:
    return BakeRow(
        variant="trained",
        gap=1.0,
        effect=1.0,
        effect_ratio=ratio,
        effect_ratio_interval=(ratio - 0.1, ratio + 0.1),
        kl_to_teacher_left=left,
        neutral_kl_mean=kl,
        neutral_kl_p95=kl,
        neutral_kl_rmse=kl,
        perplexity=perplexity,
    )


BASE, HOOK = row(0.0, kl=0.0), row(1.0, kl=0.2, perplexity=23.0)


def test_effect_ratio_is_the_share_of_the_hooks_effect() -> None:
    ratio = effect_ratio([1.0, 2.0], [0.0, 0.0], [2.0, 2.0], ["a", "b"], bootstrap=500, seed=0)
    assert ratio.point == pytest.approx(0.75)
    assert ratio.interval == (pytest.approx(0.5), pytest.approx(1.0))


def test_pairs_of_one_group_are_resampled_together() -> None:
    together = effect_ratio([1.0, 2.0], [0.0, 0.0], [2.0, 2.0], ["a", "a"], bootstrap=500, seed=0)
    assert together.interval == (pytest.approx(0.75), pytest.approx(0.75))


def test_a_hook_without_effect_gives_no_ratio() -> None:
    ratio = effect_ratio([1.0], [0.0], [-1.0], ["a"], bootstrap=10, seed=0)
    assert math.isnan(ratio.point)
    assert all(math.isnan(end) for end in ratio.interval)


@pytest.mark.parametrize("value", [math.nan, 0.81])
def test_nan_passes_neither_side_of_a_bar(value: float) -> None:
    assert at_most("x", value, 0.8, 1).passed is False
    assert at_least("x", value, 0.9, 1).passed is False


def test_the_bar_itself_passes() -> None:
    assert at_most("x", 0.2, 0.2, 1).passed
    assert at_least("x", 0.8, 0.8, 1).passed


@pytest.mark.parametrize(
    ("found", "failing"),
    [
        (row(), []),
        (row(0.79), ["effect_ratio"]),
        (row(1.3), ["effect_not_overdone"]),
        (row(kl=0.041), ["neutral_kl_ratio"]),
        (row(perplexity=20.7), ["perplexity_ratio"]),
        (row(math.nan), ["effect_ratio", "effect_not_overdone"]),
        (row(kl=math.nan), ["neutral_kl_ratio"]),
    ],
)
def test_each_bar_stops_what_it_is_for(found: BakeRow, failing: list[str]) -> None:
    gates = candidate_gates(found, BASE, HOOK, SETTINGS, 10, 100)
    assert [gate.name for gate in gates if gate.passed is False] == failing
    assert passes(gates) is (not failing)
    for name in failing:
        assert name in failures(gates)


def test_a_hook_that_leaves_neutral_text_alone_lets_nothing_pass() -> None:
    gates = candidate_gates(row(), BASE, row(1.0, kl=0.0), SETTINGS, 10, 100)
    assert not passes(gates)


def test_a_random_vector_that_shows_the_behaviour_stops_the_bake() -> None:
    assert control_gate(row(0.21), SETTINGS, 10).passed is False
    assert control_gate(row(-0.3), SETTINGS, 10).passed is True


@pytest.mark.parametrize(
    ("before", "after", "kept", "passed"),
    [
        (1.0, 0.8, 0.8, True),
        (1.0, 0.7, 0.7, False),
        (-0.5, -0.5, 1.0, True),
        (-0.5, -1.0, 0.0, False),
        (0.0, -0.05, 0.5, False),
        (1.0, math.nan, math.nan, False),
    ],
)
def test_retention_is_after_over_before_and_sane_around_zero(
    before: float, after: float, kept: float, passed: bool
) -> None:
    gates = retention_gates([Retained("calm", before, after, 0.3, 12)], SETTINGS)
    assert gates[0].value == pytest.approx(kept, nan_ok=True)
    assert gates[0].passed is passed
    assert gates[1] == Gate(name="retention_kl:calm", value=0.3, bar=None, passed=None, n=12)


def test_reported_numbers_do_not_decide_and_no_gate_at_all_does_not_pass() -> None:
    assert not passes([])
    assert not passes([reported("x", 1.0, 1)])
    assert passes([reported("x", math.nan, 1), at_least("y", 1.0, 0.5, 1)])


def test_dominated_means_no_better_in_anything_and_worse_in_something() -> None:
    assert dominated(row(0.8), by=row(0.9))
    assert not dominated(row(0.8, left=0.05), by=row(0.9))
    assert not dominated(row(), by=row())
    assert not dominated(row(math.nan), by=row())


def test_the_scale_taken_is_the_one_nearest_to_the_whole_effect_within_the_gates() -> None:
    assert nearest_to_full([0.7, 0.95, 1.2], [True, True, True]) == 1
    assert nearest_to_full([0.7, 0.95, 1.2], [True, False, False]) == 0
    assert nearest_to_full([0.9, 1.1], [True, True]) == 0
    assert nearest_to_full([math.nan, 0.2], [True, True]) == 1
    assert nearest_to_full([0.7, 0.95, 1.2], [True, True, True], aim=0.8) == 0
    assert nearest_to_full([1.0], [False]) is None


def test_a_quotient_by_nothing_is_not_a_number() -> None:
    assert math.isnan(divided(1.0, 0.0))
    assert divided(1.0, 2.0) == 0.5
