"""What the resident and the model process say to each other: one JSON object a line, frozen models, no torch.

    resident ──▶ {"op": "choose" | "extract" | "screen" | "verify" | "train", "request": {...}}
    resident ◀── {"progress": {...}} *  then  {"report": {...}} | {"error": {...}}

The model process never opens the store: it reads files that the request names and writes into the folder it names.
A dose is a strength in units of the layer's median residual norm (position 0 left out); a coefficient multiplies the
vector as stored. coefficient = dose · median_norm[layer] / ‖v[layer]‖.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field

from graph.schema import ChatMessage, Frozen, Pair

Aggregator = Literal["mean_difference", "pca", "logistic"]
OptimizerName = Literal["apollo", "apollo-mini", "adamw"]
TargetSet = Literal["writers", "query"]
NumberType = Literal["float32", "bfloat16"]

WAITING = "waiting"
"""The stage of a progress report whose note says why work waits; an empty note says that it goes on."""


class NeutralText(Frozen):
    """Text that steering should leave alone: a chat or a plain passage."""

    kind: str
    messages: tuple[dict[str, str], ...] | None = None
    text: str | None = None


class Progress(Frozen):
    """How far a long step is; `total` 0 means unknown."""

    stage: str
    done: int
    total: int
    note: str = ""


# ---------------------------------------------------------------- choose


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


# ---------------------------------------------------------------- extract


class ExtractRequest(Frozen):
    """Vectors of the layers from `pairs`: of the first `depth` of them, as a share.

    `rows` is where activations are kept for the next time, at most `rows_bytes` of them; without either none are kept.
    """

    model: Path
    pairs: tuple[Pair, ...]
    out: Path
    behaviour: str
    aggregator: Aggregator = "mean_difference"
    seed: int = 0
    threads: int = 0
    depth: float = Field(default=1.0, gt=0, le=1)
    rows: Path | None = None
    rows_bytes: int = 0


class LayerStatistics(Frozen):
    """One block output: norms in residual units; coherence, split-half cosine and d′: `daemon.steering.moments`."""

    layer: int
    vector_norm: float
    median_residual_norm: float
    coherence: float
    split_half_cosine: float
    d_prime: float | None = None


class ExtractReport(Frozen):
    """Where the vector file is and what it holds; `sha256` is that of the float32 matrix (n_layers, hidden).

    `libraries` (name: version), `device` and `threads` are those that computed it; empty and 0 where nobody said.
    """

    path: Path
    sha256: str
    n_layers: int
    hidden_size: int
    n_pairs: int
    pairs_digest: str
    model_digest: str
    template_digest: str
    layers: tuple[LayerStatistics, ...]
    seconds: float
    libraries: dict[str, str] = Field(default_factory=dict)
    device: str = "cpu"
    threads: int = 0


# ---------------------------------------------------------------- screen


class ScreenRequest(Frozen):
    """A first look at `pairs`: statistics of the first `depth` of the layers, no vector and no file.

    `numbers` None takes bfloat16 where a short measurement says that it is faster here, else float32.
    """

    model: Path
    pairs: tuple[Pair, ...]
    behaviour: str
    seed: int = 0
    threads: int = 0
    depth: float = Field(default=1.0, gt=0, le=1)
    numbers: NumberType | None = None


class ScreenReport(Frozen):
    """`numbers`: what the pairs were read in, and `because` why; `speedup`: bfloat16 over float32, where measured."""

    n_pairs: int
    n_layers: int
    numbers: NumberType
    because: str
    speedup: float | None
    layers: tuple[LayerStatistics, ...]
    model_digest: str
    seconds: float
    device: str
    threads: int


# ---------------------------------------------------------------- verify


class VerifySettings(Frozen):
    """How a vector is proved. Layers as fractions of depth; doses in residual units."""

    layers: tuple[float, ...] = (0.4, 0.5, 0.6)
    doses: tuple[float, ...] = (-0.3, -0.15, 0.0, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4)
    kl_p95_max: float = 1.0
    min_coherence: float = 0.1
    min_effect: float = 0.1
    max_anti_steerable: float = 0.25
    nulls_random: int = 20
    nulls_shuffled: int = 20
    bootstrap: int = 2000
    seed: int = 0


class VerifyRequest(Frozen):
    """Choose layer and dose on `validation`, measure once on `test`. `train` is only for the label-shuffled nulls.

    `rows` is where extraction kept its activations, at most `rows_bytes` of them.
    """

    model: Path
    vector: Path
    train: tuple[Pair, ...]
    validation: tuple[Pair, ...]
    test: tuple[Pair, ...]
    neutral_validation: tuple[NeutralText, ...]
    neutral_test: tuple[NeutralText, ...]
    settings: VerifySettings = VerifySettings()
    threads: int = 0
    rows: Path | None = None
    rows_bytes: int = 0


class DosePoint(Frozen):
    """One point of the sweep on validation pairs: effect in nats a token, KL in nats a position on neutral text."""

    layer: int
    dose: float
    effect: float
    kl_mean: float
    kl_p95: float


class Null(Frozen):
    """The effect of one baseline vector of equal norm at the chosen layer and dose, on test pairs."""

    kind: Literal["random", "shuffled"]
    seed: int
    effect: float


class SideEffects(Frozen):
    """Neutral text under the vector: KL(unsteered ‖ steered) in nats a position, and perplexity with / without it."""

    kl_mean: float
    kl_p95: float
    kl_rmse: float
    perplexity: float
    perplexity_base: float
    n_positions: int


class VerifyReport(Frozen):
    """The proof, or the refusal with its reason. Effects are in nats a token, on test pairs unless said otherwise."""

    verdict: Literal["verified", "refused"]
    reason: str
    layer: int | None
    dose: float | None
    coefficient: float | None
    effect: float | None
    effect_interval: tuple[float, float] | None
    base_gap: float | None
    steered_gap: float | None
    steerability: float | None
    anti_steerable: float | None
    nulls: tuple[Null, ...] = ()
    side_effects: SideEffects | None = None
    dose_curve: tuple[DosePoint, ...] = ()
    n_validation: int = 0
    n_test: int = 0
    polarity_flipped: bool = False
    seconds: float = 0.0


# ---------------------------------------------------------------- train


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
    """Train `vector` at (`layer`, `dose`) into the weights in `model`, whose digest must be `base_digest`.

    `folder` is the attempt's own (…/<job>/<token>/). `resume` names an earlier attempt's folder whose checkpoint may be
    continued; a checkpoint made for other inputs is ignored, with a note. `coefficient` is what verification proved,
    its sign included; without it, the dose in the file's polarity.
    """

    job: int
    token: int
    model: Path
    base_digest: str
    vector: Path
    layer: int
    dose: float
    coefficient: float | None = None
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
