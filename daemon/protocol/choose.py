"""Which of a few replies the model would give."""

from pathlib import Path

from graph.schema import ChatMessage, Frozen


class ChooseRequest(Frozen):
    """Which of `choices` the model would reply to each of `prompts`."""

    model: Path
    prompts: tuple[tuple[ChatMessage, ...], ...]
    choices: tuple[str, ...]
    threads: int = 0


class ChooseReport(Frozen):
    """For each prompt, mean log P of each choice as the whole reply, nats a token."""

    logprobs: tuple[tuple[float, ...], ...]
    model_digest: str
    seconds: float
