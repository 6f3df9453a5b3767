"""The spectrum from context to weights, measured on the same held-out pairs.

    untouched ─ 1 example ─ 5 examples ─ vector ─ trained weights
                └─ in the context: costs tokens in every request, and is gone when the context is compacted

Each way is measured in three contexts: the direction alone (fresh), after a conversation about other things (filled),
and after that context was cut down to its last exchange (compacted). Every effect is against the untouched model in the
same context, so that what the other turns do by themselves counts for nobody. Examples are cut by a compaction: their
effect is then zero by construction, and measured like the others.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from daemon.errors import MismatchError
from daemon.proof.choices import swapped
from daemon.proof.held_out import group_interval
from daemon.proof.prepared import Deltas, OnProgress
from daemon.proof.turns import Turns, as_conversation, as_example, continued
from daemon.protocol import Progress
from daemon.protocol.compare import CompareReport, CompareRequest, CompareRow, Effect, Timing
from daemon.steering.apply import deltas_at, steer
from daemon.steering.generate import generate
from daemon.steering.loading import LoadedModel
from daemon.steering.score import gaps, kl_statistics, neutral_logprobs
from daemon.steering.text import encode_prompt
from daemon.steering.vector_file import load, require_model
from graph.schema import Pair
from store.clock import SystemClock

NO_KL = "examples stand in a request with a direction; neutral text has none before it"
_PLACES = ("fresh", "filled", "compacted")


@dataclass(frozen=True)
class _Way:
    """One way to the behaviour: what stands first in the context, in each drawing, or what is added, if anything."""

    name: str
    examples: int = 0
    drawings: tuple[Turns, ...] = ((),)
    deltas: Deltas = field(default_factory=dict)

    @property
    def told(self) -> str:
        return f"{self.examples} example{'' if self.examples == 1 else 's'}" if self.examples else self.name


@dataclass(frozen=True)
class _Bench:
    """One model with everything that each way is measured on; `rows` are the test pairs and twins of A/B items."""

    loaded: LoadedModel
    request: CompareRequest
    filler: Turns
    last: Turns
    on_way: Callable[[str], None]

    def gaps(self, way: _Way, place: str) -> Tensor:
        """(n,) float64: gap of each test pair in that context, mean over drawings, nats a token."""
        found = [self._gaps(way.deltas, self._before(shown, place)) for shown in self._drawings(way, place)]
        return torch.stack(found).mean(dim=0)

    def _drawings(self, way: _Way, place: str) -> Sequence[Turns]:
        """What a compaction leaves is the same for every drawing."""
        return way.drawings[:1] if place == "compacted" else way.drawings

    def _before(self, shown: Turns, place: str) -> Turns:
        if place == "compacted":
            return self.last
        return shown if place == "fresh" else (*shown, *self.filler)

    def _gaps(self, deltas: Deltas, earlier: Turns) -> Tensor:
        """A/B items count as the mean of both orders, as they do in a proof."""
        pairs = self.request.test
        twins = [swapped(pair) for pair in pairs]
        rows = [*pairs, *(twin for twin in twins if twin is not None)]
        with steer(self.loaded.layout, deltas) if deltas else nullcontext():
            found = gaps(self.loaded, [_after(pair, earlier) for pair in rows])
        own, other = found[: len(pairs)].clone(), len(pairs)
        for place, twin in enumerate(twins):
            if twin is not None:
                own[place], other = (own[place] + found[other]) / 2, other + 1
        return own

    def prompt(self, way: _Way, pair: Pair) -> tuple[int, ...]:
        """What the model reads of a request about `pair`, its first drawing's examples before it."""
        return encode_prompt(self.loaded.tokenizer, continued(pair.prompt, way.drawings[0]))


def _after(pair: Pair, earlier: Turns) -> Pair:
    return pair.model_copy(update={"prompt": continued(pair.prompt, earlier)})


@dataclass(frozen=True)
class _Untouched:
    """What the model gives by itself: gaps in each context, log-probabilities of neutral text, tokens of prompts."""

    gaps: Mapping[str, Tensor]
    neutral: Sequence[Tensor]
    tokens: Sequence[int]


