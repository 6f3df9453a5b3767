"""Held-out directions answered without a vector and with it, and what is seen in the replies.

    pole         which of the behaviour's cues are found in the stance of the reply
    repetition   1 − distinct / all 4-grams of its tokens; 0 with fewer than four tokens
    perplexity   exp(−mean log P of its tokens after the prompt), under the model without the vector

Each direction is answered twice: greedy, and drawn at temperature 0.7 with the same luck on both sides.
"""

from collections.abc import Sequence
from typing import Literal

from daemon.errors import DataError
from daemon.proof.prepared import Deltas, OnProgress
from daemon.proof.turns import direction_of
from daemon.protocol import GeneratedText, Generation, Progress, VerifySettings
from daemon.steering.generate import generate_both
from daemon.steering.loading import LoadedModel
from daemon.steering.score import reply_logprobs
from daemon.steering.text import EncodedReply, Ids, encode_prompt
from graph.behaviours.cues import cue_fault, matches
from graph.mining.stance import stance
from graph.schema import Behaviour, Pair

TEMPERATURE = 0.7
NGRAM = 4
Kind = Literal["greedy", "sampled"]
Shown = Literal["positive", "negative", "both", ""]


def answer(
    loaded: LoadedModel,
    deltas: Deltas,
    pairs: Sequence[Pair],
    behaviour: Behaviour | None,
    settings: VerifySettings,
    on_progress: OnProgress,
) -> tuple[Generation, ...]:
    """Up to `settings.generations` distinct directions of `pairs`, each answered greedy and drawn.

    `deltas` are (hidden,) float32 by layer. Without a behaviour no pole is told.

    Raises:
        DataError: A cue of the behaviour is no usable regular expression.
    """
    _require_usable_cues(behaviour)
    chosen = spread(pairs, settings.generations)
    prompts = [encode_prompt(loaded.tokenizer, pair.prompt) for pair in chosen]
    kinds: tuple[tuple[Kind, float], ...] = (("greedy", 0.0), ("sampled", TEMPERATURE))
    asked, replies = [], []
    for turn, (kind, temperature) in enumerate(kinds):

        def told(done: int, before: int = 2 * turn * len(prompts)) -> None:
            on_progress(Progress(stage="answering directions", done=before + done, total=4 * len(prompts)))

        told(0)
        new, seed = settings.generation_tokens, settings.seed
        both = generate_both(loaded, prompts, deltas, new, temperature=temperature, seed=seed, on_rows=told)
        asked += [(kind, pair, prompt) for pair, prompt in zip(chosen, prompts, strict=True)]
        replies += list(zip(*both, strict=True))
    return _scored(loaded, asked, replies, behaviour)


def spread(pairs: Sequence[Pair], count: int) -> list[Pair]:
    """Up to `count` pairs of distinct directions, one from each group in turn; the same ones in whatever order."""
    waiting: dict[str, list[Pair]] = {}
    seen: set[str] = set()
    for pair in sorted(pairs, key=lambda pair: (pair.group, pair.id)):
        if (direction := direction_of(pair.prompt)) not in seen:
            seen.add(direction)
            waiting.setdefault(pair.group, []).append(pair)
    turns = range(max(map(len, waiting.values()), default=0))
    return [group[turn] for turn in turns for group in waiting.values() if turn < len(group)][:count]


def repetition(ids: Ids) -> float:
    """Share of 4-grams of tokens that are there already; 0 with fewer than four tokens."""
    grams = [ids[start : start + NGRAM] for start in range(len(ids) - NGRAM + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def shown_pole(behaviour: Behaviour | None, direction: str, reply: str) -> Shown:
    """The pole whose cues are found in the stance of a reply; "" for neither, or without a behaviour."""
    if behaviour is None:
        return ""
    said = stance(reply)
    positive = matches(behaviour.positive_cues, said, direction)
    negative = matches(behaviour.negative_cues, said, direction)
    if positive and negative:
        return "both"
    return "positive" if positive else "negative" if negative else ""


def _require_usable_cues(behaviour: Behaviour | None) -> None:
    if behaviour is None:
        return
    for cue in (*behaviour.positive_cues, *behaviour.negative_cues):
        if fault := cue_fault(cue):
            raise DataError(f"behaviour {behaviour.name}: {fault}; correct the cue where the behaviour is defined")


def _scored(
    loaded: LoadedModel,
    asked: Sequence[tuple[Kind, Pair, Ids]],
    replies: Sequence[tuple[Ids, Ids]],
    behaviour: Behaviour | None,
) -> tuple[Generation, ...]:
    prompts = [prompt for _, _, prompt in asked for _ in range(2)]
    flat = [reply for both in replies for reply in both]
    perplexities = iter(_perplexities(loaded, prompts, flat))

    def text(direction: str, reply: Ids) -> GeneratedText:
        said = str(loaded.tokenizer.decode(reply, skip_special_tokens=True)).strip()
        return GeneratedText(
            text=said,
            pole=shown_pole(behaviour, direction, said),
            repetition=repetition(reply),
            perplexity=next(perplexities),
        )

    found = []
    for (kind, pair, _), (base, steered) in zip(asked, replies, strict=True):
        direction = direction_of(pair.prompt)
        one, other = text(direction, base), text(direction, steered)
        found.append(Generation(kind=kind, pair=pair.id, direction=direction, base=one, steered=other))
    return tuple(found)


def _perplexities(loaded: LoadedModel, prompts: Sequence[Ids], replies: Sequence[Ids]) -> list[float | None]:
    """Of each reply, without hooks; None of an empty one."""
    some = [EncodedReply(prompt, reply) for prompt, reply in zip(prompts, replies, strict=True) if reply]
    told = iter(reply_logprobs(loaded, some).neg().exp().tolist() if some else ())
    return [next(told) if reply else None for reply in replies]
