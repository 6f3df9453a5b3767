"""combine: all that is on together stays within the budget of one: measured when it changes, scaled if need be.

    another set on, other doses, weights, template or bars
        ─▶ neutral KL of all of it ─▶ within the budget: every dose as it is
                                   └▶ over: doses balanced (daemon.proof.combine), none above its own
                                          └▶ a person set one of them: nothing is scaled, it is said

What was found is in force for those weights until the next measurement; what was measured once is taken from there.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import orjson

from daemon.errors import DataError
from daemon.pipeline.context import Context
from daemon.pipeline.extract import split_pairs
from daemon.pipeline.placed import gate_of, placements_of
from daemon.pipeline.publish import served_for
from daemon.pipeline.verify import vector_path
from daemon.protocol import (
    CombineReport,
    CombineRequest,
    CombineSettings,
    JointKl,
    JointReport,
    Member,
    VerifySettings,
)
from daemon.steering.neutral import load_neutral
from store.combinations import CombinationRow, asked_before, keep, newest_of_reflexd
from store.models import ModelRow, current_model
from store.served import ServedRow
from store.vectors import by_id, vector_pairs

_ALONE = {"budgets": (1.0,), "max_multiplier": 1.0, "headroom": 1.0, "hold_on_test_text": True}
"""Reflexd itself raises no dose and shows nobody a frontier; the budget is a bar to hold on all text, not a figure."""


def combine(ctx: Context) -> bool:
    """Measure what is on together for the current weights. False when that is known, or there is only one."""
    with ctx.store.read() as conn:
        model = current_model(conn)
        rows = [row for row in served_for(conn, model) if row.enabled] if model else []
        newest = newest_of_reflexd(conn, model.digest) if model else None
    if model is None or len(rows) < 2:
        return False
    if not ctx.settings.serving.joint_budget:
        return newest is not None and _let_go(ctx, newest)
    asked = asked_of(model, rows, ctx.settings.verification)
    if newest is not None and newest.asked == asked:
        return False
    with ctx.store.read() as conn:
        before = asked_before(conn, model.digest, asked)
    if before is not None:
        ctx.say(f"{', '.join(row.name for row in rows)}: measured together before")
    row = replace(before, at=ctx.now()) if before else _measured(ctx, model, rows, asked)
    with ctx.store.write() as conn:
        keep(conn, row)
    return True


def _let_go(ctx: Context, newest: CombinationRow) -> bool:
    """Nothing is scaled or called over the budget any more; False when nothing was."""
    scales = orjson.loads(newest.scales or "{}")
    if newest.reason is None and all(scale == 1 for scale in scales.values()):
        return False
    free = orjson.dumps(dict.fromkeys(scales, 1.0)).decode()
    asked = orjson.dumps(orjson.loads(newest.asked or "{}") | {"joint_budget": False}, option=orjson.OPT_SORT_KEYS)
    with ctx.store.write() as conn:
        keep(conn, replace(newest, at=ctx.now(), asked=asked.decode(), scales=free, reason=None))
    ctx.say(f"{', '.join(scales)}: at their own doses again: serving.joint_budget is off")
    return True


def _measured(ctx: Context, model: ModelRow, rows: Sequence[ServedRow], asked: str) -> CombinationRow:
    """Neutral KL at the doses asked for; where that is over the budget, scales that bring it within."""
    names = tuple(row.name for row in rows)
    ctx.say(f"{', '.join(names)}: measured together")
    request = request_of(ctx, model, rows, settings_of(ctx.settings.verification).model_copy(update=_ALONE))
    now = ctx.ask("joint", request, JointReport)
    found = None
    if now.reason:
        found = _searched(ctx, rows, request, now.reason)
    else:
        ctx.say(f"within the budget: neutral KL p95 {now.test.p95:.2f} nat, at most {request.settings.kl_p95_max:g}")
    if found is None:
        row = row_of(ctx, model, names, now.test, now.reason, now.model_dump_json())
        scales = dict.fromkeys(names, 1.0)
    else:
        row = row_of(ctx, model, names, found.kl, found.reason, found.model_dump_json())
        scales = dict(zip(names, found.chosen.multipliers, strict=True))
    return replace(row, asked=asked, scales=orjson.dumps(scales).decode())


def _searched(ctx: Context, rows: Sequence[ServedRow], request: CombineRequest, over: str) -> CombineReport | None:
    """Doses within the budget; None where reflexd may not change them, or none were found."""
    ctx.say(f"over the budget: {over}")
    theirs = [row.behaviour for row in rows if not math.isclose(row.dose, row.proved_dose)]
    if theirs:
        hint = f"`reflexd combine {' '.join(row.behaviour for row in rows)}` finds doses for all"
        ctx.say(f"nothing is scaled, since a person set the dose of {', '.join(theirs)}; {hint}")
        return None
    try:
        found = ctx.ask("combine", request, CombineReport)
    except DataError as error:
        ctx.say(f"nothing is scaled: {error}")
        return None
    for name, scale in zip(found.members, found.chosen.multipliers, strict=True):
        ctx.say(f"{name}: served at {scale:.2f} of its dose")
    still = f"; still over the budget: {found.reason}" if found.reason else ""
    least = found.chosen.min_kept
    ctx.say(f"neutral KL p95 of all {found.kl.p95:.2f} nat; each keeps at least {least:.2f} of its effect{still}")
    return found


def asked_of(model: ModelRow, rows: Sequence[ServedRow], bars: VerifySettings) -> str:
    """What a measurement is of (JSON): who is on at which dose, template, budget. Equal ones have equal text."""
    told = {
        "doses": {row.name: row.dose for row in rows},
        "template": model.template_digest,
        "kl_p95_max": bars.kl_p95_max,
        "kl_rmse_max": bars.kl_rmse_max,
    }
    return orjson.dumps(told, option=orjson.OPT_SORT_KEYS).decode()


def request_of(ctx: Context, model: ModelRow, rows: Sequence[ServedRow], settings: CombineSettings) -> CombineRequest:
    """What the model process is asked: the vectors at the doses asked for, each with its own held-out pairs.

    Raises:
        DataError: One has none.
    """
    return CombineRequest(
        model=model.path,
        members=tuple(_member(ctx, row) for row in rows),
        neutral_validation=load_neutral("validation"),
        neutral_test=load_neutral("test"),
        settings=settings,
        threads=ctx.settings.process.threads,
    )


def _member(ctx: Context, row: ServedRow) -> Member:
    with ctx.store.read() as conn:
        vector = by_id(conn, row.vector_id)
        sides = split_pairs(vector_pairs(conn, row.vector_id))
    if not sides["validation"] or not sides["test"]:
        raise DataError(f"{row.name}: no held-out pairs to measure it on; leave it out")
    return Member(
        name=row.name,
        vector=vector_path(ctx, vector),
        placements=placements_of(row),
        validation=sides["validation"],
        test=sides["test"],
        gate=gate_of(row),
    )


def settings_of(bars: VerifySettings, scale: float = 1.0) -> CombineSettings:
    """The bars of one vector are those of the whole set, or so many times that."""
    return CombineSettings(
        kl_p95_max=bars.kl_p95_max * scale,
        kl_rmse_max=bars.kl_rmse_max * scale,
        bootstrap=bars.bootstrap,
        seed=bars.seed,
    )


def row_of(
    ctx: Context, model: ModelRow, members: Sequence[str], kl: JointKl, reason: str, report: str
) -> CombinationRow:
    """A measurement as the store keeps it, asked for by a person."""
    return CombinationRow(
        at=ctx.now(),
        model_digest=model.digest,
        members=orjson.dumps(list(members)).decode(),
        asked=None,
        scales=None,
        kl_p95=kl.p95,
        reason=reason or None,
        report=report,
    )
