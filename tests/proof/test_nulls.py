"""Baselines mirror the vector, and the bar above them keeps what chance promotes as rare as was asked."""

import math
import random
import statistics
from types import SimpleNamespace

import pytest
import torch

from daemon.proof import nulls as module
from daemon.proof.nulls import measure_nulls, null_test, of_equal_norm, random_direction, shuffled
from daemon.proof.prepared import PreparedPairs
from daemon.protocol import Null
from tests.steering import oracle
from tests.steering.planted import make_pairs
from tests.tiny import tiny_tokenizer

DELTAS = {1: torch.full((32,), 0.1), 2: torch.full((32,), 0.3)}


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


DIFFERENCES = {1: drawn(11, 32, seed=1), 2: drawn(11, 32, seed=2)}
RIVALS = {"other": {1: drawn(32, seed=3), 2: drawn(32, seed=4), 3: drawn(32, seed=5)}}


def recorded(deltas=DELTAS, differences=DIFFERENCES, rivals=RIVALS, counts=(3, 3), seed=0):
    """The baselines and what each of them added, without a model."""
    added = []

    def effects(changes):
        added.append(changes)
        return torch.tensor([float(len(added)), float(len(added)) + 1], dtype=torch.float64)

    pairs = SimpleNamespace(effects=effects)
    told = []
    found = measure_nulls(pairs, deltas, differences, rivals, counts, seed, told.append)
    assert [(step.done, step.total) for step in told] == [(i + 1, len(found)) for i in range(len(found))]
    return found, added


def test_each_kind_comes_in_its_number_and_the_effect_is_the_mean_over_pairs():
    found, _ = recorded(counts=(2, 3))
    assert [(null.kind, null.seed, null.name) for null in found] == [
        *(("random", i, "") for i in range(2)),
        *(("shuffled", i, "") for i in range(3)),
        ("behaviour", 0, "other"),
    ]
    assert [null.effect for null in found] == [1.5, 2.5, 3.5, 4.5, 5.5, 6.5]


def test_baselines_are_added_where_the_vector_is_and_are_as_long_there():
    for changes in recorded()[1]:
        assert changes.keys() == DELTAS.keys()
        for layer, change in changes.items():
            assert change.dtype == torch.float32
            assert float(change.norm()) == pytest.approx(float(DELTAS[layer].norm()), rel=1e-5)


def test_the_same_half_is_exchanged_at_every_layer():
    """With the same differences at both layers, a baseline points the same way at both."""
    _, added = recorded(differences={1: DIFFERENCES[1], 2: DIFFERENCES[1]}, rivals={}, counts=(2, 4))
    for changes in added[2:]:
        assert torch.allclose(changes[1] / changes[1].norm(), changes[2] / changes[2].norm(), atol=1e-6)
    for changes in added[:2]:
        cosine = torch.nn.functional.cosine_similarity(changes[1], changes[2], dim=0)
        assert abs(float(cosine)) < 0.9


def test_baselines_differ_by_seed_and_repeat():
    def directions(seed):
        return torch.stack([change[1] for change in recorded(seed=seed, rivals={})[1]])

    assert torch.equal(directions(0), directions(0))
    assert not torch.allclose(directions(0), directions(1))
    assert len({tuple(row.tolist()) for row in directions(0)}) == 6


def test_another_behaviours_vector_keeps_its_sign():
    _, added = recorded(counts=(0, 0))
    for layer in DELTAS:
        scale = DELTAS[layer].norm() / RIVALS["other"][layer].norm()
        assert torch.allclose(added[0][layer].double(), RIVALS["other"][layer] * scale, atol=1e-6)


def test_another_behaviours_vector_that_lacks_a_layer_is_left_out():
    found, _ = recorded(rivals=RIVALS | {"short": {1: drawn(32)}}, counts=(0, 0))
    assert [null.name for null in found] == ["other"]


@pytest.mark.parametrize("differences", [None, {layer: each[:1] for layer, each in DIFFERENCES.items()}])
def test_without_two_training_pairs_nothing_is_shuffled(differences):
    assert {null.kind for null in recorded(differences=differences, rivals={})[0]} == {"random"}


def test_a_direction_of_zero_stays_zero():
    assert of_equal_norm({1: torch.zeros(32)}, {1: DELTAS[1]})[1].tolist() == [0.0] * 32


def test_a_shuffled_baseline_keeps_nothing_of_what_all_pairs_share():
    shared = torch.zeros(40, dtype=torch.float64)
    shared[0] = 100.0
    for n in (20, 21):
        differences = shared + drawn(n, 40, seed=n)
        for seed in range(10):
            mixed = shuffled(differences, torch.Generator().manual_seed(seed))
            assert abs(mixed[0]) < 3
            assert mixed.norm() > 0.5


def test_a_shuffled_baseline_is_half_of_the_pairs_less_the_other_half():
    """Powers of four: from the sum one can read which pairs stand on which side."""
    values = torch.tensor([[4.0**i] for i in range(6)], dtype=torch.float64)
    seen = set()
    for seed in range(40):
        total = round(3 * float(shuffled(values, torch.Generator().manual_seed(seed))))
        signs = []
        for _ in range(6):
            digit = (total + 2) % 4 - 2
            signs.append(digit)
            total = (total - digit) // 4
        assert sorted(signs) == [-1, -1, -1, 1, 1, 1]
        seen.add(tuple(signs))
    assert len(seen) > 10


