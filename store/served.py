"""What inference servers are told: at most one version of a behaviour for each line of models."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from store.errors import NotFoundError
from store.rows import one, run, select, shaped


@dataclass(frozen=True)
class ServedRow:
    """A served version; `sha256` is that of its matrix, `coefficient` multiplies its row `layer`.

    `dose` is the proved one until a person sets another. `placements` (JSON, [{layer, dose, coefficient}], as proved)
    and `gate` (JSON, or None) are those of its proof; `reason` says why reflexd itself switched it off.
    """

    vector_id: int
    name: str
    behaviour: str
    root_digest: str
    template_digest: str
    sha256: str
    layer: int
    dose: float
    coefficient: float
    coefficient_per_dose: float
    proved_dose: float
    enabled: bool
    state: str
    reason: str | None
    placements: str
    gate: str | None


_SERVED = """
SELECT s.vector_id, v.behaviour || '@' || v.version AS name, v.behaviour, v.root_digest, v.template_digest,
  v.blob_sha256 AS sha256, v.layer, s.dose, s.coefficient, v.coefficient / v.dose AS coefficient_per_dose,
  v.dose AS proved_dose, s.enabled, v.state, s.reason,
  coalesce(json_extract(n.report, '$.placements'), '[]') AS placements,
  iif(json_extract(n.report, '$.gate.passed'), json_extract(n.report, '$.gate'), NULL) AS gate
FROM served s JOIN vector_version v ON v.id = s.vector_id LEFT JOIN verification n ON n.vector_id = v.id
WHERE v.state IN ('verified', 'promoted', 'retired') ORDER BY s.vector_id
"""


def served(conn: Connection) -> list[ServedRow]:
    """Everything that is listed for some model, switched on or off."""
    return [shaped(ServedRow, row | {"enabled": bool(row["enabled"])}) for row in select(conn, _SERVED)]


def serve(
    conn: Connection, vector_id: int, dose: float, coefficient: float, enabled: bool, now: int, actor: str = "reflexd"
) -> None:
    """List a version in place of an older one of its behaviour, whose switch and place it takes over.

    One that reflexd had switched off had failed; a version that was proved after that is on again.
    """
    previous = _previous(conn, vector_id)
    if previous is not None:
        enabled = previous.enabled or previous.reason is not None
        run(conn, "DELETE FROM served WHERE vector_id = :id", id=previous.vector_id)
    run(
        conn,
        "INSERT INTO served (vector_id, dose, coefficient, enabled, changed_at, actor) "
        "VALUES (:id, :dose, :coefficient, :enabled, :now, :actor)",
        id=vector_id,
        dose=dose,
        coefficient=coefficient,
        enabled=int(enabled),
        now=now,
        actor=actor,
    )


def _previous(conn: Connection, vector_id: int) -> ServedRow | None:
    """The version it replaces: not a retired one, which a server with the old weights still needs."""
    key = one(conn, "SELECT behaviour, root_digest FROM vector_version WHERE id = :id", id=vector_id) or {}
    for row in served(conn):
        if row.state != "retired" and (row.behaviour, row.root_digest) == (key["behaviour"], key["root_digest"]):
            return row
    return None


def set_enabled(conn: Connection, behaviour: str, enabled: bool, now: int, actor: str) -> None:
    """Switch a behaviour's served version on or off.

    Raises:
        NotFoundError: None is served.
    """
    _change(conn, behaviour, "enabled = :enabled, reason = NULL", now, actor, enabled=int(enabled))


def switch_off(conn: Connection, vector_id: int, reason: str, now: int) -> None:
    """Stop serving one version, since it failed when it was measured again; a person may switch it on all the same."""
    sql = "UPDATE served SET enabled = 0, reason = :reason, changed_at = :now, actor = 'reflexd' WHERE vector_id = :id"
    run(conn, sql, id=vector_id, reason=reason, now=now)


def set_dose(conn: Connection, behaviour: str, dose: float, coefficient: float, now: int, actor: str) -> None:
    """Serve a behaviour at another dose.

    Raises:
        NotFoundError: None is served.
    """
    _change(conn, behaviour, "dose = :dose, coefficient = :coefficient", now, actor, dose=dose, coefficient=coefficient)


def _change(conn: Connection, behaviour: str, changes: str, now: int, actor: str, **values: Any) -> None:
    rows = [row for row in served(conn) if row.behaviour == behaviour]
    if not rows:
        raise NotFoundError(f"{behaviour}: no vector of it is served; `reflexd active` shows what is")
    sql = f"UPDATE served SET {changes}, changed_at = :now, actor = :actor WHERE vector_id = :id"
    for row in rows:
        run(conn, sql, now=now, actor=actor, id=row.vector_id, **values)
