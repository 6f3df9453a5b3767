"""Held-out directions answered without a vector and with it; what is said of the replies can be counted by hand."""

import math

import pytest

from daemon.errors import DataError
from daemon.proof import generations
from daemon.proof.generations import answer, direction_of, repetition, shown_pole, spread
from daemon.proof.verdict import greedy_repetition
from daemon.protocol import GeneratedText, Generation, VerifySettings
from daemon.steering.generate import generate
from daemon.steering.text import EncodedReply, encode
from graph.behaviours.builtin import LISTENING
from graph.schema import Behaviour, ChatMessage, Pair
from tests.steering import oracle
from tests.steering.planted import LAYER, make_pairs, planted_direction

SETTINGS = VerifySettings(generations=3, generation_tokens=8, seed=5)
PAIRS = make_pairs(12, seed=3)


def answered(loaded, deltas=None, behaviour=None, settings=SETTINGS, pairs=PAIRS):
    deltas = {LAYER: 4 * planted_direction()} if deltas is None else deltas
    return answer(loaded, deltas, pairs, behaviour, settings, lambda _: None)


def asking(text, group="g", positive="yes"):
    prompt = (ChatMessage(role="user", content=text),)
    return Pair(behaviour="b", prompt=prompt, positive=positive, negative="no", group=group)


# ---------------------------------------------------------------- which directions


def test_directions_come_from_every_group_before_a_second_one_of_any():
    pairs = [asking(f"{group}{i}", group) for group in "abc" for i in range(3)]
    chosen = spread(pairs, 7)
    assert [pair.group for pair in chosen] == ["a", "b", "c", "a", "b", "c", "a"]
    assert len({direction_of(pair.prompt) for pair in chosen}) == 7
    assert spread(pairs[::-1], 7) == chosen
    assert len(spread(pairs, 40)) == 9


def test_a_direction_that_several_pairs_share_is_answered_once():
    pairs = [asking("same", "a", positive="one"), asking("same", "b", positive="two"), asking("other", "b")]
    assert sorted(direction_of(pair.prompt) for pair in spread(pairs, 8)) == ["other", "same"]
    assert spread([], 8) == []
    assert spread(pairs, 0) == []


def test_the_direction_is_what_the_human_said_last():
    talk = tuple(
        ChatMessage(role=role, content=said)
        for role, said in (("system", "s"), ("user", "one"), ("assistant", "two"), ("user", "three"))
    )
    assert direction_of(talk) == "three"
    assert direction_of("plain") == "plain"
    assert direction_of(talk[:1]) == "s"


# ---------------------------------------------------------------- what is seen in a reply


@pytest.mark.parametrize(
    ("ids", "share"),
    [
        ((), 0.0),
        ((1, 2, 3), 0.0),
        ((1, 1, 1, 1), 0.0),
        ((1, 1, 1, 1, 1), 0.5),
        ((1, 2, 3, 4, 1, 2, 3, 4), 0.2),
        (tuple(range(20)), 0.0),
        ((7,) * 40, 1 - 1 / 37),
    ],
)
def test_repetition_is_the_share_of_4_grams_that_are_there_already(ids, share):
    assert repetition(ids) == pytest.approx(share)


@pytest.mark.parametrize(
    ("reply", "pole"),
    [
        ("Sure, I'll use tabs.", "positive"),
        ("I'd suggest spaces.", "negative"),
        ("Sure, but I'd suggest spaces instead.", "negative"),
        ("I'll use tabs, though I would recommend spaces.", "both"),
        ("The weather is grey.", ""),
        ("", ""),
    ],
)
def test_the_pole_of_a_reply_is_what_the_behaviour_s_cues_say(reply, pole):
    assert shown_pole(LISTENING, "Use tabs.", reply) == pole
    assert shown_pole(None, "Use tabs.", reply) == ""


def test_a_cue_may_ask_for_a_direction():
    behaviour = Behaviour(name="modes", positive_cues=("explain ==> ^Because",))
    assert shown_pole(behaviour, "Explain it.", "Because it is late.") == "positive"
    assert shown_pole(behaviour, "Do it.", "Because it is late.") == ""


def test_a_cue_that_cannot_be_used_is_an_error_before_anything_is_generated(planted_model, monkeypatch):
    monkeypatch.setattr(generations, "generate_both", lambda *_, **__: pytest.fail("generated"))
    with pytest.raises(DataError, match="behaviour odd: cue"):
        answered(planted_model, behaviour=Behaviour(name="odd", negative_cues=("(",)))


