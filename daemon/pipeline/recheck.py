"""recheck: a served vector is measured again when what it was proved on changed, and switched off if it fails.

    other weights of its line, another template or tokenizer, enough new held-out directions
        ─▶ effect and neutral KL at its place ─▶ holds
                                              └▶ fails: off at once and out of the training queue; the history has
                                                 the reason

What is measured once is not measured again. A person may switch on what failed; that is on record.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import orjson
from sqlalchemy import Connection

from daemon.pipeline.context import Context
from daemon.pipeline.extract import split_pairs
from daemon.pipeline.placed import placements_of
from daemon.pipeline.verify import vector_path
from daemon.proof.limits import MIN_GROUPS, MIN_TEST
from daemon.protocol import Placement, RecheckReport, RecheckRequest, VerifySettings
from daemon.settings import DriftSettings
from daemon.steering.neutral import load_neutral
from graph.schema import Pair
from store.evidence import live_pairs
from store.jobs import cancel, open_jobs
from store.models import ModelRow, current_model
from store.rechecks import RecheckRow, keep_recheck, last_recheck
from store.served import ServedRow, served, switch_off
from store.vectors import VectorRow, by_id, retired_into, vector_pairs, verification


@dataclass(frozen=True)
class Measured:
    """What a measurement was made on: weights, template, and ids of test pairs."""

    weights: str
    template: str
    pairs: frozenset[str]

    def json(self) -> str:
        """As the store keeps it."""
        return orjson.dumps(vars(self) | {"pairs": sorted(self.pairs)}).decode()

    @classmethod
    def of(cls, text: str) -> "Measured":
        """What `json` wrote."""
        told = orjson.loads(text)
        return cls(told["weights"], told["template"], frozenset(told["pairs"]))


@dataclass(frozen=True)
class _Due:
    """A served version that is to be measured again, on what, and why."""

    vector: VectorRow
    placements: tuple[Placement, ...]
    model: ModelRow
    test: tuple[Pair, ...]
    now: Measured
    because: str
    kl_at_proof: float


def recheck(ctx: Context) -> bool:
    """Measure one served version again. False when none is due."""
    if not ctx.settings.drift.recheck:
        return False
    with ctx.store.read() as conn:
        due = next(_due(conn, ctx.settings.drift), None)
    if due is None:
        return False
    ctx.say(f"{due.vector.name}: measured again: {due.because}")
    report = ctx.ask("recheck", _request(ctx, due), RecheckReport)
    _record(ctx, due, report)
    return True


def _due(conn: Connection, settings: DriftSettings) -> Iterator[_Due]:
    model = current_model(conn)
    if model is None:
        return
    gone = retired_into(conn, model.digest)
    for row in served(conn):
        if not row.enabled or row.root_digest != model.root_digest or row.vector_id in gone:
            continue
        due = _if_changed(conn, row, model, settings)
        if due is not None:
            yield due


def _if_changed(conn: Connection, row: ServedRow, model: ModelRow, settings: DriftSettings) -> _Due | None:
    vector = by_id(conn, row.vector_id)
    test = [pair for pair in live_pairs(conn, row.behaviour) if pair.split == "test"]
    if len(test) < MIN_TEST or len({pair.group for pair in test}) < MIN_GROUPS:
        return None
    now = Measured(model.digest, model.template_digest, frozenset(pair.id for pair in test))
    last = last_recheck(conn, vector.id)
    because = changed(Measured.of(last.evidence) if last else _at_proof(conn, vector), now, settings.min_new_pairs)
    if not because:
        return None
    report = orjson.loads(verification(conn, vector.id) or "{}")
    kl = (report.get("side_effects") or {}).get("kl_p95", 0.0)
    return _Due(vector, placements_of(row), model, split_pairs(test)["test"], now, because, kl)


def _at_proof(conn: Connection, vector: VectorRow) -> Measured:
    test = frozenset(pair.id for pair in vector_pairs(conn, vector.id) if pair.split == "test")
    return Measured(vector.model_digest, vector.template_digest, test)


def changed(before: Measured, now: Measured, min_new_pairs: int) -> str:
    """What is so different that the proof no longer speaks for it; "" when nothing is."""
    new = len(now.pairs - before.pairs)
    if now.weights != before.weights:
        return f"the weights are now {now.weights[:12]}"
    if now.template != before.template:
        return "the tokenizer or chat template changed"
    return f"{new} new held-out pairs" if new >= min_new_pairs else ""


def _request(ctx: Context, due: _Due) -> RecheckRequest:
    return RecheckRequest(
        model=due.model.path,
        vector=vector_path(ctx, due.vector),
        placements=due.placements,
        test=due.test,
        neutral_test=load_neutral("test"),
        bootstrap=ctx.settings.verification.bootstrap,
        seed=ctx.settings.verification.seed,
        threads=ctx.settings.process.threads,
    )


def fault(report: RecheckReport, kl_at_proof: float, verification: VerifySettings, drift: DriftSettings) -> str:
    """Why a measurement says that the vector no longer holds; "" when it does. NaN holds nothing."""
    low, kl = report.effect_interval[0], report.side_effects.kl_p95
    if not low > 0:
        return f"effect {report.effect:+.3f} nats a token, and its interval reaches down to {low:+.3f}"
    most = max(verification.kl_p95_max, drift.max_kl_growth * kl_at_proof)
    if not kl <= most:
        return f"neutral KL p95 grew from {kl_at_proof:.2f} to {kl:.2f} nat, at most {most:.2f} may be"
    return ""


def _record(ctx: Context, due: _Due, report: RecheckReport) -> None:
    reason = fault(report, due.kl_at_proof, ctx.settings.verification, ctx.settings.drift)
    row = RecheckRow(
        vector_id=due.vector.id,
        at=ctx.now(),
        because=due.because,
        evidence=due.now.json(),
        verdict="fails" if reason else "holds",
        reason=reason or None,
        effect=report.effect,
        effect_low=report.effect_interval[0],
        effect_high=report.effect_interval[1],
        kl_p95=report.side_effects.kl_p95,
    )
    with ctx.store.write() as conn:
        keep_recheck(conn, row, report.model_dump_json())
        if reason:
            switch_off(conn, due.vector.id, reason, ctx.now())
            for job in open_jobs(conn, due.vector.id):
                cancel(conn, job.id, ctx.now(), "reflexd", f"its vector no longer holds: {reason}")
                ctx.say(
                    f"job {job.id}: cancelled, since its vector no longer holds; `reflexd retry {job.id}` trains it"
                )
    if reason:
        ctx.say(
            f"{due.vector.name}: switched off: {reason}; `reflexd on {due.vector.behaviour}` serves it all the same"
        )
    else:
        ctx.say(f"{due.vector.name}: holds: {report.effect:+.2f} nats a token")
