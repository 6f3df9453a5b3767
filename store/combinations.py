"""Vectors that were measured together: what came of it, newest last. Append-only.

What reflexd itself measured is in force, for the weights it was measured on, until it measures again: servers get that
share of each dose that it was asked about. A dose that was changed since is served as it is.
"""

import json
import math
from dataclasses import dataclass

from sqlalchemy import Connection

from store.rows import one, run, select, shaped


@dataclass(frozen=True)
class CombinationRow:
    """One measurement; `members` (JSON) are vector names as in `listening@3`, `report` (JSON) is all that was found.

    `asked` (JSON, {"doses": {name: dose}, …}) and `scales` (JSON, {name: scale}) are those of reflexd itself, None
    where a person asked. `kl_p95` is None where it is no number (SQLite keeps NaN as NULL); `reason` says why the doses
    do not fit the budget. A report whose `set` is not null gave the doses of the set of that name.
    """

    at: int
    model_digest: str
    members: str
    asked: str | None
    scales: str | None
    kl_p95: float | None
    reason: str | None
    report: str


@dataclass(frozen=True)
class Scale:
    """By how much a vector's dose is scaled while it is the one that was asked about."""

    dose: float
    scale: float

    def of(self, dose: float) -> float:
        """What a vector that is served at `dose` is scaled by."""
        return self.scale if math.isclose(dose, self.dose, rel_tol=0, abs_tol=1e-9) else 1.0


def keep(conn: Connection, row: CombinationRow) -> None:
    """Keep a measurement."""
    run(
        conn,
        "INSERT INTO combination (at, model_digest, members, asked, scales, kl_p95, reason, report) "
        "VALUES (:at, :model_digest, :members, :asked, :scales, :kl_p95, :reason, :report)",
        **vars(row),
    )


def newest_of_reflexd(conn: Connection, model_digest: str) -> CombinationRow | None:
    """What reflexd measured last of vectors that were on together, on the weights with that digest."""
    return _found(conn, "asked IS NOT NULL", model_digest)


def asked_before(conn: Connection, model_digest: str, asked: str) -> CombinationRow | None:
    """The newest measurement of the same vectors at the same doses, under the same bars."""
    return _found(conn, "asked = :asked", model_digest, asked=asked)


def _found(conn: Connection, which: str, model_digest: str, **values: str) -> CombinationRow | None:
    sql = f"SELECT * FROM combination WHERE model_digest = :model AND {which} ORDER BY id DESC LIMIT 1"
    row = one(conn, sql, model=model_digest, **values)
    return shaped(CombinationRow, row) if row else None


def scales_in_force(conn: Connection, model_digest: str) -> dict[str, Scale]:
    """By how much vectors are scaled on the weights with that digest while several are on, by name."""
    row = newest_of_reflexd(conn, model_digest)
    if row is None or row.asked is None or row.scales is None:
        return {}
    doses, scales = json.loads(row.asked)["doses"], json.loads(row.scales)
    return {name: Scale(doses[name], scale) for name, scale in scales.items()}


def named_sets(conn: Connection, model_digest: str) -> dict[str, CombinationRow]:
    """The newest combination of each named set, for the weights with that digest."""
    rows = select(
        conn,
        "SELECT json_extract(report, '$.set') AS name, * FROM combination "
        "WHERE model_digest = :model AND json_extract(report, '$.set') IS NOT NULL ORDER BY id",
        model=model_digest,
    )
    return {row["name"]: shaped(CombinationRow, row) for row in rows}
