"""A choice among replies is the log-probability of each of them, whatever the batches."""

import pytest

from daemon.protocol import ChooseRequest
from daemon.steering import choose
from daemon.steering.text import encode
from graph.schema import ChatMessage
from tests.steering import oracle
from tests.tiny import tiny_tokenizer


def test_choices_are_those_of_one_sequence_at_a_time(llama, monkeypatch, tmp_path):
    monkeypatch.setattr(choose, "_AT_A_TIME", 2)
    prompts = tuple((ChatMessage(role="user", content=f"was that a yes, number {'x' * n}?"),) for n in range(3))
    request = ChooseRequest(model=tmp_path, prompts=prompts, choices=("yes", "no", "neither of the two"))
    seen = []
    report = choose.run_choose(llama, request, lambda step: seen.append(step.done))
    for prompt, found in zip(prompts, report.logprobs, strict=True):
        wanted = [oracle.reply_logprob(llama.model, encode(tiny_tokenizer(), prompt, c)) for c in request.choices]
        assert found == pytest.approx(wanted, abs=1e-4)
    assert seen == [2, 3]
    assert report.model_digest == llama.digest