def run_compare(
    load_model: Callable[[Path], LoadedModel], request: CompareRequest, on_progress: OnProgress
) -> CompareReport:
    """Every way in turn; `load_model` is asked for the trained weights when nothing here holds the base any more.

    Raises:
        MismatchError: The vector was made for another model, or the weights have another vocabulary.
        DataError: The vector file is malformed.
    """
    clock = SystemClock()
    started = clock.monotonic()
    counts = sorted({min(count, len(request.train)) for count in request.examples} - {0})
    total, done = 2 + len(counts) + (request.weights is not None), [0]

    def on_way(told: str) -> None:
        on_progress(Progress(stage="comparing", done=done[0], total=total, note=told))
        done[0] += 1

    rows, base, report = _in_base(load_model(request.model), request, counts, on_way)
    if request.weights is not None:
        rows = [*rows, _in_weights(load_model(request.weights), request, base, on_way)]
    return report.model_copy(update={"rows": tuple(rows), "seconds": clock.monotonic() - started})


def _in_base(
    loaded: LoadedModel, request: CompareRequest, counts: Sequence[int], on_way: Callable[[str], None]
) -> tuple[list[CompareRow], _Untouched, CompareReport]:
    """What needs no other weights, and what the trained ones will be compared with."""
    bench = _bench(loaded, request, on_way)
    ways = [_Way("untouched"), *(_examples(request, count) for count in counts), _vector(loaded, request)]
    base = _untouched(bench, ways[0])
    times = _timed(bench, ways)
    rows = [_row(bench, way, base, times[i]) for i, way in enumerate(ways)]
    report = CompareReport(
        rows=(),
        n_test=len(request.test),
        n_groups=len({pair.group for pair in request.test}),
        n_neutral=sum(map(len, base.neutral)),
        draws=request.draws,
        rounds=request.rounds,
        filler_turns=len(as_conversation(request.filler)),
        filler_tokens=_length(bench, bench.filler),
        device=str(loaded.device),
        seconds=0.0,
    )
    return rows, base, report


def _in_weights(
    loaded: LoadedModel, request: CompareRequest, base: _Untouched, on_way: Callable[[str], None]
) -> CompareRow:
    bench, way = _bench(loaded, request, on_way), _Way("weights")
    return _row(bench, way, base, _timed(bench, [way])[0])


def _bench(loaded: LoadedModel, request: CompareRequest, on_way: Callable[[str], None]) -> _Bench:
    exchanges = as_conversation(request.filler)
    filler = tuple(message for turns in exchanges for message in turns)
    return _Bench(loaded, request, filler, exchanges[-1] if exchanges else (), on_way)


def _examples(request: CompareRequest, count: int) -> _Way:
    """Drawn from the training pairs; the drawings of fewer examples are the beginnings of those of more."""
    known = sorted(request.train, key=lambda pair: pair.id)
    drawings = []
    for draw in range(request.draws):
        order = torch.randperm(len(known), generator=torch.Generator().manual_seed(1000 * request.seed + draw))
        chosen = [known[place] for place in order[:count].tolist()]
        drawings.append(tuple(message for pair in chosen for message in as_example(pair)))
    return _Way("examples", examples=count, drawings=tuple(drawings))


def _vector(loaded: LoadedModel, request: CompareRequest) -> _Way:
    file = load(request.vector)
    shape = (loaded.layout.n_layers, loaded.layout.hidden_size)
    require_model(file, request.vector, loaded.digest, loaded.template_digest, shape)
    return _Way("vector", deltas=deltas_at(file, request.placements))


def _untouched(bench: _Bench, way: _Way) -> _Untouched:
    return _Untouched(
        gaps={place: bench.gaps(way, place) for place in _PLACES},
        neutral=neutral_logprobs(bench.loaded, bench.request.neutral_test),
        tokens=[len(bench.prompt(way, pair)) for pair in bench.request.test],
    )


