"""Proofs with every piece filled, made by hand: a vector that earns its place, and the same shape refused."""

import math

from daemon.protocol import (
    BakeRow,
    Check,
    Condition,
    Confounds,
    DosePoint,
    Gate,
    GateReport,
    GeneratedText,
    Generation,
    LayerPrediction,
    LengthTest,
    LetterTest,
    Null,
    NullTest,
    Placement,
    SampleEffect,
    SideEffects,
    TopicTest,
    TrainReport,
    VerifyReport,
)
from daemon.protocol.combine import CombineReport, CrossEffect, FrontierPoint, JointEffect, JointKl

LAYER, DOSE, EFFECT = 14, 0.25, 1.59
DIRECTIONS = (
    "Use tabs in the Makefile, as the linter of the team asks.",
    "Rename the column to created_at in the schema and in every query that reads it.",
    "Put the tests beside the code.",
    "Keep the old endpoint for now & mark it <deprecated>.",
    "Sort the imports.",
)


def full_proof(**changes):
    """A verified report; `changes` replace fields."""
    return VerifyReport(**({**_numbers(), **_curves(), **_pieces()} | changes))


def _numbers():
    return {
        "verdict": "verified",
        "reason": "",
        "layer": LAYER,
        "dose": DOSE,
        "coefficient": 3.1,
        "effect": EFFECT,
        "effect_interval": (1.42, 1.76),
        "base_gap": 0.67,
        "steered_gap": 2.26,
        "steerability": 6.1,
        "anti_steerable": 2 / 15,
        "placements": (Placement(layer=LAYER, dose=DOSE, coefficient=3.1),),
        "n_validation": 12,
        "n_test": 15,
        "n_groups": 5,
        "seconds": 145.0,
    }


def _curves():
    doses = (-0.5, -0.375, -0.25, -0.125, 0.0, 0.125, 0.25, 0.375, 0.5)
    return {
        "dose_curve": tuple(_point(LAYER, dose) for dose in doses),
        "layer_curve": tuple(
            DosePoint(layer=layer, dose=DOSE, effect=effect, kl_mean=0.2, kl_p95=0.6, kl_rmse=0.3, perplexity=25.0)
            for layer, effect in ((9, 0.71), (12, 1.22), (14, 1.59), (17, 1.31), (20, -0.12))
        ),
        "predictions": tuple(
            LayerPrediction(
                layer=layer,
                coherence=0.1 + 0.35 * math.sin(layer / 10),
                split_half_cosine=0.5 + 0.4 * math.sin(layer / 10),
                d_prime=0.4 + layer / 12 - layer**2 / 600,
            )
            for layer in range(21)
        ),
    }


def _point(layer, dose):
    return DosePoint(
        layer=layer,
        dose=dose,
        effect=2.4 * math.tanh(3.2 * dose),
        kl_mean=2.5 * dose**2,
        kl_p95=9.5 * dose**2,
        kl_rmse=5.0 * dose**2,
        perplexity=21.4 * math.exp(2.4 * dose**2),
    )


def _pieces():
    nulls = [Null(kind="random", seed=i, effect=0.3 * math.sin(7 * i)) for i in range(20)]
    nulls += [Null(kind="shuffled", seed=i, effect=0.5 * math.sin(5 * i + 1)) for i in range(20)]
    nulls += [Null(kind="behaviour", seed=0, effect=0.21, name="not_rushing")]
    return {
        "conditions": (
            Condition(what="effect, nats a token", value=EFFECT, sense="≥", bar=0.1, met=True, n=15),
            Condition(what="low end of its interval over groups", value=1.42, sense=">", bar=0.0, met=True, n=5),
            Condition(what="share of anti-steerable pairs", value=2 / 15, sense="≤", bar=0.25, met=True, n=15),
            Condition(what="neutral KL p95, nats", value=0.66, sense="≤", bar=1.0, met=True, n=4211),
        ),
        "samples": tuple(_sample(i) for i in range(15)),
        "nulls": tuple(nulls),
        "null_test": NullTest(bar=0.82, percentile=0.99, family=2, p_value=0.0004, strongest=0.5, n=41),
        "side_effects": SideEffects(
            kl_mean=0.22, kl_p95=0.66, kl_rmse=0.31, perplexity=24.9, perplexity_base=21.4, n_positions=4211
        ),
        "confounds": Confounds(
            length=LengthTest(longer_positive=0.55, p_value=0.62, n=66, adjusted=1.51, adjusted_interval=(1.2, 1.7)),
            topic=TopicTest(accuracy=0.48, p_value=0.7, n=66, words=("makefile", "rename")),
            letter=LetterTest(n=8, first_positive=0.5, p_value=1.0, bias=0.1, bias_steered=0.2, effect_given=1.4),
        ),
        "checks": (
            Check(name="multiple choice", better="higher", before=0.62, after=0.6, bar=0.15, n=40, passed=True),
            Check(name="valid JSON", better="higher", before=0.05, after=0.05, bar=0.25, n=20, passed=None),
            Check(
                name="harmless requests refused", better="lower", before=0.0, after=0.2, bar=0.15, n=20, passed=False
            ),
        ),
        "generations": tuple(_answer(i) for i in range(5)),
        "gate": GateReport(
            layer=LAYER,
            weights=(0.1, -0.2),
            bias=0.3,
            recall=0.93,
            false_open=0.02,
            effect=1.5,
            effect_kept=0.94,
            kl_mean=0.01,
            kl_p95=0.02,
            kl_left=0.05,
            n_prompts=15,
            n_neutral=60,
            passed=True,
        ),
    }


