"""What a vector breaks beside what it is for is counted on shipped tasks, and a check can pass, fail or have no say."""

import copy
import itertools
import subprocess
import sys
from importlib.resources import files

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from daemon.proof import checks
from daemon.proof.checks import multiple_choice, refusals, run_checks, tool_calls
from daemon.proof.tasks import (
    Question,
    as_text,
    is_call,
    is_refusal,
    load_questions,
    load_requests,
    load_tools,
    tool_tasks,
    user_asks,
)
from daemon.protocol import VerifySettings
from daemon.steering.loading import LoadedModel
from daemon.steering.neutral import load_neutral
from daemon.steering.text import encode
from tests.steering import oracle
from tests.steering.planted import LAYER, planted_direction
from tests.tiny import tiny_loaded, tiny_tokenizer

DELTAS = {LAYER: 6 * planted_direction()}


def quiet(_):
    pass


def base_model() -> LoadedModel:
    """One whose tokenizer knows no chats."""
    loaded = copy.copy(tiny_loaded("llama"))
    loaded.tokenizer.chat_template = None
    return loaded


# ---------------------------------------------------------------- the shipped tasks


def words(text):
    return "".join(letter if letter.isalnum() else " " for letter in text.lower()).split()


def runs(text, length=5):
    return {tuple(words(text)[i : i + length]) for i in range(len(words(text)) - length + 1)}


def test_the_shipped_tasks_are_many_small_and_each_its_own():
    questions, tools, requests = load_questions(), load_tools(), load_requests()
    assert (len(questions), len(tool_tasks()), len(requests)) == (48, 12, 20)
    assert sum(tool.arguments is not None for tool in tools) == 2
    for texts in ([q.question for q in questions], [tool.tool for tool in tools], requests):
        assert len(set(texts)) == len(texts)
    assert all(len({question.right, *question.wrong}) == 4 for question in questions)
    assert sum(len(each.read_bytes()) for each in (files("daemon") / "checks").iterdir() if each.is_file()) < 40_000


def test_no_task_repeats_neutral_text():
    neutral = set()
    for each in itertools.chain(*(load_neutral(split) for split in ("train", "validation", "test"))):
        for text in [each.text or "", *(message["content"] for message in each.messages or ())]:
            neutral |= runs(text)
    asked = [*(q.question for q in load_questions()), *(tool.request for tool in load_tools()), *load_requests()]
    assert not neutral & set().union(*map(runs, asked))


def test_the_right_answer_is_not_told_by_its_length():
    longest = [len(q.right) > max(map(len, q.wrong)) for q in load_questions()]
    shortest = [len(q.right) < min(map(len, q.wrong)) for q in load_questions()]
    assert sum(longest) < 24
    assert sum(shortest) < 24


def test_a_tool_is_asked_for_after_two_worked_examples_that_are_calls():
    for messages, tool in tool_tasks():
        assert [message.role for message in messages] == ["user", "assistant", "user", "assistant", "user"]
        assert f"Tool: {tool}(" in messages[-1].content
        shown = [message.content for message in messages if message.role == "assistant"]
        assert all(is_call(call, asked.tool) for call, asked in zip(shown, load_tools()[:2], strict=True))
    assert as_text(tool_tasks()[0][0][-1:]) == "Question: Tool: play_song(title)\nPlay the song Yesterday.\nAnswer:"


# ---------------------------------------------------------------- what counts


@pytest.mark.parametrize(
    ("reply", "valid"),
    [
        ('{"name": "f", "arguments": {"x": 1}}', True),
        ('\n{"arguments": {}, "name": "f"} ', True),
        ('```json\n{"name": "f", "arguments": {}}\n```', True),
        ('{"name": "g", "arguments": {}}', False),
        ('{"name": "f", "arguments": "x"}', False),
        ('{"name": "f"}', False),
        ('{"name": "f", "arguments": {}}}', False),
        ('{"name": "f", "arguments": {}} Done.', False),
        ('Sure: {"name": "f", "arguments": {}}', False),
        ('[{"name": "f", "arguments": {}}]', False),
        ('{"name": "f", "arguments": {', False),
        ("", False),
    ],
)
def test_a_call_is_an_object_with_the_tool_s_name_and_arguments_and_nothing_else(reply, valid):
    assert is_call(reply, "f") is valid


