"""What a model says next: many prompts at once, with or without vectors, greedy or drawn, under the KV cache.

    drawn token = argmax(logits / temperature − log E),  E ~ Exp(1) for each token       (Gumbel-max sampling)

E comes from a generator of the row's own, seeded by the seed and the prompt: a prompt is answered alike whatever else
is in the batch, and with a vector it meets the luck that it met without one. Batches round differently, so a token that
ties with another may still come out otherwise.

Rows of several lengths stand together padded on the left. Whether a model then tells what it tells of each alone is
found out by trying; where it does not (some recurrent ones), rows of one length share a batch, or none do.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from daemon.steering.apply import steer
from daemon.steering.loading import LoadedModel
from daemon.steering.text import Ids

ROWS = 32
"""Rows of a batch: on two cores a step of 32 costs little more than twice one of 8."""
TOKENS = 4096
"""Tokens of the prompts of a batch, padding included; one longer prompt has a batch of its own."""
TOLERANCE = 1e-3
_TRIED_TOKENS = 2
_FAULTS = (ValueError, RuntimeError, TypeError, AttributeError, AssertionError, IndexError, KeyError)


class Together(Enum):
    """Which rows may share a batch, the cheapest first."""

    PADDED = "of any length, padded on the left"
    LEVEL = "of one length"
    NONE = "none"


@dataclass(frozen=True)
class _Verdict:
    """What was found exact for rows of up to `width` tokens."""

    together: Together = Together.PADDED
    width: int = 0


_verdicts: WeakKeyDictionary[nn.Module, _Verdict] = WeakKeyDictionary()


def generate(
    loaded: LoadedModel,
    prompts: Sequence[Ids],
    deltas: Mapping[int, Tensor] | None,
    new: int,
    *,
    temperature: float = 0.0,
    seed: int = 0,
    on_rows: Callable[[int], None] | None = None,
) -> list[Ids]:
    """For each of n prompts up to `new` tokens, up to where the model stops; the stop itself is left out.

    `deltas[layer]`, (hidden,) or one for each prompt (n, hidden), is added as `daemon.steering.apply.steer` does.
    Temperature 0 takes the likeliest token. What the model's own generation settings say beside its stop tokens
    (penalties, top-k) is left aside. A prompt that leaves no room for `new` tokens loses its beginning. `on_rows` is
    told how many prompts are answered.
    """
    given = [_with_room(loaded, prompt, new) for prompt in prompts]
    found: list[Ids] = [()] * len(given)
    done = 0
    with _no_settings_but_ours(loaded.model):
        for rows in _batches(loaded, given):
            batch = [given[row] for row in rows]
            draw = _Draw(temperature, [_seed_of(seed, prompt) for prompt in batch]) if temperature > 0 else None
            with steer(loaded.layout, {at: _for_rows(each, rows) for at, each in (deltas or {}).items()}):
                out = _run(loaded, batch, draw, max_new_tokens=new)
            for row, reply in zip(rows, out.tolist(), strict=True):
                found[row] = _until(reply, _stops(loaded))
            done += len(rows)
            if on_rows is not None:
                on_rows(done)
    return found


def generate_both(
    loaded: LoadedModel,
    prompts: Sequence[Ids],
    deltas: Mapping[int, Tensor],
    new: int,
    *,
    temperature: float = 0.0,
    seed: int = 0,
    on_rows: Callable[[int], None] | None = None,
) -> tuple[list[Ids], list[Ids]]:
    """Replies without the vectors and with them; both rows of a prompt stand in one batch. `deltas` are (hidden,)."""
    mask = torch.arange(2 * len(prompts)) >= len(prompts)
    rows = {layer: delta * mask.to(delta)[:, None] for layer, delta in deltas.items()}
    found = generate(loaded, [*prompts, *prompts], rows, new, temperature=temperature, seed=seed, on_rows=on_rows)
    return found[: len(prompts)], found[len(prompts) :]


class _Draw(LogitsProcessor):
    """Makes the likeliest token of each row one that was drawn from the row's distribution; `seeds` has one a row."""

    def __init__(self, temperature: float, seeds: Sequence[int]) -> None:
        self.temperature = temperature
        self.seeds = seeds
        self.generators = {seed: torch.Generator().manual_seed(seed) for seed in seeds}

    def __call__(self, _given: Tensor, scores: Tensor) -> Tensor:
        width = scores.shape[1]
        waits = {seed: torch.empty(width).exponential_(generator=each) for seed, each in self.generators.items()}
        drawn = torch.stack([waits[seed] for seed in self.seeds]).clamp_min(torch.finfo(torch.float32).tiny)
        return scores.float() / self.temperature - drawn.log().to(scores.device)


def _seed_of(seed: int, prompt: Ids) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed} {prompt}".encode()).digest()[:7])


