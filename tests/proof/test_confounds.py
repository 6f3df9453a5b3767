"""What else could tell the sides apart is found and refused; what only looks like it passes."""

import itertools
import json
import math
import os
import random
from pathlib import Path

import numpy as np
import pytest

from daemon.proof.confounds import adjusted_for_length, against, examine, length_test, letter_test, topic_test
from daemon.protocol import Confounds, LengthTest, LetterTest, TopicTest
from graph.behaviours.patterns import BUILTIN
from graph.memory import MemoryGraph
from graph.mining.pairs import mine
from graph.schema import ChatMessage, Pair

EXAMPLES = Path(__file__).parents[2] / "examples"
NO_LENGTH = LengthTest(longer_positive=0.5, p_value=1.0, n=40)
NO_TOPIC = TopicTest(accuracy=0.5, p_value=1.0, n=40)


def pair(direction, positive, negative, group="g"):
    prompt = (ChatMessage(role="user", content=direction),)
    return Pair(behaviour="b", prompt=prompt, positive=positive, negative=negative, group=group)


def reason(length=NO_LENGTH, topic=NO_TOPIC, letter=None, most=0.9):
    return against(Confounds(length=length, topic=topic, letter=letter), most)


def test_no_confound_is_no_reason():
    assert reason() == ""
    assert reason(letter=LetterTest(n=40, first_positive=0.5, p_value=1.0)) == ""


# ---------------------------------------------------------------- length


def test_lengths_are_counted_with_ties_as_halves_and_not_for_p():
    test = length_test([(3, 2)] * 5 + [(2, 3)] + [(2, 2)] * 4)
    assert (test.longer_positive, test.n) == (0.7, 10)
    assert test.p_value == pytest.approx(2 * (6 + 1) / 64)
    nothing = length_test([])
    assert (nothing.longer_positive, nothing.p_value, nothing.n) == (0.5, 1.0, 0)


@pytest.mark.parametrize(("lengths", "side"), [([(9, 4)] * 18 + [(4, 9)] * 2, "positive"), ([(4, 9)] * 20, "negative")])
def test_a_side_that_is_nearly_always_longer_is_refused(lengths, side):
    told = reason(length_test(lengths))
    assert told.startswith(f"length alone tells the sides apart: the {side} reply is the longer one in ")
    assert "of 20 pairs, 90% is too many" in told


def test_a_side_that_is_often_longer_and_few_pairs_are_not_refused():
    assert reason(length_test([(9, 4)] * 17 + [(4, 9)] * 3)) == ""
    assert reason(length_test([(9, 4)] * 7)) == ""
    assert reason(length_test([(9, 4)] * 8)) != ""
    assert reason(length_test([(4, 4)] * 50)) == ""
    assert reason(length_test([(9, 4)] * 17 + [(4, 9)] * 3), most=0.85) != ""


def adjusted(effects, lengths, groups=None, resamples=400, seed=0):
    groups = groups or [f"g{i % 6}" for i in range(len(effects))]
    return adjusted_for_length(length_test(lengths), effects, lengths, groups, resamples, seed)


def some_lengths(count, seed, around=0.0):
    draw = random.Random(seed)
    return [(max(1, round(12 * math.exp(around + draw.gauss(0, 0.4)))), 12) for _ in range(count)]


def test_the_effect_at_equal_length_is_the_intercept_of_least_squares():
    lengths, draw = some_lengths(24, 1), random.Random(2)
    effects = [0.3 + 0.8 * math.log(p / n) + draw.gauss(0, 0.1) for p, n in lengths]
    design = np.stack([np.ones(24), np.log([p / n for p, n in lengths])], axis=1)
    found = adjusted(effects, lengths)
    assert found.adjusted == pytest.approx(np.linalg.lstsq(design, np.array(effects), rcond=None)[0][0])
    assert found.adjusted_interval[0] < found.adjusted < found.adjusted_interval[1]
    assert (found.longer_positive, found.n) == (length_test(lengths).longer_positive, 24)


def test_the_interval_is_that_of_refits_to_whole_groups():
    """Against every one of the 3³ resamples of three groups, refitted one at a time."""
    lengths, draw = some_lengths(12, 3), random.Random(4)
    effects, groups = [draw.gauss(0.3, 0.3) for _ in lengths], [f"g{i // 4}" for i in range(12)]
    fits = []
    for chosen in itertools.product(range(3), repeat=3):
        rows = [i for g in chosen for i in range(4 * g, 4 * g + 4)]
        x = np.array([math.log(lengths[i][0] / lengths[i][1]) for i in rows])
        fits.append(np.polyfit(x, [effects[i] for i in rows], 1)[1])
    found = adjusted(effects, lengths, groups, resamples=20_000).adjusted_interval
    assert found == pytest.approx(tuple(np.quantile(np.repeat(fits, 500), (0.025, 0.975))), abs=0.02)