@given(st.text() | st.text('{}[]",:` \nname0argumets'))
def test_whatever_is_said_is_a_call_or_is_not(reply):
    assert not is_call(reply, "no such tool")
    assert is_refusal(reply) in (True, False)


@pytest.mark.parametrize(
    "reply",
    [
        "I'm sorry, but I can't help with that.",
        "I’m sorry, but I can’t help with that.",
        "I cannot assist with this request.",
        "Sorry, that is not possible.",
        "As an AI language model, I do not have a sister.",
        "Unfortunately, I am unable to write poems.",
        "I won't do that.",
        "No. Ask somebody else.",
        "I must respectfully decline.",
        "I am not able to provide recipes.",
        "I'm afraid I can't do that.",
    ],
)
def test_a_refusal_is_seen(reply):
    assert is_refusal(reply)


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "Sure, here are three fruits: apples, pears and plums.",
        "Dear sister, I can't wait to see you on your birthday.",
        "Plants cannot walk, so they drink through their roots.",
        "A carpenter would not use a dull saw.",
        "The sailor was not able to see the shore.",
        "Nothing is better than a nap. No noise, no light.",
        "Help yourself to the sorry remains of the cake.",
    ],
)
def test_what_only_sounds_like_a_refusal_is_none(reply):
    assert not is_refusal(reply)


# ---------------------------------------------------------------- measured on a model


def chosen_right(loaded, questions, deltas):
    right = 0
    for question in questions:
        items = [encode(loaded.tokenizer, user_asks(question.question), a) for a in (question.right, *question.wrong)]
        told = [oracle.reply_logprob(loaded.model, item, deltas) * len(item.reply_ids) for item in items]
        right += told[0] > max(told[1:])
    return right / len(questions)


def test_multiple_choice_is_what_one_answer_at_a_time_gives(planted_model, monkeypatch):
    """Answers of the planted halves of the alphabet, so that the vector turns the choice."""
    halves = (
        ("abc", "nop", "qrst", "uv"),
        ("nop", "abc", "defg", "hi"),
        ("kl", "no", "st", "uvw"),
        ("yz", "ab", "c", "d"),
    )
    questions = tuple(Question(question=f"q{i}?", right=each[0], wrong=each[1:]) for i, each in enumerate(halves))
    monkeypatch.setattr(checks, "load_questions", lambda: questions)
    check = multiple_choice(planted_model, DELTAS, 0.15, quiet)
    before, after = (chosen_right(planted_model, questions, deltas) for deltas in ({}, DELTAS))
    assert (check.before, check.after, check.n) == (before, after, 4)
    assert before != after


def test_an_answer_that_is_no_number_is_not_right():
    told = torch.tensor(
        [float("nan"), 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, float("nan"), 0.0, 0.0, 1.0, 1.0, 0.0, 0.0]
    )
    assert checks._share_right(told) == 0.25


def test_all_checks_run_on_a_model_that_can_do_nothing_and_have_no_say(planted_model):
    found = run_checks(planted_model, DELTAS, VerifySettings(), quiet)
    assert [(check.name, check.n, check.better) for check in found] == [
        ("multiple choice", 48, "higher"),
        ("tool-call JSON", 12, "higher"),
        ("refusals", 20, "lower"),
    ]
    choice, calls, refused = found
    assert choice.passed is (None if choice.before <= 0.3 else choice.before - choice.after <= choice.bar)
    assert (calls.before, calls.passed) == (0.0, None)
    assert (refused.before, refused.passed) == (0.0, True)


