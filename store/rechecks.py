"""Served versions that were measured again: what changed, what came of it. Append-only."""

from dataclasses import dataclass

from sqlalchemy import Connection

from store.rows import one, run, shaped


@dataclass(frozen=True)
class RecheckRow:
    """One measurement; `evidence` (JSON) is what it was made on: weights, template, ids of test pairs.

    What came out as no number is None: SQLite keeps NaN as NULL.
    """

    vector_id: int
    at: int
    because: str
    evidence: str
    verdict: str
    reason: str | None
    effect: float | None
    effect_low: float | None
    effect_high: float | None
    kl_p95: float | None


def last_recheck(conn: Connection, vector_id: int) -> RecheckRow | None:
    """The newest measurement of a version since its proof."""
    row = one(conn, "SELECT * FROM recheck WHERE vector_id = :id ORDER BY id DESC LIMIT 1", id=vector_id)
    return shaped(RecheckRow, row) if row else None


def keep_recheck(conn: Connection, row: RecheckRow, report: str) -> None:
    """Keep a measurement, with its whole report (JSON)."""
    run(
        conn,
        "INSERT INTO recheck (vector_id, at, because, evidence, verdict, reason, effect, effect_low, effect_high, "
        "kl_p95, report) VALUES (:vector_id, :at, :because, :evidence, :verdict, :reason, :effect, :effect_low, "
        ":effect_high, :kl_p95, :report)",
        **vars(row),
        report=report,
    )
