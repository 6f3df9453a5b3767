"""Training a vector into the weights."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from daemon.protocol.parts import NeutralText, OptimizerName, TargetSet
from daemon.protocol.verify import Placement
from graph.schema import Frozen, Pair


class GateSettings(Frozen):
    """The bars a trained candidate must pass; ratios are relative to the vector (the hook) on the same weights."""

    min_effect_ratio: float = 0.8
    max_effect_ratio: float = 1.25
    max_neutral_kl_ratio: float = 0.2
    max_perplexity_ratio: float = 1.03
    max_control_ratio: float = 0.2
    min_retention: float = 0.75


class TrainSettings(Frozen):
    """How a vector is trained into weights: gated rank-1 warm start, then APOLLO with a retain term."""

    optimizer: OptimizerName = "apollo"
    targets: TargetSet = "writers"
    rank: int = 64
    learning_rate: float = 2e-4
    steps: int = 12
    warmup: int = 3
    pairs_per_step: int = 3
    neutral_per_step: int = 4
    replay_per_step: int = 2
    projection_gap: int = 200
    norm_growth: float = 1.01
    activation_weight: float = 0.25
    retain_weight: float = 2.0
    gate_neutral_weight: float = 10.0
    gate_replay_weight: float = 2.0
    gate_ridge: float = 0.1
    gate_scales: tuple[float, ...] = (0.8, 1.0, 1.2, 1.4, 1.6)
    delta_scales: tuple[float, ...] = (0.8, 0.9, 1.0, 1.1, 1.2)
    checkpoint_every: int = 4
    control: bool = True
    control_steps: int = 6
    bootstrap: int = 2000
    seed: int = 0
    gates: GateSettings = GateSettings()


class EarlierBehaviour(Frozen):
    """A behaviour that lives in the weights already: its pairs are replayed, and its gap is measured again."""

    name: str
    train: tuple[Pair, ...]
    test: tuple[Pair, ...]


class TrainRequest(Frozen):
    """Train `vector`, added at `placements` as verification proved it, into the weights in `model`.

    The digest of the weights must be `base_digest`.

    `folder` is the attempt's own (…/<job>/<token>/). `resume` names an earlier attempt's folder whose checkpoint may be
    continued; a checkpoint made for other inputs is ignored, with a note.
    """

    job: int
    token: int
    model: Path
    base_digest: str
    vector: Path
    placements: tuple[Placement, ...] = Field(min_length=1)
    behaviour: str
    train: tuple[Pair, ...]
    validation: tuple[Pair, ...]
    test: tuple[Pair, ...]
    neutral_train: tuple[NeutralText, ...]
    neutral_validation: tuple[NeutralText, ...]
    neutral_test: tuple[NeutralText, ...]
    earlier: tuple[EarlierBehaviour, ...] = ()
    settings: TrainSettings = TrainSettings()
    folder: Path
    resume: Path | None = None
    threads: int = 0


class Gate(Frozen):
    """One measured condition. `passed` is None where it is reported but not required."""

    name: str
    value: float
    bar: float | None
    passed: bool | None
    n: int
    interval: tuple[float, float] | None = None


class BakeRow(Frozen):
    """One variant of the weights, with no vector applied (but for `hook`), on test pairs and neutral test text."""

    variant: Literal["base", "hook", "rank1", "trained", "control_hook", "control"]
    gap: float
    effect: float
    effect_ratio: float
    effect_ratio_interval: tuple[float, float]
    kl_to_teacher_left: float
    neutral_kl_mean: float
    neutral_kl_p95: float
    neutral_kl_rmse: float
    perplexity: float


class TrainReport(Frozen):
    """What training gave. `passed` is the conjunction of the required gates. Files are fsynced before this is sent."""

    passed: bool
    reason: str
    gates: tuple[Gate, ...]
    rows: tuple[BakeRow, ...]
    selected: Literal["rank1", "trained"]
    delta: Path
    delta_sha256: str
    weights: Path
    weights_digest: str
    run_record: Path
    steps: int
    optimizer_state_bytes: int
    seconds: float = Field(ge=0)


class TrainProgress(Frozen):
    """Sent whenever a checkpoint is durable: `milestone` only grows within one job, whatever the attempt."""

    milestone: int
