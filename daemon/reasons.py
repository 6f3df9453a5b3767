"""The conditions behind a verdict, as rows: stage, what was asked, the number, the bar, met or not."""

from typing import Any

import orjson

from daemon.protocol import VerifySettings
from daemon.refresh import Decision
from daemon.settings import ExtractionSettings

Row = dict[str, object]


def _row(stage: str, what: str, value: float | None, bar: float | None, met: bool | None) -> Row:
    return {"stage": stage, "what": what, "value": value, "bar": bar, "met": met}


def proof_conditions(report: dict[str, Any] | None, settings: VerifySettings) -> list[Row]:
    """What verification asked; empty before it ran."""
    if not report or report["effect"] is None:
        return []
    effect, low = report["effect"], report["effect_interval"][0]
    strongest = max((null["effect"] for null in report["nulls"]), default=None)
    side = report["side_effects"]
    rows = [
        _row("verify", "effect, nats a token", effect, settings.min_effect, effect >= settings.min_effect),
        _row("verify", "low end of its interval", low, 0.0, low > 0),
        _row(
            "verify",
            "share of anti-steerable pairs",
            report["anti_steerable"],
            settings.max_anti_steerable,
            report["anti_steerable"] <= settings.max_anti_steerable,
        ),
    ]
    if strongest is not None:
        rows.append(
            _row(
                "verify",
                f"strongest of {len(report['nulls'])} baselines, below the effect",
                strongest,
                effect,
                strongest < effect,
            )
        )
    if side:
        rows.append(
            _row(
                "verify", "neutral KL, p95", side["kl_p95"], settings.kl_p95_max, side["kl_p95"] <= settings.kl_p95_max
            )
        )
    return rows


def training_conditions(result: str | None) -> list[Row]:
    """The gates of the last training, if there was one."""
    gates = orjson.loads(result)["gates"] if result else []
    return [_row("train", gate["name"], gate["value"], gate["bar"], gate["passed"]) for gate in gates]


def refresh_conditions(decision: Decision, settings: ExtractionSettings) -> list[Row]:
    """What a next version asks of the evidence, one of which is enough; empty where no training pair changed."""
    if decision.change is None:
        return []
    share = decision.change.total / decision.change.parent if decision.change.parent else None
    rows = [
        _row(
            "extract",
            "share of training pairs that changed since",
            share,
            settings.refresh_share,
            share is not None and share >= settings.refresh_share,
        )
    ]
    if decision.cosine is not None:
        bar = settings.refresh_cosine
        rows.append(
            _row("extract", "or predicted cosine to the next, this low", decision.cosine, bar, decision.cosine <= bar)
        )
    return rows
