"""The spectrum from context to weights: the same held-out pairs under examples, a vector, and trained weights."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from daemon.protocol.parts import NeutralText
from daemon.protocol.verify import Placement
from graph.schema import Frozen, Pair


class CompareRequest(Frozen):
    """Measure `test` as `model` is, after examples, with a vector, and in trained weights.

    Examples are from `train`; `vector` is added at `placements`; `weights` is None where none were trained. `examples`
    are the numbers of examples that are tried, each with `draws` drawings. `filler` are chats that come between them
    and the direction. A request is timed `rounds` times, over `tokens` new tokens.
    """

    model: Path
    vector: Path
    placements: tuple[Placement, ...] = Field(min_length=1)
    weights: Path | None = None
    train: tuple[Pair, ...]
    test: tuple[Pair, ...] = Field(min_length=1)
    filler: tuple[NeutralText, ...] = ()
    neutral_test: tuple[NeutralText, ...] = Field(min_length=1)
    examples: tuple[int, ...] = (1, 5)
    draws: int = Field(default=3, ge=1)
    rounds: int = Field(default=5, ge=1)
    tokens: int = Field(default=24, ge=2)
    bootstrap: int = 2000
    seed: int = 0
    threads: int = 0


class Effect(Frozen):
    """Change of the mean gap against the untouched model in the same context, nats a token, with its 95 % interval."""

    value: float
    interval: tuple[float, float]


class Timing(Frozen):
    """Milliseconds over rounds."""

    median: float
    least: float
    most: float


class CompareRow(Frozen):
    """One way to the behaviour. `gap` and `fresh` are of the direction alone, with nothing before it but examples.

    `filled`: a conversation about other things stands before the direction. `compacted`: of that context, only the last
    exchange is left. `tokens_added` to a request, mean over test pairs. `first_ms` is the wait for a first token,
    `token_ms` for each one after it. KL(untouched ‖ this) is on neutral text; None where it has no meaning.
    """

    way: Literal["untouched", "examples", "vector", "weights"]
    examples: int = 0
    gap: float
    fresh: Effect
    filled: Effect
    compacted: Effect
    tokens_added: float
    first_ms: Timing
    token_ms: Timing | None
    kl_mean: float | None = None
    kl_p95: float | None = None
    kl_why_not: str = ""


class CompareReport(Frozen):
    """All rows, on the same pairs; `filler_turns` exchanges have `filler_tokens` tokens in this model's words."""

    rows: tuple[CompareRow, ...]
    n_test: int
    n_groups: int
    n_neutral: int
    draws: int
    rounds: int
    filler_turns: int
    filler_tokens: int
    device: str
    seconds: float
