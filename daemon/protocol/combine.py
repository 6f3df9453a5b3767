"""Several vectors at once: how they disturb each other, and the doses at which all stay within one budget."""

from pathlib import Path

from pydantic import Field

from daemon.protocol.evidence import GateReport
from daemon.protocol.parts import NeutralText
from daemon.protocol.verify import Placement
from graph.schema import Frozen, Pair


class Member(Frozen):
    """One vector of a set, at the doses at which it is served alone, with the held-out pairs of its own behaviour.

    With a `gate`, it is added only where that is open.
    """

    name: str
    vector: Path
    placements: tuple[Placement, ...] = Field(min_length=1)
    validation: tuple[Pair, ...] = Field(min_length=1)
    test: tuple[Pair, ...] = Field(min_length=1)
    gate: GateReport | None = None


class CombineSettings(Frozen):
    """The budget of the whole set on neutral text, in nats, and how its doses are searched.

    On validation text only the share `headroom` of the budget may be used: test text may be a little more sensitive.
    `budgets` are shares of the budget that are tried; `rounds` is how often the doses are balanced for each of them.
    No vector is given more than `max_multiplier` times its own dose, nor more than keeps all of its effect. With
    `hold_on_test_text` doses are chosen so that the budget holds there too; that figure is then no fair one.
    """

    kl_p95_max: float = Field(default=1.0, gt=0)
    kl_rmse_max: float = Field(default=1.0, gt=0)
    headroom: float = Field(default=0.8, gt=0, le=1)
    budgets: tuple[float, ...] = Field(default=(0.25, 0.5, 0.75, 1.0), min_length=1)
    rounds: int = Field(default=4, ge=1)
    max_multiplier: float = Field(default=2.0, gt=0)
    hold_on_test_text: bool = False
    bootstrap: int = Field(default=2000, gt=0)
    seed: int = 0


class CombineRequest(Frozen):
    """Choose the doses of `members` together on validation pairs and text, measure them once on test pairs and text."""

    model: Path
    members: tuple[Member, ...] = Field(min_length=2)
    neutral_validation: tuple[NeutralText, ...] = Field(min_length=1)
    neutral_test: tuple[NeutralText, ...] = Field(min_length=1)
    settings: CombineSettings = CombineSettings()
    threads: int = 0


class CrossEffect(Frozen):
    """What the vector `vector`, alone, does to the `n` validation pairs of `behaviour`: nats a token.

    `share` is of the effect of the behaviour's own vector; None where that has none.
    """

    behaviour: str
    vector: str
    effect: float
    share: float | None
    n: int


class FrontierPoint(Frozen):
    """The best doses found within `budget` (a share of the whole one), on validation: in the order of the members.

    `kept` is the joint effect on each behaviour's pairs, as a share of that of its own vector alone at its own dose.
    """

    budget: float
    multipliers: tuple[float, ...]
    kept: tuple[float, ...]
    min_kept: float
    kl_p95: float
    kl_rmse: float


class JointKl(Frozen):
    """Neutral test text under all vectors whose gates are open: KL(unsteered ‖ steered), nats a position.

    `p95_without_gates`: for a server that adds all of them everywhere.
    """

    mean: float
    p95: float
    rmse: float
    n_positions: int
    p95_without_gates: float


class JointEffect(Frozen):
    """One behaviour on its `n` test pairs: its vector alone at its own dose, and all together at the chosen doses.

    Effects in nats a token; `kept` is joint / single with its 95 % interval over groups; None where there is no single
    effect. `placements` are those of the vector in the set.
    """

    name: str
    multiplier: float
    placements: tuple[Placement, ...]
    single: float
    joint: float
    kept: float | None
    kept_interval: tuple[float, float] | None
    n: int


class CombineReport(Frozen):
    """How the members get on, and the doses chosen for all of them.

    `cosines` (m, m) compares vector j to vector i where i is added; `common_scale` is the one multiplier for all that
    meets the budget. `reason` is not empty when the chosen doses miss it on test text.
    """

    members: tuple[str, ...]
    cosines: tuple[tuple[float | None, ...], ...]
    cross: tuple[CrossEffect, ...]
    common_scale: float
    frontier: tuple[FrontierPoint, ...]
    chosen: FrontierPoint
    joint: tuple[JointEffect, ...]
    kl: JointKl
    within_budget: bool
    reason: str
    seconds: float = 0.0


class JointReport(Frozen):
    """Neutral text of both sides under all members at the doses they have; `reason` says which bar they miss."""

    validation: JointKl
    test: JointKl
    reason: str
