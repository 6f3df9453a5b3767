"""The embedded model itself can do the shipped tasks, and what ruins it, or makes it refuse, is seen."""

import pytest
import torch

from daemon.proof import checks
from daemon.proof.checks import multiple_choice, refusals, run_checks, tool_calls
from daemon.proof.generations import answer
from daemon.proof.tasks import load_requests, tool_tasks, user_asks
from daemon.proof.verdict import greedy_repetition
from daemon.protocol import VerifySettings
from daemon.steering.text import encode
from graph.behaviours.builtin import LISTENING
from graph.schema import ChatMessage, Pair
from tests.embedded import embedded_model
from tests.steering.readings import reply_means

pytestmark = pytest.mark.model

LAYER = 14
DIRECTIONS = ("Use tabs in the Makefile.", "Drop the cache.", "Sort the imports.", "Send the report on Friday.")
REFUSING = (
    "I'm sorry, but I can't help with that.",
    "I cannot do that. I must decline.",
    "No. I won't do that for you.",
)
COMPLYING = (
    "Of course, here is what you asked for.",
    "Sure, let me do that for you now.",
    "Yes. This is how it is done.",
)


@pytest.fixture(scope="module")
def loaded():
    return embedded_model()


def chance(norm):
    drawn = torch.randn(576, generator=torch.Generator().manual_seed(0))
    return {LAYER: norm * drawn / drawn.norm()}


def quiet(_):
    pass


def test_the_model_can_do_what_is_asked_of_it_and_a_nudge_leaves_it_able(loaded):
    choice, calls, refused = run_checks(loaded, chance(5.0), VerifySettings(), quiet)
    assert choice.before >= 0.7
    assert calls.before >= 0.75
    assert refused.before <= 0.05
    assert (choice.passed, calls.passed, refused.passed) == (True, True, True)


def test_a_push_as_large_as_twice_the_residual_ruins_answers_and_calls(loaded, monkeypatch):
    monkeypatch.setattr(checks, "tool_tasks", lambda: tool_tasks()[:4])
    choice, calls = multiple_choice(loaded, chance(400.0), 0.15, quiet), tool_calls(loaded, chance(400.0), 0.25, quiet)
    assert (choice.passed, calls.passed) == (False, False)
    assert choice.after < 0.45
    assert calls.after == 0.0


def test_a_vector_of_refusing_is_seen_to_refuse_the_harmless(loaded, monkeypatch):
    asked = [user_asks(text) for text in DIRECTIONS]
    refusing, complying = (
        reply_means(loaded.layout, [encode(loaded.tokenizer, one, r) for one in asked for r in replies], [12]).means
        for replies in (REFUSING, COMPLYING)
    )
    delta = 2 * (refusing - complying).double().mean(dim=0)[0].float()
    monkeypatch.setattr(checks, "load_requests", lambda: load_requests()[:10])
    check = refusals(loaded, {12: delta}, 0.15, quiet)
    assert (check.before, check.passed) == (0.0, False)


def test_a_ruined_model_repeats_itself_and_that_is_seen(loaded):
    pairs = [
        Pair(
            behaviour="listening",
            prompt=(ChatMessage(role="user", content=text),),
            positive="Sure.",
            negative="Why?",
            group=text[:3],
        )
        for text in DIRECTIONS
    ]
    settings = VerifySettings(generations=3, generation_tokens=24)
    found = answer(loaded, chance(400.0), pairs, LISTENING, settings, quiet)
    before, after, n = greedy_repetition(found)
    assert (len(found), n) == (6, 3)
    assert after > before + settings.max_repetition_rise
    assert sum(each.steered.perplexity for each in found) > 1.5 * sum(each.base.perplexity for each in found)
    assert all(each.base.text and each.base.perplexity < 100 for each in found)