def _row(bench: _Bench, way: _Way, base: _Untouched, timing: tuple[Timing, Timing | None]) -> CompareRow:
    bench.on_way(way.told)
    request, untouched = bench.request, way.name == "untouched"
    found = base.gaps if untouched else {place: bench.gaps(way, place) for place in _PLACES}
    effects = {place: _effect(found[place] - base.gaps[place], request) for place in _PLACES}
    return CompareRow.model_validate(
        {
            "way": way.name,
            "examples": way.examples,
            "gap": float(found["fresh"].mean()),
            **effects,
            "tokens_added": _tokens_added(bench, way, base),
            "first_ms": timing[0],
            "token_ms": timing[1],
            **_drift(bench, way, base),
        }
    )


def _effect(values: Tensor, request: CompareRequest) -> Effect:
    interval = group_interval(values, request.test, request.bootstrap, request.seed)
    return Effect(value=float(values.mean()), interval=interval)


def _tokens_added(bench: _Bench, way: _Way, base: _Untouched) -> float:
    """Mean over test pairs and drawings."""
    drawn = [_Way(way.name, way.examples, (shown,)) for shown in way.drawings]
    added = [
        len(bench.prompt(each, pair)) - known
        for each in drawn
        for pair, known in zip(bench.request.test, base.tokens, strict=True)
    ]
    return statistics.fmean(added)


def _drift(bench: _Bench, way: _Way, base: _Untouched) -> dict[str, object]:
    """KL(untouched ‖ this way) over positions of neutral text.

    Raises:
        MismatchError: Another vocabulary.
    """
    if way.name == "untouched":
        return {"kl_mean": 0.0, "kl_p95": 0.0}
    if way.examples:
        return {"kl_why_not": NO_KL}
    with steer(bench.loaded.layout, way.deltas) if way.deltas else nullcontext():
        told = neutral_logprobs(bench.loaded, bench.request.neutral_test)
    if [each.shape for each in told] != [each.shape for each in base.neutral]:
        raise MismatchError(f"{bench.request.weights}: not weights of the same model; `reflexd model add` shows which")
    found = kl_statistics(base.neutral, told)
    return {"kl_mean": found.mean, "kl_p95": found.p95}


def _length(bench: _Bench, turns: Turns) -> int:
    """Tokens that these turns add to the first test prompt."""
    pair, way = bench.request.test[0], _Way("filler", drawings=(turns,))
    return len(bench.prompt(way, pair)) - len(bench.prompt(_Way("untouched"), pair))


def _timed(bench: _Bench, ways: Sequence[_Way]) -> list[tuple[Timing, Timing | None]]:
    """For each way, the wait for a first token and for each one after it.

    One request a round, each way in turn and another one first each time, so that what else the machine does falls on
    all of them.
    """
    first: list[list[float]] = [[] for _ in ways]
    after: list[list[float]] = [[] for _ in ways]
    for round_ in range(bench.request.rounds):
        pair = bench.request.test[round_ % len(bench.request.test)]
        for turn in range(len(ways)):
            place = (round_ + turn) % len(ways)
            one, _ = _request_ms(bench, ways[place], pair, 1)
            many, made = _request_ms(bench, ways[place], pair, bench.request.tokens)
            first[place].append(one)
            after[place] += [(many - one) / (made - 1)] if made > 1 else []
    return [(_timing(one), _timing(more) if more else None) for one, more in zip(first, after, strict=True)]


def _request_ms(bench: _Bench, way: _Way, pair: Pair, new: int) -> tuple[float, int]:
    """Milliseconds of a request for up to `new` tokens, and how many were made, the one that ends a reply included."""
    prompt, clock = bench.prompt(way, pair), SystemClock()
    started = clock.monotonic()
    (reply,) = generate(bench.loaded, [prompt], way.deltas or None, new)
    return 1000 * (clock.monotonic() - started), min(new, len(reply) + 1)


def _timing(values: Sequence[float]) -> Timing:
    return Timing(median=statistics.median(values), least=min(values), most=max(values))
