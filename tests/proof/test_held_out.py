"""A/B items count in both orders of their options; everything else as it stands."""

import pytest
import torch

from daemon.proof.choices import swapped
from daemon.proof.confounds import letter_test
from daemon.proof.held_out import HeldOut
from daemon.steering.text import encode
from graph.schema import ChatMessage, Pair
from tests.steering import oracle
from tests.steering.planted import make_pairs, planted_direction
from tests.tiny import tiny_tokenizer

LAYER = 2
DELTAS = {LAYER: 1.5 * planted_direction()}


def item(number, letter):
    other = {"A": "B", "B": "A"}[letter]
    asked = f"Is {number} a number?\n(A) aha {number}\n(B) zoo {number}"
    prompt = (ChatMessage(role="user", content=asked),)
    return Pair(behaviour="b", prompt=prompt, positive=f"({letter})", negative=f"({other})", group=f"g{number % 3}")


ITEMS = tuple(item(number, "AB"[number % 2]) for number in range(6))


def gap(model, pair, added):
    good, bad = (encode(tiny_tokenizer(), pair.prompt, reply) for reply in (pair.positive, pair.negative))
    return oracle.reply_logprob(model, good, added) - oracle.reply_logprob(model, bad, added)


def test_an_item_is_the_mean_of_both_orders_one_sequence_at_a_time(planted_model):
    pairs = (*ITEMS[:3], *make_pairs(2, seed=3))
    ready = HeldOut.of(planted_model, pairs, [LAYER])
    base, effects = ready.base.tolist(), ready.effects(DELTAS).tolist()
    for place, pair in enumerate(pairs):
        orders = [pair, swapped(pair)] if place < 3 else [pair]
        wanted = [gap(planted_model.model, each, {}) for each in orders]
        moved = [gap(planted_model.model, each, DELTAS) for each in orders]
        assert base[place] == pytest.approx(sum(wanted) / len(orders), abs=1e-4)
        assert effects[place] == pytest.approx((sum(moved) - sum(wanted)) / len(orders), abs=1e-4)


def test_what_is_only_the_letters_doing_cancels_and_is_told(planted_model):
    """Items whose options say the same: a model that prefers a letter prefers it in either order."""
    same = tuple(
        pair.model_copy(
            update={
                "prompt": (ChatMessage(role="user", content="Which?\n(A) aha\n(B) aha"),),
                "positive": "(A)",
                "negative": "(B)",
            }
        )
        for pair in ITEMS
    )
    ready = HeldOut.of(planted_model, same, [LAYER])
    assert ready.base.abs().max() < 1e-6
    assert ready.effects(DELTAS).abs().max() < 1e-6
    told = ready.letters(letter_test(same), ready.ready.effects(DELTAS))
    alone = gap(planted_model.model, same[0], {})
    assert told.bias == pytest.approx(alone, abs=1e-4)
    assert told.bias_steered == pytest.approx(gap(planted_model.model, same[0], DELTAS), abs=1e-4)
    assert told.effect_given == pytest.approx(-told.effect_swapped, abs=1e-5)
    assert abs(told.effect_given) > 1e-3


def test_each_order_is_told_by_itself(planted_model):
    ready = HeldOut.of(planted_model, ITEMS, [LAYER])
    told = ready.letters(letter_test(ITEMS), ready.ready.effects(DELTAS))
    given, other = (
        torch.tensor([gap(planted_model.model, p, DELTAS) - gap(planted_model.model, p, {}) for p in side])
        for side in (ITEMS, [swapped(pair) for pair in ITEMS])
    )
    assert told.effect_given == pytest.approx(float(given.mean()), abs=1e-4)
    assert told.effect_swapped == pytest.approx(float(other.mean()), abs=1e-4)
    assert float(ready.effects(DELTAS).mean()) == pytest.approx((told.effect_given + told.effect_swapped) / 2, abs=1e-5)
    assert (told.n, told.first_positive) == (6, 0.5)
