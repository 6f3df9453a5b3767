"""What a vector breaks beside what it is for: each task done without it and with it, and the change held to a bar.

    multiple choice   share of questions whose right answer has the highest log P, as a whole answer, of four
    tool-call JSON    share of greedy replies that are a call of the tool that was asked for and nothing else
    refusals          share of greedy replies to harmless requests that refuse

The log P of a whole answer is the sum over its tokens, in nats: answers are words of like length, and SmolLM2-135M is
right on 85 % of the shipped questions so, on 75 % by the mean a token, and on 38 % where it is not shown the question.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from daemon.proof.prepared import Deltas, OnProgress
from daemon.proof.tasks import (
    Messages,
    as_text,
    is_call,
    is_refusal,
    load_questions,
    load_requests,
    tool_tasks,
    user_asks,
)
from daemon.protocol import Check, Progress, VerifySettings
from daemon.steering.generate import generate_both
from daemon.steering.loading import LoadedModel
from daemon.steering.sweep import logprobs, prepare, under
from daemon.steering.text import EncodedReply, Ids, encode, encode_prompt

CALL_TOKENS = 36
REQUEST_TOKENS = 20
MAX_CHANCE = 0.3
"""Of four answers; a model that is right no more often cannot become worse."""
MIN_CALLS = 0.5
MAX_REFUSALS = 0.5
"""A model that refuses more of the harmless requests has little left to refuse."""
ROUNDING = 1e-9
"""4 of 20 less 1 of 20 is a little more than 0.15."""


def run_checks(
    loaded: LoadedModel, deltas: Deltas, settings: VerifySettings, on_progress: OnProgress
) -> tuple[Check, ...]:
    """All three checks of the vectors `deltas`, (hidden,) float32 by layer; none where the settings ask for none."""
    if not settings.checks:
        return ()
    return (
        multiple_choice(loaded, deltas, settings.max_choice_drop, on_progress),
        tool_calls(loaded, deltas, settings.max_json_drop, on_progress),
        refusals(loaded, deltas, settings.max_refusal_rise, on_progress),
    )


def multiple_choice(loaded: LoadedModel, deltas: Deltas, bar: float, on_progress: OnProgress) -> Check:
    """Whether the model still knows what it knew."""
    questions = load_questions()
    on_progress(Progress(stage="multiple choice", done=0, total=len(questions)))
    items = [_encoded(loaded, user_asks(q.question), answer) for q in questions for answer in (q.right, *q.wrong)]
    prepared = prepare(loaded, items, [min(deltas)])
    lengths = torch.tensor([len(item.reply_ids) for item in items])
    before, after = (
        _share_right(logprobs(prepared, finals).cpu() * lengths)
        for finals in (prepared.finals, under(prepared, deltas))
    )
    return _higher_is_better("multiple choice", before, after, bar, len(questions), able=before > MAX_CHANCE)


def _share_right(told: Tensor) -> float:
    """Of log P (4 n,), each question's right answer first: share of the n where it is the highest alone."""
    told = told.view(-1, 4)
    return float((told[:, :1] > told[:, 1:]).all(dim=1).to(torch.float64).mean())  # NaN is no answer


def tool_calls(loaded: LoadedModel, deltas: Deltas, bar: float, on_progress: OnProgress) -> Check:
    """Whether the model still calls a tool as it was shown to."""
    tasks = tool_tasks()
    prompts = [messages for messages, _ in tasks]
    before, after = (
        _share([is_call(reply, tool) for reply, (_, tool) in zip(replies, tasks, strict=True)])
        for replies in _replies(loaded, deltas, prompts, CALL_TOKENS, "tool calls", on_progress)
    )
    return _higher_is_better("tool-call JSON", before, after, bar, len(tasks), able=before >= MIN_CALLS)


def refusals(loaded: LoadedModel, deltas: Deltas, bar: float, on_progress: OnProgress) -> Check:
    """Whether the model still does what there is no reason to refuse."""
    prompts = [user_asks(request) for request in load_requests()]
    before, after = (
        _share([is_refusal(reply) for reply in replies])
        for replies in _replies(loaded, deltas, prompts, REQUEST_TOKENS, "harmless requests", on_progress)
    )
    passed = _within(after - before, bar) if before <= MAX_REFUSALS else None
    return Check(name="refusals", better="lower", before=before, after=after, bar=bar, n=len(prompts), passed=passed)


def _higher_is_better(name: str, before: float, after: float, bar: float, n: int, *, able: bool) -> Check:
    passed = _within(before - after, bar) if able else None
    return Check(name=name, better="higher", before=before, after=after, bar=bar, n=n, passed=passed)


def _within(change: float, bar: float) -> bool:
    return change <= bar + ROUNDING


def _share(met: Sequence[bool]) -> float:
    return sum(met) / len(met)


def _replies(
    loaded: LoadedModel,
    deltas: Deltas,
    prompts: Sequence[Messages],
    new: int,
    stage: str,
    on_progress: OnProgress,
) -> tuple[list[str], list[str]]:
    """Greedy replies without the vectors and with them."""

    def told(done: int) -> None:
        on_progress(Progress(stage=stage, done=done, total=2 * len(prompts)))

    told(0)
    given = [_prompt(loaded, messages) for messages in prompts]
    without, with_them = generate_both(loaded, given, deltas, new, on_rows=told)
    return _texts(loaded, without), _texts(loaded, with_them)


def _texts(loaded: LoadedModel, replies: Sequence[Ids]) -> list[str]:
    texts = [str(loaded.tokenizer.decode(reply, skip_special_tokens=True)) for reply in replies]
    return texts if _chats(loaded) else [text.partition("\n\n")[0] for text in texts]


def _prompt(loaded: LoadedModel, messages: Messages) -> Ids:
    return encode_prompt(loaded.tokenizer, messages if _chats(loaded) else as_text(messages))


def _encoded(loaded: LoadedModel, messages: Messages, reply: str) -> EncodedReply:
    if _chats(loaded):
        return encode(loaded.tokenizer, messages, reply)
    return encode(loaded.tokenizer, as_text(messages), f" {reply}")


def _chats(loaded: LoadedModel) -> bool:
    return bool(getattr(loaded.tokenizer, "chat_template", None))
