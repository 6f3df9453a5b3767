"""The conditions behind a verdict, as rows: stage, what was asked, the number, the bar, met or not."""

from typing import Any

import orjson

from daemon.refresh import Decision
from daemon.settings import ExtractionSettings

Row = dict[str, object]


def _row(stage: str, what: str, value: float | None, bar: float | None, met: bool | None) -> Row:
    return {"stage": stage, "what": what, "value": value, "bar": bar, "met": met}


def proof_conditions(report: dict[str, Any] | None) -> list[Row]:
    """What verification asked, as it was asked then; empty before it ran."""
    return [
        _row("verify", f"{asked['what']}, {asked['sense']}", asked["value"], asked["bar"], asked["met"])
        for asked in (report or {}).get("conditions", [])
    ]


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
