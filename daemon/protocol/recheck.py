"""A proved vector measured again where it was placed, since something around it changed."""

from pathlib import Path

from pydantic import Field

from daemon.protocol.parts import NeutralText
from daemon.protocol.verify import Placement, SideEffects
from graph.schema import Frozen, Pair


class RecheckRequest(Frozen):
    """Measure `vector` at `placements` on `test` and on neutral text, whatever template the file was made with."""

    model: Path
    vector: Path
    placements: tuple[Placement, ...] = Field(min_length=1)
    test: tuple[Pair, ...] = Field(min_length=1)
    neutral_test: tuple[NeutralText, ...] = Field(min_length=1)
    bootstrap: int = 2000
    seed: int = 0
    threads: int = 0


class RecheckReport(Frozen):
    """Effect in nats a token with its interval over groups, and side effects, for the weights of `model_digest`."""

    effect: float
    effect_interval: tuple[float, float]
    side_effects: SideEffects
    n_test: int
    n_groups: int
    model_digest: str
    template_digest: str
    seconds: float