def test_random_directions_differ_and_repeat():
    one, two, again = (random_direction(8, torch.Generator().manual_seed(seed)) for seed in (1, 2, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, two)


def test_the_effect_of_a_baseline_is_that_of_one_sequence_at_a_time(planted_model):
    texts, tokenizer = make_pairs(3, seed=3), tiny_tokenizer()
    ready = PreparedPairs.of(planted_model, texts, [1])
    found = measure_nulls(ready, DELTAS, DIFFERENCES, RIVALS, (1, 1), 0, lambda _: None)
    _, added = recorded(counts=(1, 1))
    expected = [oracle_effect(planted_model.model, tokenizer, texts, changes) for changes in added]
    assert [null.effect for null in found] == pytest.approx(expected, abs=1e-4)


def oracle_effect(model, tokenizer, texts, changes):
    from daemon.steering.text import encode

    def gap(pair, deltas):
        good, bad = (encode(tokenizer, pair.prompt, reply) for reply in (pair.positive, pair.negative))
        return oracle.reply_logprob(model, good, deltas) - oracle.reply_logprob(model, bad, deltas)

    return statistics.mean(gap(pair, changes) - gap(pair, {}) for pair in texts)


# ---------------------------------------------------------------- the bar


def of(kind, *effects):
    return tuple(Null.model_validate({"kind": kind, "seed": i, "effect": e}) for i, e in enumerate(effects))


SHUFFLED = of("shuffled", *(0.01 * i for i in range(-10, 10)))


def test_the_bar_is_the_prediction_bound_of_the_shuffled_baselines():
    """t(19; 0.99) = 2.5395 and t(19; 0.9995) = 3.8834 are table values."""
    effects = [null.effect for null in SHUFFLED]
    spread = statistics.stdev(effects) * math.sqrt(1 + 1 / 20)
    alone, of_twenty = (null_test(0.5, SHUFFLED, 0.99, family) for family in (1, 20))
    assert alone.bar == pytest.approx(statistics.mean(effects) + 2.5395 * spread, rel=1e-4)
    assert of_twenty.bar == pytest.approx(statistics.mean(effects) + 3.8834 * spread, rel=1e-4)
    assert (alone.percentile, of_twenty.family, alone.strongest, alone.n) == (0.99, 20, max(effects), 20)


def test_an_effect_at_the_bar_has_the_p_value_that_was_asked():
    bar = null_test(0.0, SHUFFLED, 0.99, 1).bar
    assert null_test(bar, SHUFFLED, 0.99, 1).p_value == pytest.approx(0.01, rel=1e-6)
    assert null_test(bar + 1, SHUFFLED, 0.99, 1).p_value < 1e-6
    assert null_test(-1.0, SHUFFLED, 0.99, 1).p_value > 0.999


@pytest.mark.parametrize("kind", ["random", "behaviour"])
def test_the_strongest_baseline_of_any_kind_must_be_exceeded_too(kind):
    test = null_test(0.5, SHUFFLED + of(kind, 0.9), 0.99, 1)
    assert test.bar == test.strongest == 0.9


def test_only_baselines_without_labels_make_the_spread():
    wild = of("random", *(float(i) - 30 for i in range(20)))
    assert null_test(0.5, SHUFFLED + wild, 0.99, 1).p_value == null_test(0.5, SHUFFLED, 0.99, 1).p_value


def test_random_baselines_stand_in_where_too_few_are_shuffled():
    as_random = of("random", *(null.effect for null in SHUFFLED))
    assert null_test(0.3, as_random, 0.99, 2) == null_test(0.3, SHUFFLED, 0.99, 2)
    assert null_test(0.3, as_random + of("shuffled", 0.0), 0.99, 2) == null_test(0.3, SHUFFLED, 0.99, 2)


def test_too_few_baselines_for_a_spread_are_ranked():
    one = null_test(0.5, of("random", 0.2), 0.99, 1)
    assert (one.bar, one.p_value) == (0.2, 0.5)
    rivals = null_test(0.5, of("behaviour", 0.2, 0.7, 0.1), 0.99, 1)
    assert (rivals.bar, rivals.p_value, rivals.n) == (0.7, 0.5, 3)


def test_without_baselines_there_is_no_bar():
    assert null_test(0.5, (), 0.99, 1) is None


def test_baselines_that_all_do_the_same_leave_no_room_for_chance():
    same = of("shuffled", *([0.25] * 5))
    assert null_test(0.3, same, 0.99, 1).p_value == 0
    assert null_test(0.25, same, 0.99, 1).p_value == 1
    assert null_test(0.3, same, 0.99, 1).bar == 0.25


@pytest.mark.parametrize("kind", ["random", "shuffled", "behaviour"])
def test_a_baseline_that_is_no_number_is_not_exceeded_by_anything(kind):
    for nulls in (of(kind, math.nan) + SHUFFLED, SHUFFLED + of(kind, math.nan)):
        assert not null_test(1e9, nulls, 0.99, 1).bar < 1e9


@pytest.mark.parametrize(("percentile", "family"), [(0.9, 1), (0.99, 1), (0.9, 3)])
def test_what_chance_promotes_is_as_rare_as_was_asked(percentile, family):
    """Twenty-one effects of one distribution: how often is the first above the bar of the others? 4,000 draws."""
    draw = random.Random(5)
    beyond, draws = 0, 4_000
    for _ in range(draws):
        effect, *others = (draw.gauss(0.1, 0.3) for _ in range(21))
        upper = (1 - percentile) / family
        above = effect > module._predicted(others, upper)
        assert above == (module._p_value(effect, others) < upper)
        beyond += above
    expected = draws * (1 - percentile) / family
    assert abs(beyond - expected) < 4 * math.sqrt(expected)
