"""When changed evidence makes a new version: the two bars, what is always new, and how well a turn is predicted."""

import math
from fractions import Fraction

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import example, given

from daemon.refresh import Change, Evidence, Parent, Rule, decide, noise_to_signal, predicted_cosine

RULE = Rule(share=0.2, cosine=0.97)


def evidence(train, held_out=(), recipe="{}", template="t"):
    return Evidence(frozenset(train), frozenset(held_out), recipe, template)


def parent(n=20, held_out=(), split_half=0.9, state="verified", stale=None):
    return Parent("listening@2", state, evidence(range(n), held_out), stale, split_half)


# ---------------------------------------------------------------- the prediction, against vectors themselves


def cosine(x, y):
    return float(x @ y / (np.linalg.norm(x) * np.linalg.norm(y)))


def orthogonal_cosine(ratio, change):
    """The two means of differences whose noises are at right angles to each other and to the mean, written out."""
    every = change.parent + change.added
    differences = np.eye(every, every + 1) * math.sqrt(ratio)
    differences[:, every] = 1.0
    return cosine(differences[: change.parent].mean(axis=0), differences[change.gone :].mean(axis=0))


changes = st.builds(
    lambda parent, added, gone: Change(added, min(gone, parent - (0 if added else 1)), parent),
    st.integers(1, 40),
    st.integers(0, 40),
    st.integers(0, 40),
)


@given(st.floats(0.0, 1e4), changes)
def test_the_prediction_is_the_cosine_of_means_whose_noises_share_nothing(ratio, change):
    assert predicted_cosine(ratio, change) == pytest.approx(orthogonal_cosine(ratio, change), abs=1e-9)


@given(changes)
def test_without_any_signal_it_is_the_share_of_pairs_in_common(change):
    far = predicted_cosine(1e12, change)
    assert predicted_cosine(math.inf, change) == pytest.approx(far, abs=1e-6)