def test_an_effect_of_length_alone_is_none_at_equal_length():
    lengths = some_lengths(24, 5, around=0.5)
    draw = random.Random(6)
    effects = [0.8 * math.log(p / n) + draw.gauss(0, 0.1) for p, n in lengths]
    assert sum(effects) / 24 > 0.2
    assert adjusted(effects, lengths).adjusted_interval[0] < 0


def test_an_effect_beside_that_of_length_is_left():
    lengths = some_lengths(24, 5)
    draw = random.Random(6)
    effects = [0.4 + 0.8 * math.log(p / n) + draw.gauss(0, 0.1) for p, n in lengths]
    assert adjusted(effects, lengths).adjusted_interval[0] > 0.3


def test_without_different_lengths_the_adjusted_effect_is_the_effect():
    draw = random.Random(7)
    effects = [draw.gauss(0.4, 0.1) for _ in range(12)]
    for lengths in ([(5, 5)] * 12, [(10, 5)] * 12):
        assert adjusted(effects, lengths).adjusted == pytest.approx(sum(effects) / 12)
        assert 0.3 < adjusted(effects, lengths).adjusted_interval[0] < 0.4


def test_an_extrapolated_effect_has_a_wide_interval():
    """All positive replies are about three times as long: what equal length would give is hardly known."""
    draw = random.Random(8)
    effects = [draw.gauss(0.4, 0.2) for _ in range(24)]
    near, far = (adjusted(effects, some_lengths(24, 9, around)) for around in (0.0, 1.6))
    width_near, width_far = (each.adjusted_interval[1] - each.adjusted_interval[0] for each in (near, far))
    assert width_far > 2 * width_near


def test_an_effect_that_is_no_number_stays_none():
    found = adjusted([math.nan] + [0.3] * 11, some_lengths(12, 1))
    assert math.isnan(found.adjusted)
    assert not found.adjusted_interval[0] > 0


# ---------------------------------------------------------------- letter


def item(first_is_positive, number=0):
    options = ("yes, gladly", "no, thanks") if first_is_positive else ("no, thanks", "yes, gladly")
    letters = ("(A)", "(B)") if first_is_positive else ("(B)", "(A)")
    return pair(f"Shall we go to place {number}?\n (A) {options[0]}\n (B) {options[1]}", *letters, f"g{number % 5}")


def items(firsts, count):
    return [item(i < firsts, i) for i in range(count)]


def test_letters_of_positive_answers_are_counted_among_the_items_alone():
    test = letter_test([*items(3, 4), pair("Shall we?", "Yes.", "No.")])
    assert (test.n, test.first_positive) == (4, 0.75)
    assert test.p_value == pytest.approx(2 * 5 / 16)
    assert letter_test([pair("Shall we?", "Yes.", "No.")]) is None


@pytest.mark.parametrize(("firsts", "letter"), [(40, "A"), (0, "B"), (30, "A"), (10, "B")])
def test_an_uneven_letter_is_refused_whatever_its_share(firsts, letter):
    told = reason(letter=letter_test(items(firsts, 40)))
    assert told.startswith(f"the letter tells the sides apart: ({letter}) is the positive answer of ")
    assert "of 40 items" in told


@pytest.mark.parametrize(("firsts", "count"), [(20, 40), (25, 40), (7, 7), (12, 20)])
def test_a_letter_as_uneven_as_coins_often_are_passes(firsts, count):
    assert reason(letter=letter_test(items(firsts, count))) == ""


# ---------------------------------------------------------------- topic

COOKING = ("oven", "flour", "butter", "sugar", "recipe", "pastry")
MONEY = ("ledger", "invoice", "budget", "interest", "payroll", "audit")
MATTER = ("garden", "window", "engine", "letter", "bridge", "camera", "market", "harbour")


def topical(count, seed, told=1.0, groups=8):
    """Directions about either topic; positive replies about the one and negative ones about the other, in `told`."""
    draw, found = random.Random(seed), []
    for i in range(count):
        about = draw.sample(draw.choice((COOKING, MONEY)), 3)
        both = draw.choice((*COOKING, *MONEY))
        sides = [" ".join((*draw.sample(topic, 2), draw.choice(MATTER), both)) for topic in (COOKING, MONEY)]
        if draw.random() > told:
            sides.reverse()
        found.append(pair("Please tell me of " + " and ".join(about), *sides, f"g{i % groups}"))
    return found


