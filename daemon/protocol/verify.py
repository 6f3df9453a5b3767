"""The proof of a vector: what is asked of it, and all that was measured."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from daemon.protocol.evidence import Check, Confounds, GateReport, Generation, Null, NullTest, SampleEffect
from daemon.protocol.parts import NeutralText
from graph.schema import Behaviour, Frozen, Pair


class VerifySettings(Frozen):
    """How a vector is proved. Layers as fractions of depth; doses in residual units; effects in nats a token."""

    layers: tuple[float, ...] = Field(
        default=(0.3, 0.4, 0.5, 0.6, 0.7), min_length=1, description="depths that are tried"
    )
    span: int = Field(default=1, ge=1, le=16, description="layers of those that the vector is added at, together")
    multiples: tuple[float, ...] = Field(
        default=(-2, -1.5, -1, -0.5, 0.5, 1, 1.5, 2), description="the sweep, in multiples of the operating dose"
    )
    max_dose: float = Field(default=1.0, gt=0, description="no dose above this is tried")
    kl_p95_max: float = Field(default=1.0, gt=0, description="neutral KL, 95th percentile over positions, nats")
    kl_rmse_max: float = Field(default=1.0, gt=0, description="neutral KL, root mean square over positions, nats")
    min_coherence: float = 0.1
    min_split_half: float = Field(default=0.3, description="cosine of the vectors of two halves of the training pairs")
    min_d_prime: float = Field(default=0.5, description="separation of held-out replies along the vector")
    min_effect: float = 0.1
    max_anti_steerable: float = 0.25
    nulls_random: int = Field(default=20, ge=0)
    nulls_shuffled: int = Field(default=20, ge=0)
    null_percentile: float = Field(
        default=0.99, gt=0.5, lt=1, description="of what chance does; divided among behaviours that are proved together"
    )
    max_confound: float = Field(
        default=0.9, gt=0.5, description="share of pairs that length or topic alone may tell apart; over 1: not asked"
    )
    generations: int = Field(default=8, ge=0, description="held-out directions that are answered with and without it")
    generation_tokens: int = Field(default=40, gt=0)
    checks: bool = Field(default=True, description="multiple choice, tool calls and refusals, with and without it")
    gate: bool = Field(default=True, description="fit a gate that leaves text without a direction alone")
    min_gated_effect: float = Field(default=0.9, description="share of the effect that a gate must keep")
    max_gated_kl: float = Field(default=0.2, description="share of the neutral KL that a gate may leave")
    max_perplexity_ratio: float = Field(default=1.5, description="of neutral text, with the vector over without it")
    max_choice_drop: float = Field(default=0.15, description="of the share of multiple-choice questions answered right")
    max_json_drop: float = Field(default=0.25, description="of the share of tool calls that are valid JSON")
    max_refusal_rise: float = Field(default=0.15, description="of the share of harmless requests refused")
    max_repetition_rise: float = Field(default=0.2, description="of the share of repeated 4-grams in greedy replies")
    bootstrap: int = 2000
    seed: int = 0


class Rival(Frozen):
    """Another behaviour's vector file, of the same model and template."""

    name: str
    vector: Path


class VerifyRequest(Frozen):
    """Choose layer and dose on `validation`, measure once on `test`.

    `train` is for the shuffled nulls, the confounds and the gate; `behaviour` scores what is generated; `family` is how
    many behaviours are proved together. `rows` is where extraction kept its activations, at most `rows_bytes` of them.
    """

    model: Path
    vector: Path
    train: tuple[Pair, ...]
    validation: tuple[Pair, ...]
    test: tuple[Pair, ...]
    neutral_train: tuple[NeutralText, ...] = ()
    neutral_validation: tuple[NeutralText, ...]
    neutral_test: tuple[NeutralText, ...]
    behaviour: Behaviour | None = None
    rivals: tuple[Rival, ...] = ()
    family: int = Field(default=1, ge=1)
    settings: VerifySettings = VerifySettings()
    threads: int = 0
    rows: Path | None = None
    rows_bytes: int = 0


class LayerPrediction(Frozen):
    """What is known of a layer before anything is steered; `d_prime` is that of the validation pairs."""

    layer: int
    coherence: float | None
    split_half_cosine: float | None
    d_prime: float | None


class DosePoint(Frozen):
    """One point on validation pairs: effect in nats a token, KL in nats a position on neutral text."""

    layer: int
    dose: float
    effect: float
    kl_mean: float
    kl_p95: float
    kl_rmse: float = 0.0
    perplexity: float | None = None


class Placement(Frozen):
    """Where a vector is added and how strongly; the dose is in median residual norms of that layer."""

    layer: int
    dose: float
    coefficient: float


class SideEffects(Frozen):
    """Neutral text under the vector: KL(unsteered ‖ steered) in nats a position, and perplexity with / without it."""

    kl_mean: float
    kl_p95: float
    kl_rmse: float
    perplexity: float
    perplexity_base: float
    n_positions: int


class Condition(Frozen):
    """One thing that was asked: the number, the bar, over how many it was measured; `reason` says what was missed."""

    what: str
    value: float
    sense: Literal["≥", "≤", ">"]
    bar: float
    met: bool
    n: int
    reason: str = ""


class VerifyReport(Frozen):
    """The proof, or the refusal with its reason. Effects are in nats a token, on test pairs unless said otherwise.

    `layer`, `dose` and `coefficient` are those of the first of `placements`. `layer_curve` holds the operating point of
    each layer that was tried, `dose_curve` the sweep at the chosen one.
    """

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
    placements: tuple[Placement, ...] = ()
    conditions: tuple[Condition, ...] = ()
    predictions: tuple[LayerPrediction, ...] = ()
    confounds: Confounds | None = None
    layer_curve: tuple[DosePoint, ...] = ()
    dose_curve: tuple[DosePoint, ...] = ()
    samples: tuple[SampleEffect, ...] = ()
    nulls: tuple[Null, ...] = ()
    null_test: NullTest | None = None
    side_effects: SideEffects | None = None
    checks: tuple[Check, ...] = ()
    generations: tuple[Generation, ...] = ()
    gate: GateReport | None = None
    n_validation: int = 0
    n_test: int = 0
    n_groups: int = 0
    polarity_flipped: bool = False
    seconds: float = 0.0