@pytest.mark.parametrize("c", [0.15, 0.5, 0.9])
@pytest.mark.parametrize(("n", "added", "gone"), [(16, 4, 0), (16, 0, 4), (40, 20, 10), (24, 24, 24)])
def test_it_predicts_what_random_activations_do(c, n, added, gone):
    """Gaussian differences in 400 dimensions of unlike variance: split, measured, predicted, and done."""
    rng = np.random.default_rng(7)
    spread = np.exp(rng.normal(0, 0.7, 400))
    spread *= math.sqrt((n / 2) * (1 - c) / c) / np.linalg.norm(spread)
    halves, turned = [], []
    for _ in range(200):
        drawn = rng.normal(0, 1, (n + added, 400)) * spread
        drawn[:, 0] += 1.0
        halves.append(cosine(drawn[: n // 2].mean(axis=0), drawn[n // 2 : n].mean(axis=0)))
        turned.append(cosine(drawn[:n].mean(axis=0), drawn[gone:].mean(axis=0)))
    assert np.mean(halves) == pytest.approx(c, abs=0.03)
    told = predicted_cosine(noise_to_signal(float(np.mean(halves)), n), Change(added, gone, n))
    assert told == pytest.approx(np.mean(turned), abs=0.02)


def test_halves_that_point_apart_show_no_direction():
    assert noise_to_signal(-0.2, 16) == noise_to_signal(0.0, 16) == math.inf
    assert noise_to_signal(1.0, 16) == 0.0
    assert noise_to_signal(1.0 + 1e-12, 16) == 0.0
    assert predicted_cosine(0.0, Change(1, 0, 1)) == 1.0
    assert predicted_cosine(1.0, Change(0, 3, 3)) == 0.0


# ---------------------------------------------------------------- the bars


@example(25, 7, 0, 28)  # 0.28 · 25 is 7.000000000000001 in binary fractions
@given(st.integers(1, 60), st.integers(0, 30), st.integers(0, 30), st.integers(1, 100))
def test_a_share_of_the_parents_training_pairs_makes_a_version(n, added, gone, hundredths):
    gone = min(gone, n)
    share = Fraction(hundredths, 100)
    now = evidence(range(gone, n + added))
    decision = decide(parent(n, split_half=None), now, Rule(float(share), -1.0))
    assert decision.make == (added + gone > 0 and Fraction(added + gone, n) >= share)
    if not decision.make and added + gone:
        assert decision.needed == max(1, math.ceil(share * n))
        assert str(decision.needed) in decision.because


@given(st.integers(4, 40), st.integers(0, 10), st.integers(0, 10), st.floats(-0.5, 1.0), st.floats(0.5, 1.0))
@example(4, 0, 1, 2.9e-305, 0.5)  # two factors whose product is too large for a float
def test_so_does_a_direction_that_would_turn_far_and_what_is_needed_is_the_least_that_does(n, added, gone, c, bar):
    gone = min(gone, n)
    rule = Rule(0.5, bar)

    def turns(added):
        ratio = math.inf if c <= 0 else (n / 2) * (1 - c) / c
        told = Change(added, gone, n)
        return 2 * told.total >= n or (told.total and orthogonal_cosine(min(ratio, 1e9), told) <= bar)

    if gone == n and not added:
        return
    decision = decide(parent(n, split_half=c), evidence(range(gone, n + added)), rule)
    if decision.cosine is not None and abs(decision.cosine - bar) < 1e-6:
        return  # on the bar itself either is right
    assert decision.make == bool(turns(added))
    if not decision.make and added + gone:
        least = next(k for k in range(added, n + 1) if turns(k))
        assert abs(decision.needed - (least + gone)) <= (1 if bar > 0.999 else 0)


@pytest.mark.parametrize(
    ("was", "now", "because"),
    [
        (None, evidence(range(3)), "the first for this model"),
        (parent(stale="pair p1 dropped"), evidence(range(20)), "listening@2 is stale: pair p1 dropped"),
        (parent(), evidence(range(20), template="u"), "another tokenizer or chat template"),
        (parent(), evidence(range(20), recipe='{"seed":1}'), "another recipe"),
        (parent(), evidence(range(24)), "4 of 20 training pairs changed"),
        (parent(split_half=0.05), evidence(range(22)), "2 new training pairs: predicted cosine 0.958 to listening@2"),
    ],
)
def test_it_says_why_there_is_a_new_version(was, now, because):
    decision = decide(was, now, RULE)
    assert (decision.make, decision.because) == (True, because)


@pytest.mark.parametrize(
    ("now", "because"),
    [
        (range(20), ""),
        (range(21), "1 new training pair, 4 are needed for a new version"),
        (range(23), "3 new training pairs, 4 are needed for a new version"),
        (range(1, 20), "1 training pair gone, 4 changes are needed for a new version"),
        (range(1, 22), "2 new training pairs and 1 gone, 4 changes are needed for a new version"),
    ],
)
def test_it_says_what_waits(now, because):
    decision = decide(parent(), evidence(now), RULE)
    assert (decision.make, decision.because) == (False, because)


def test_held_out_pairs_make_a_version_only_where_the_proof_was_refused():
    verified, refused = (parent(held_out="abcde", state=state) for state in ("verified", "rejected"))
    now = evidence(range(20), "abcdefg")
    assert decide(refused, now, RULE).because == "listening@2 was refused, and 2 held-out pairs changed"
    told = decide(verified, now, RULE)
    assert (told.make, told.because) == (False, "2 held-out pairs changed; a new version waits for training pairs")
    both = evidence(range(21), "abcdefg")
    assert decide(refused, both, RULE).make
    assert not decide(verified, both, RULE).make
    assert not decide(
        parent(held_out=range(100, 120), state="rejected"), evidence(range(20), range(100, 121)), RULE
    ).make


def test_before_its_extraction_nothing_is_predicted_of_a_version():
    decision = decide(parent(split_half=None), evidence(range(21)), Rule(0.2, 1.0))
    assert (decision.make, decision.cosine) == (False, None)
