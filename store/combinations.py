"""Vectors that were measured together: what came of it, newest last."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from store.rows import run, select, shaped


@dataclass(frozen=True)
class CombinationRow:
    """One measurement; `members` (JSON) are vector names as in `listening@3`, `report` (JSON) is all that was found.

    A report whose `set` is not null gave the doses of the set of that name.
    """

    id: int
    at: int
    model_digest: str
    members: str
    report: str


def keep(conn: Connection, model_digest: str, members: Sequence[str], report: str, now: int) -> None:
    """Keep what was found about `members` on the weights with that digest."""
    run(
        conn,
        "INSERT INTO combination (at, model_digest, members, report) VALUES (:now, :model, :members, :report)",
        now=now,
        model=model_digest,
        members=json.dumps(list(members), ensure_ascii=False),
        report=report,
    )


def named_sets(conn: Connection, model_digest: str) -> dict[str, CombinationRow]:
    """The newest combination of each named set, for the weights with that digest."""
    rows = select(
        conn,
        "SELECT json_extract(report, '$.set') AS name, * FROM combination "
        "WHERE model_digest = :model AND json_extract(report, '$.set') IS NOT NULL ORDER BY id",
        model=model_digest,
    )
    return {row["name"]: shaped(CombinationRow, row) for row in rows}