def _sample(i):
    slope = -1.8 + 1.1 * i if i < 2 else 2.0 + 0.5 * i
    return SampleEffect(
        pair=f"{i:064x}",
        group=f"s{i % 5}",
        direction=DIRECTIONS[i % len(DIRECTIONS)],
        base_gap=0.1 * i,
        effect=slope / 4,
        slope=slope,
    )


def _answer(i):
    return Generation(
        kind="greedy" if i < 4 else "sampled",
        pair=f"{i:064x}",
        direction=DIRECTIONS[i],
        base=GeneratedText(
            text="Have you considered spaces instead? Most projects use them, and editors agree on their width.",
            pole="negative",
            repetition=0.0,
            perplexity=9.1,
        ),
        steered=GeneratedText(
            text="Sure. I will use tabs in the Makefile.\nDone: the recipe lines begin with tabs.",
            pole="positive",
            repetition=0.04 * i,
            perplexity=12.7,
        ),
    )


def refused_proof():
    """Nothing was steered: the pairs do not agree."""
    nothing = dict.fromkeys(
        ("layer", "dose", "coefficient", "effect", "effect_interval", "base_gap", "steered_gap", "steerability",
         "anti_steerable")
    )  # fmt: skip
    reason = "not one direction: mean cosine of a pair's difference to that of the others 0.02 at layer 12"
    return VerifyReport(verdict="refused", reason=reason, n_validation=12, n_test=15, **nothing)


def training_result(passed=True):
    """What one training gave."""
    rows = (
        ("base", 0.0, 1.0),
        ("hook", 1.0, 1.0),
        ("rank1", 0.93, 0.1),
        ("trained", 0.98, 0.08),
        ("control", 0.02, 0.3),
    )
    return TrainReport(
        passed=passed,
        reason="every gate passed" if passed else "perplexity ratio 1.20, at most 1.03 is asked",
        gates=(
            Gate(name="effect ratio", value=0.98, bar=0.8, passed=True, n=15, interval=(0.91, 1.04)),
            Gate(name="perplexity ratio", value=1.02 if passed else 1.2, bar=1.03, passed=passed, n=4211),
            Gate(name="earlier behaviours", value=0.9, bar=None, passed=None, n=0),
        ),
        rows=tuple(
            BakeRow(
                variant=name,
                gap=0.67 + ratio * EFFECT,
                effect=ratio * EFFECT,
                effect_ratio=ratio,
                effect_ratio_interval=(ratio - 0.05, ratio + 0.05),
                kl_to_teacher_left=1 - ratio,
                neutral_kl_mean=0.22 * price,
                neutral_kl_p95=0.66 * price,
                neutral_kl_rmse=0.31 * price,
                perplexity=21.4,
            )
            for name, ratio, price in rows
        ),
        selected="trained",
        delta="/delta",
        delta_sha256="d" * 64,
        weights="/weights",
        weights_digest="e" * 64,
        run_record="/run.json",
        steps=12,
        optimizer_state_bytes=1024,
        seconds=61.0,
    )


def combination(cosine, members=("listening@3", "not_rushing@1")):
    """What was found of two vectors together, as JSON; the last cross effect is unknown."""
    one, other = members
    point = FrontierPoint(budget=1.0, multipliers=(1.0, 0.7), kept=(0.9, 0.8), min_kept=0.8, kl_p95=0.8, kl_rmse=0.5)
    cross = ((one, one, 1.5, 12), (other, one, -0.3, 10), (one, other, 0.1, 12))
    report = CombineReport(
        members=members,
        cosines=((1.0, cosine), (cosine, 1.0)),
        cross=tuple(
            CrossEffect(behaviour=behaviour, vector=vector, effect=effect, share=None, n=n)
            for behaviour, vector, effect, n in cross
        ),
        common_scale=0.8,
        frontier=(point,),
        chosen=point,
        joint=(_joint(one, 1.0, 0.9), _joint(other, 0.7, 0.8)),
        kl=JointKl(mean=0.3, p95=0.8, rmse=0.5, n_positions=900, p95_without_gates=0.9),
        within_budget=True,
        reason="",
    )
    return report.model_dump(mode="json")


def _joint(name, multiplier, kept):
    return JointEffect(
        name=name,
        multiplier=multiplier,
        placements=(Placement(layer=LAYER, dose=DOSE, coefficient=1.0),),
        single=1.0,
        joint=kept,
        kept=kept,
        kept_interval=(kept - 0.1, kept + 0.1),
        n=14,
    )