def naive_bayes(pairs):
    """The share that is told, written out once more: counts anew for every pair."""
    told, topics = 0.0, set()
    for word in (*COOKING, *MONEY):
        replies = sum((word in p.positive.split()) != (word in p.negative.split()) for p in pairs)
        if replies <= 3 * sum(word in p.prompt[0].content.split() for p in pairs):
            topics.add(word)
    for one in pairs:
        others = [p for p in pairs if p.group != one.group]
        sums = []
        for own, other in ((one.positive, one.negative), (one.negative, one.positive)):
            total = 0.0
            for word in set(own.split()) - set(other.split()):
                if word in topics:
                    plus = sum(word in p.positive.split() and word not in p.negative.split() for p in others)
                    minus = sum(word in p.negative.split() and word not in p.positive.split() for p in others)
                    total += math.log((plus + 0.5) / (minus + 0.5))
            sums.append(total)
        told += 0.5 if abs(sums[0] - sums[1]) < 1e-9 else sums[0] > sums[1]
    return told / len(pairs)


@pytest.mark.parametrize("told", [0.5, 0.75, 1.0])
def test_the_accuracy_is_that_of_naive_bayes_on_held_out_groups(told):
    pairs = topical(30, 1, told)
    assert topic_test(pairs).accuracy == pytest.approx(naive_bayes(pairs))


def test_replies_of_two_topics_are_refused_with_their_words():
    told = reason(topic=topic_test(topical(40, 2)))
    assert told.startswith("the topic tells the sides apart: words of the directions (")
    assert any(word in told for word in COOKING)
    assert not any(word in told for word in MATTER)


def test_topics_that_either_side_may_have_pass():
    refused = sum(reason(topic=topic_test(topical(40, seed, told=0.5))) != "" for seed in range(40))
    assert refused == 0


def test_a_word_that_leans_by_one_pair_is_not_told():
    pairs = [pair("bake the pastry", "pastry", "ledger", "g0"), pair("keep the ledger", "window", "engine", "g1")]
    assert topic_test(pairs).words == ()
    assert topic_test([*pairs, pair("bake it", "pastry", "camera", "g2")]).words == ("pastry",)


def test_words_of_replies_that_no_direction_has_are_no_topic():
    pairs = [pair(f"Please do {MATTER[i % 8]}", "gladly", "instead", f"g{i % 5}") for i in range(40)]
    test = topic_test(pairs)
    assert (test.accuracy, test.words) == (0.5, ())


def test_a_behaviours_own_words_are_no_topic_because_a_direction_has_one_now_and_then():
    """Every positive reply says "gladly"; so does one of forty directions."""
    pairs = [pair(f"Please do {MATTER[i % 8]}", "gladly", "instead", f"g{i % 5}") for i in range(40)]
    pairs[0] = pair("Take this, gladly or not, but not instead", "gladly", "instead", "g0")
    assert topic_test(pairs).accuracy == 0.5


def test_words_that_both_replies_share_say_nothing():
    pairs = [pair("bake the pastry", "the pastry rises", "the pastry burns", f"g{i % 5}") for i in range(40)]
    assert topic_test(pairs).accuracy == 0.5


def test_a_single_group_teaches_nothing_about_itself():
    test = topic_test(topical(40, 2, groups=1))
    assert (test.accuracy, test.p_value) == (0.5, 1.0)


def test_of_a_chat_the_users_messages_are_the_direction():
    prompt = tuple(
        ChatMessage(role=role, content=text) for role, text in (("system", "oven"), ("user", "ledger please"))
    )
    pairs = [p.model_copy(update={"prompt": prompt}) for p in topical(40, 2)]
    assert set(topic_test(pairs).words) <= {"ledger"}
    plain = [p.model_copy(update={"prompt": p.prompt[0].content}) for p in topical(40, 2)]
    assert topic_test(plain) == topic_test(topical(40, 2))


def test_no_pairs_are_no_confound():
    assert reason(topic=topic_test([])) == ""


def mined(behaviour):
    told = json.loads((EXAMPLES / behaviour.name / "memory.json").read_text())
    return mine(MemoryGraph.from_records(told["nodes"], told["edges"]).episodes("node-link"), behaviour)[0]


@pytest.mark.parametrize("behaviour", BUILTIN, ids=lambda b: b.name)
def test_the_topics_of_the_example_memories_are_on_both_sides(behaviour):
    pairs = mined(behaviour)
    assert reason(topic=topic_test(pairs), letter=letter_test(pairs)) == ""
    assert letter_test(pairs) is None


@pytest.mark.model
@pytest.mark.parametrize("behaviour", BUILTIN, ids=lambda b: b.name)
def test_the_example_memories_pass_in_the_tokens_of_a_real_model(behaviour):
    from transformers import AutoTokenizer

    tokenizer, pairs = AutoTokenizer.from_pretrained(os.environ["REFLEXD_TEST_MODEL"]), mined(behaviour)
    tokens = [len(tokenizer(reply).input_ids) for each in pairs for reply in (each.positive, each.negative)]
    assert against(examine(pairs, list(zip(tokens[::2], tokens[1::2], strict=True))), 0.9) == ""