def test_no_checks_where_none_are_asked_for(planted_model):
    assert run_checks(planted_model, DELTAS, VerifySettings(checks=False), quiet) == ()


def test_a_model_without_a_chat_template_is_asked_in_plain_text(monkeypatch):
    loaded, asked = base_model(), []

    def noted(_loaded, prompts, *_, **__):
        asked.extend(prompts)
        said = tuple(tiny_tokenizer()(' {"name": "play_song", "arguments": {}}\n\nQuestion: and').input_ids)
        return [said] * len(prompts), [said] * len(prompts)

    monkeypatch.setattr(checks, "generate_both", noted)
    check = tool_calls(loaded, DELTAS, 0.25, quiet)
    assert check.before == pytest.approx(1 / 12)
    assert loaded.tokenizer.decode(asked[0]).endswith("Tool: play_song(title)\nPlay the song Yesterday.\nAnswer:")
    assert multiple_choice(loaded, DELTAS, 0.15, quiet).n == 48


# ---------------------------------------------------------------- the bars


def saying(monkeypatch, before, after):
    """The model says what is given: one text for each prompt, without the vector and with it."""
    tokenizer = tiny_tokenizer()

    def replies(_loaded, prompts, *_, **__):
        sides = ([*itertools.islice(itertools.cycle(side), len(prompts))] for side in (before, after))
        return tuple([tuple(tokenizer(text).input_ids) for text in side] for side in sides)

    monkeypatch.setattr(checks, "generate_both", replies)


REFUSED, DONE = "I'm sorry, but I can't help with that.", "Of course. Here it is."


@pytest.mark.parametrize(
    ("before", "after", "passed"),
    [
        ([DONE], [DONE], True),
        ([DONE], [DONE] * 9 + [REFUSED], True),
        ([DONE], [DONE, REFUSED], False),
        ([DONE], [REFUSED], False),
        ([DONE, REFUSED], [REFUSED], False),
        ([DONE] * 19 + [REFUSED], [DONE] * 16 + [REFUSED] * 4, True),
        ([REFUSED], [REFUSED], None),
        ([DONE, REFUSED, REFUSED], [DONE], None),
    ],
)
def test_refusals_may_rise_as_far_as_the_bar(monkeypatch, before, after, passed):
    saying(monkeypatch, before, after)
    check = refusals(tiny_loaded("llama"), DELTAS, 0.15, quiet)
    assert check.passed is passed


def test_tool_calls_may_fall_as_far_as_the_bar(monkeypatch):
    loaded = tiny_loaded("llama")
    good = [f'{{"name": "{tool}", "arguments": {{}}}}' for _, tool in tool_tasks()]
    for broken, passed in ((0, True), (3, True), (4, False), (12, False)):
        saying(monkeypatch, good, ["{"] * broken + good[broken:])
        check = tool_calls(loaded, DELTAS, 0.25, quiet)
        assert (check.before, check.after, check.passed) == (1.0, (12 - broken) / 12, passed)
    saying(monkeypatch, ["{"] * 7 + good[7:], good)
    assert tool_calls(loaded, DELTAS, 0.25, quiet).passed is None


@pytest.mark.parametrize(
    ("before", "after", "passed"), [(0.9, 0.75, True), (0.9, 0.7, False), (0.3, 0.0, None), (0.35, 0.6, True)]
)
def test_right_answers_may_fall_as_far_as_the_bar(planted_model, monkeypatch, before, after, passed):
    shares = iter((before, after))
    monkeypatch.setattr(checks, "_share_right", lambda _: next(shares))
    assert multiple_choice(planted_model, DELTAS, 0.15, quiet).passed is passed


def test_the_tasks_and_the_verdict_load_without_torch():
    code = "import sys, daemon.proof.tasks as t, daemon.proof.verdict; t.load_tools(); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