# ---------------------------------------------------------------- the answers of a model


def prompt_of(loaded, pair):
    return encode(loaded.tokenizer, pair.prompt, pair.positive).prompt_ids


def test_greedy_answers_are_those_of_one_sequence_at_a_time(planted_model):
    delta = {LAYER: 4 * planted_direction()}
    found = [each for each in answered(planted_model) if each.kind == "greedy"]
    assert len(found) == 3
    for each, pair in zip(found, spread(PAIRS, 3), strict=True):
        assert (each.pair, each.direction) == (pair.id, pair.prompt[-1].content)
        prompt = list(prompt_of(planted_model, pair))
        for text, deltas in ((each.base, {}), (each.steered, delta)):
            ids = oracle.generate(planted_model.model, prompt, deltas, 8)[len(prompt) :]
            ids = ids[: ids.index(2)] if 2 in ids else ids
            assert text.text == planted_model.tokenizer.decode(ids, skip_special_tokens=True).strip()
            assert text.repetition == repetition(tuple(ids))


def test_perplexity_is_that_of_the_model_without_the_vector(planted_model):
    delta = {LAYER: 4 * planted_direction()}
    found = answered(planted_model)
    prompts = [prompt_of(planted_model, pair) for pair in spread(PAIRS, 3)]
    given = [(temperature, deltas) for temperature in (0.0, generations.TEMPERATURE) for deltas in (None, delta)]
    base, steered, base_drawn, steered_drawn = (
        generate(planted_model, prompts, deltas, 8, temperature=temperature, seed=5) for temperature, deltas in given
    )
    replies = [*zip(base, steered, strict=True), *zip(base_drawn, steered_drawn, strict=True)]
    for each, prompt, both in zip(found, prompts * 2, replies, strict=True):
        for text, reply in zip((each.base, each.steered), both, strict=True):
            alone = math.exp(-oracle.reply_logprob(planted_model.model, EncodedReply(prompt, reply)))
            assert text.perplexity == pytest.approx(alone, rel=1e-3)


def test_the_vector_acts_on_what_is_said(planted_model):
    found = answered(
        planted_model,
        {LAYER: 12 * planted_direction()},
        Behaviour(name="planted", positive_cues=(r"[a-m]{2}",)),
        VerifySettings(generations=8, generation_tokens=8),
    )
    shown = [sum(getattr(each, side).pole == "positive" for each in found) for side in ("base", "steered")]
    assert shown[1] > shown[0]


def test_the_same_proof_answers_alike_and_another_seed_draws_otherwise(planted_model):
    one, two = answered(planted_model), answered(planted_model, pairs=PAIRS[::-1])
    assert one == two
    other = answered(planted_model, settings=SETTINGS.model_copy(update={"seed": 6}))
    said = [[(each.base.text, each.steered.text) for each in found] for found in (one, other)]
    assert said[0][:3] == said[1][:3]
    assert all(first != second for first, second in zip(said[0][3:], said[1][3:], strict=True))


def test_nothing_asked_nothing_answered(planted_model):
    assert answered(planted_model, settings=VerifySettings(generations=0)) == ()
    assert answered(planted_model, pairs=()) == ()


def test_an_empty_reply_has_no_perplexity(planted_model, monkeypatch):
    monkeypatch.setattr(generations, "generate_both", lambda _l, prompts, *_, **__: ([(9,)] * 3, [()] * 3))
    found = answered(planted_model)
    assert {each.steered for each in found} == {GeneratedText(text="", pole="", repetition=0.0, perplexity=None)}
    assert all(each.base.perplexity > 1 for each in found)


def test_whoever_waits_is_told_how_far_it_is(planted_model):
    seen = []
    answer(planted_model, {LAYER: planted_direction()}, PAIRS, None, SETTINGS, seen.append)
    assert [(each.done, each.total) for each in seen] == [(0, 12), (6, 12), (6, 12), (12, 12)]


# ---------------------------------------------------------------- together


def one(kind, base, steered):
    said = [GeneratedText(text="", pole="", repetition=share, perplexity=None) for share in (base, steered)]
    return Generation(kind=kind, pair="p", direction="d", base=said[0], steered=said[1])


def test_repetition_is_that_of_greedy_replies_alone():
    found = [one("greedy", 0.2, 0.6), one("greedy", 0.0, 0.4), one("sampled", 0.9, 0.9)]
    assert greedy_repetition(found) == pytest.approx((0.1, 0.5, 2))
    assert greedy_repetition([]) == (0.0, 0.0, 0)
