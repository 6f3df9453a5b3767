"""What the page of one version is made of: frozen models, filled from the store by `daemon.report.read`."""

from typing import Any

from daemon.protocol import TrainReport, VerifyReport
from daemon.protocol.combine import JointEffect, JointKl
from graph.schema import Frozen


class VersionRow(Frozen):
    """One version of the behaviour, with its effect on its own test pairs if it was measured."""

    vector: str
    state: str
    effect: float | None
    effect_low: float | None
    effect_high: float | None
    layer: int | None
    dose: float | None
    pairs: int
    since: str


class Recheck(Frozen):
    """The version measured again after its proof, since something around it changed; `at` is UTC."""

    at: str
    because: str
    verdict: str
    reason: str | None
    effect: float | None
    effect_low: float | None
    effect_high: float | None
    kl_p95: float | None


class Evidence(Frozen):
    """The pairs a version rests on: how many a side, and from where."""

    pairs: dict[str, int]
    sessions: dict[str, int]
    days: tuple[str, ...]


class Job(Frozen):
    """One training job of the version; `missing` are the parts of its result that could not be read."""

    job: int
    state: str
    attempt: str
    since: str
    error: str | None
    result: TrainReport | None
    missing: tuple[str, ...] = ()


class Interference(Frozen):
    """How much vectors have to do with each other: matrices (names, names), a value None where it is not known.

    `cross_effects[i][j]` is the effect of vector i alone on the `n[j]` validation pairs of behaviour j, nats a token;
    None as a whole where only directions were compared, at `layer`. `joint` and `kl` are of all at once, at the doses
    that were chosen together; `at` is when that was measured, UTC.
    """

    names: tuple[str, ...]
    cosines: tuple[tuple[float | None, ...], ...]
    cross_effects: tuple[tuple[float | None, ...], ...] | None = None
    n: tuple[int, ...] = ()
    joint: tuple[JointEffect, ...] = ()
    kl: JointKl | None = None
    layer: int | None = None
    at: str | None = None


class VersionPage(Frozen):
    """Everything that the page of one version shows. Times are local, as the store's views tell them.

    `missing` are the parts of the proof that this version of reflexd cannot read.
    """

    vector: str
    behaviour: str
    description: str
    positive: str
    negative: str
    state: str
    since: str
    reason: str | None
    stale: str | None
    model: str
    served: str | None
    proof: VerifyReport | None
    missing: tuple[str, ...]
    versions: tuple[VersionRow, ...]
    interference: Interference | None
    evidence: Evidence
    lineage: dict[str, Any]
    jobs: tuple[Job, ...]
    rechecks: tuple[Recheck, ...] = ()


class Overview(Frozen):
    """Everything that the page of all behaviours shows, as rows of the store's views."""

    model: str | None
    behaviours: tuple[dict[str, Any], ...]
    queue: tuple[dict[str, Any], ...]
    waiting: tuple[dict[str, Any], ...]
    for_you: tuple[dict[str, Any], ...]
    history: tuple[dict[str, Any], ...]
    health: tuple[dict[str, Any], ...]