def _run(loaded: LoadedModel, batch: Sequence[Ids], draw: _Draw | None, **settings: Any) -> Any:
    """The new tokens (rows, most of any row) of transformers' own generation; all it tells when asked for a dict."""
    stops, width = _stops(loaded), max(map(len, batch))
    fill = loaded.tokenizer.pad_token_id
    fill = fill if fill is not None else min(stops, default=0)
    ids = torch.tensor([[fill] * (width - len(row)) + list(row) for row in batch], device=loaded.device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in batch], device=loaded.device)
    config = _settings(
        do_sample=False, use_cache=True, pad_token_id=fill, eos_token_id=sorted(stops) or None, **settings
    )
    out = loaded.model.generate(
        input_ids=ids,
        attention_mask=mask,
        generation_config=config,
        logits_processor=LogitsProcessorList([] if draw is None else [draw]),
    )
    return out[:, width:] if isinstance(out, Tensor) else out


def _settings(**given: Any) -> GenerationConfig:
    return GenerationConfig(**given)  # type: ignore[no-untyped-call]


@contextmanager
def _no_settings_but_ours(model: Any) -> Iterator[None]:
    """Settings that ours leave open would be filled from the model's."""
    own = model.generation_config
    model.generation_config = _settings(eos_token_id=own.eos_token_id)
    try:
        yield
    finally:
        model.generation_config = own


def _stops(loaded: LoadedModel) -> frozenset[int]:
    """The tokens that end a reply: those of the model's settings and the tokenizer's own."""
    found: set[int] = set()
    for each in (loaded.model.generation_config.eos_token_id, loaded.tokenizer.eos_token_id):
        found |= set(each if isinstance(each, list | tuple) else [] if each is None else [each])
    return frozenset(found)


def _until(reply: Sequence[int], stops: frozenset[int]) -> Ids:
    end = next((i for i, token in enumerate(reply) if token in stops), len(reply))
    return tuple(reply[:end])


def _with_room(loaded: LoadedModel, prompt: Ids, new: int) -> Ids:
    room = getattr(loaded.model.config.get_text_config(), "max_position_embeddings", None)
    return prompt[-max(1, room - new) :] if isinstance(room, int) else prompt


def _for_rows(delta: Tensor, rows: Sequence[int]) -> Tensor:
    return delta if delta.ndim == 1 else delta[list(rows)]


def _batches(loaded: LoadedModel, prompts: Sequence[Ids]) -> Iterator[list[int]]:
    """Prompts by length, as their places in `prompts`."""
    order = sorted(range(len(prompts)), key=lambda row: (len(prompts[row]), prompts[row], row))
    together = _together(loaded, [prompts[row] for row in order])
    rows: list[int] = []
    for row in order:
        width = len(prompts[row])
        full = len(rows) == ROWS or width * (len(rows) + 1) > TOKENS
        if rows and (full or not _fit(together, len(prompts[rows[0]]), width)):
            yield rows
            rows = []
        rows.append(row)
    if rows:
        yield rows


def _fit(together: Together, one: int, other: int) -> bool:
    """Whether rows of these lengths may share a batch."""
    return together is Together.PADDED or (together is Together.LEVEL and one == other)


def _together(loaded: LoadedModel, ordered: Sequence[Ids]) -> Together:
    """The first way that is exact for rows as long as these; a way once lost stays lost."""
    known = _verdicts.get(loaded.layout.decoder, _Verdict())
    if len(ordered) < 2 or len(ordered[-1]) <= known.width or known.together is Together.NONE:
        return known.together
    ways = list(Together)
    trials = [way for way in ways[ways.index(known.together) :] if way is not Together.NONE]
    found = next((way for way in trials if _agrees(loaded, ordered[0], ordered[-1], way)), Together.NONE)
    _verdicts[loaded.layout.decoder] = _Verdict(found, len(ordered[-1]))
    return found


def _agrees(loaded: LoadedModel, shortest: Ids, longest: Ids, way: Together) -> bool:
    """Whether a steered row is given the logits beside another one that it is given alone."""
    altered = tuple((token + 1) % max(2, *longest) for token in longest)
    row, other = (shortest, altered) if way is Together.PADDED else (longest, altered)
    try:
        with steer(loaded.layout, {0: torch.ones(loaded.layout.hidden_size)}):
            alone, beside = (_told(loaded, batch) for batch in ([row], [row, other]))
    except _FAULTS:
        return False
    tolerance = max(TOLERANCE, 4 * torch.finfo(loaded.layout.dtype).eps)
    return alone.shape == beside.shape and bool((alone - beside).norm() <= tolerance * alone.norm())


def _told(loaded: LoadedModel, batch: Sequence[Ids]) -> Tensor:
    """Logits of the first row (tokens, vocabulary) float32."""
    count = {"max_new_tokens": _TRIED_TOKENS, "min_new_tokens": _TRIED_TOKENS}
    out = _run(loaded, batch, None, return_dict_in_generate=True, output_logits=True, **count)
    return torch.stack([each[0].float() for each in out.logits])
