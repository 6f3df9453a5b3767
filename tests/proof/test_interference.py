"""How vectors disturb each other: angles that a ruler would give, and effects that were measured one by one."""

import numpy as np
import pytest
import torch

from daemon.proof.gated import GatedPairs
from daemon.proof.interference import cosines, cross_effects, told
from daemon.protocol import Placement
from daemon.steering.text import encode
from daemon.steering.vector_file import VectorFile
from tests.steering import oracle
from tests.steering.planted import make_pairs, planted_direction
from tests.tiny import tiny_tokenizer


def file_of(*rows, norms=None):
    matrix = np.array(rows, dtype=np.float32)
    return VectorFile(matrix, {"median_residual_norm": str(list(norms or [1.0] * len(matrix)))})


def at(*places):
    return tuple(Placement(layer=layer, dose=dose, coefficient=dose) for layer, dose in places)


def test_each_row_of_the_angles_is_taken_where_its_own_vector_is_added():
    one, two = file_of([1, 0], [1, 0]), file_of([0, 1], [1, 1])
    found = cosines([one, two], [at((0, 0.5)), at((1, 0.5))])
    assert found[0] == pytest.approx((1, 0))
    assert found[1] == pytest.approx((2**-0.5, 1))


def test_a_vector_that_is_used_the_other_way_round_is_compared_the_other_way_round():
    one, two = file_of([1, 0]), file_of([2, 0])
    assert cosines([one, two], [at((0, 0.5)), at((0, -0.1))]) == ((1, -1), (-1, 1))
    assert cosines([one, two], [at((0, -0.5)), at((0, -0.1))]) == ((1, 1), (1, 1))


def test_several_layers_count_by_the_length_of_what_is_added_there():
    one, two = file_of([9, 0], [0, 1], norms=[1, 10]), file_of([1, 0], [1, 0], norms=[1, 10])
    (row, _) = cosines([one, two], [at((0, 0.3), (1, 0.04)), at((0, 1.0))])
    assert row[1] == pytest.approx(0.3**2 / (0.3**2 + 0.4**2))


def test_where_the_other_vector_has_no_such_layer_nothing_is_said_and_a_zero_vector_has_no_angle():
    one, two = file_of([1, 0], [1, 0]), file_of([0, 0])
    assert cosines([one, two], [at((1, 0.5)), at((0, 0.5))]) == ((pytest.approx(1), None), (0, 0))


def test_cross_effects_are_those_of_one_vector_alone_one_sequence_at_a_time(planted_model):
    tokenizer = tiny_tokenizer()
    deltas = [{2: planted_direction()}, {1: -0.5 * planted_direction(), 2: torch.ones(32) * 0.1}]
    sides = [make_pairs(5, seed=2), make_pairs(4, seed=9)]
    ready = [GatedPairs.of(planted_model, pairs, [1, 2], [None, None]) for pairs in sides]
    found = cross_effects(ready, deltas)

    def gap(pair, added):
        good, bad = (encode(tokenizer, pair.prompt, reply) for reply in (pair.positive, pair.negative))
        return oracle.reply_logprob(planted_model.model, good, added) - oracle.reply_logprob(
            planted_model.model, bad, added
        )

    for i, pairs in enumerate(sides):
        for j, added in enumerate(deltas):
            wanted = np.mean([gap(pair, added) - gap(pair, {}) for pair in pairs])
            assert float(found[i, j]) == pytest.approx(wanted, abs=1e-4)


def test_shares_are_of_the_behaviours_own_vector():
    rows = told(["a", "b"], torch.tensor([[2.0, -1.0], [0.5, -4.0]]), [7, 9])
    assert [(row.behaviour, row.vector, row.share, row.n) for row in rows] == [
        ("a", "a", 1.0, 7),
        ("a", "b", -0.5, 7),
        ("b", "a", None, 9),
        ("b", "b", None, 9),
    ]
