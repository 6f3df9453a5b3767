"""Which of a few replies a model would give: a question that needs no generation, and whose answer is a number."""

import time
from collections.abc import Callable

from daemon.protocol import ChooseReport, ChooseRequest, Progress
from daemon.steering.loading import LoadedModel
from daemon.steering.score import reply_logprobs
from daemon.steering.text import encode

_AT_A_TIME = 32


def run_choose(loaded: LoadedModel, request: ChooseRequest, progress: Callable[[Progress], None]) -> ChooseReport:
    """Mean log P of each choice after each prompt, nats a token; what prompts and choices share is computed once.

    Raises:
        DataError: A prompt or a choice has no tokens.
    """
    started = time.monotonic()
    found: list[tuple[float, ...]] = []
    width = len(request.choices)
    for begin in range(0, len(request.prompts), _AT_A_TIME):
        some = request.prompts[begin : begin + _AT_A_TIME]
        items = [encode(loaded.tokenizer, prompt, choice) for prompt in some for choice in request.choices]
        values = reply_logprobs(loaded, items).tolist()
        found += [tuple(values[at : at + width]) for at in range(0, len(values), width)]
        progress(Progress(stage="judging", done=len(found), total=len(request.prompts)))
    return ChooseReport(logprobs=tuple(found), model_digest=loaded.digest, seconds=time.monotonic() - started)
