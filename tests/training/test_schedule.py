"""Rates and batches depend on seed and step alone."""

import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.training.schedule import chosen, learning_rate


def test_the_rate_warms_up_then_falls_to_a_tenth() -> None:
    rates = [learning_rate(step, 1.0, 4, 20) for step in range(20)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[4] == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(0.1)
    assert all(later < earlier for earlier, later in itertools.pairwise(rates[4:]))


def test_without_warmup_it_starts_at_the_peak() -> None:
    assert learning_rate(0, 0.5, 0, 10) == pytest.approx(0.5)


@given(st.integers(1, 20), st.integers(1, 8), st.integers(0, 3))
def test_over_whole_epochs_every_item_is_read_equally_often(size: int, wanted: int, seed: int) -> None:
    read = Counter(i for step in range(size * 2) for i in chosen("pairs", size, wanted, step, seed))
    assert set(read) == set(range(size))
    assert len(set(read.values())) == 1


def test_a_step_reads_the_same_items_whatever_was_read_before() -> None:
    assert chosen("pairs", 30, 4, 17, 1) == chosen("pairs", 30, 4, 17, 1)
    assert chosen("pairs", 30, 4, 17, 1) != chosen("pairs", 30, 4, 17, 2)
    assert chosen("pairs", 30, 4, 17, 1) != chosen("neutral", 30, 4, 17, 1)


def test_nothing_is_chosen_from_nothing() -> None:
    assert chosen("replay", 0, 2, 3, 0) == []
