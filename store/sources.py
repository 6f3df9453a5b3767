"""Memory sources that are watched, the files of each (its units), and how far each file was read."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from store.rows import one, run, select, shaped


@dataclass(frozen=True)
class Source:
    """A watched memory."""

    id: int
    kind: str
    path: str
    added_at: int
    last_read_at: int | None
    last_error: str | None


def add_source(conn: Connection, kind: str, path: str, now: int) -> Source:
    """Watch (kind, path); the one that is watched already, if so."""
    found = one(
        conn, "SELECT * FROM source WHERE kind = :kind AND path = :path AND removed_at IS NULL", kind=kind, path=path
    )
    if found is None:
        run(
            conn, "INSERT INTO source (kind, path, added_at) VALUES (:kind, :path, :now)", kind=kind, path=path, now=now
        )
        return add_source(conn, kind, path, now)
    return shaped(Source, found)


def list_sources(conn: Connection, removed: bool = False) -> list[Source]:
    """Every watched source; with `removed`, those that are watched no more as well."""
    rows = select(conn, "SELECT * FROM source WHERE removed_at IS NULL OR :removed ORDER BY id", removed=removed)
    return [shaped(Source, row) for row in rows]


def remove_source(conn: Connection, kind: str, path: str, now: int) -> bool:
    """Stop watching; False when it was not watched. What it taught is kept."""
    sql = "UPDATE source SET removed_at = :now WHERE kind = :kind AND path = :path AND removed_at IS NULL"
    return run(conn, sql, kind=kind, path=path, now=now) > 0


def save_read(conn: Connection, source_id: int, now: int, error: str | None = None) -> None:
    """Record that a source was looked at, and why that failed, if it did."""
    sql = "UPDATE source SET last_read_at = :now, last_error = :error WHERE id = :id"
    run(conn, sql, now=now, error=error, id=source_id)


def unit_cursors(conn: Connection, source_id: int) -> dict[str, dict[str, Any]]:
    """Where the last read of each of a source's units ended."""
    sql = "SELECT unit, cursor FROM source_unit WHERE source_id = ? ORDER BY unit"
    return {unit: json.loads(cursor) for unit, cursor in conn.exec_driver_sql(sql, (source_id,))}


def save_unit(
    conn: Connection,
    source_id: int,
    unit: str,
    cursor: dict[str, Any],
    now: int,
    unknown: Mapping[str, int],
    problems: int,
    last_problem: str | None,
) -> None:
    """Record how far a unit was read, in the transaction of the rows it gave.

    `unknown` counts record types that were not understood since the last cursor, and adds to what was counted before;
    `problems` are those of this read.
    """
    run(
        conn,
        "INSERT INTO source_unit (source_id, unit, cursor, read_at, unknown, problems, last_problem) "
        "VALUES (:id, :unit, :cursor, :now, :unknown, :problems, :problem) "
        "ON CONFLICT (source_id, unit) DO UPDATE SET cursor = excluded.cursor, read_at = excluded.read_at, "
        "unknown = excluded.unknown, problems = excluded.problems, last_problem = excluded.last_problem",
        id=source_id,
        unit=unit,
        cursor=json.dumps(cursor),
        now=now,
        unknown=json.dumps(_added(_unknown(conn, source_id, unit), unknown), sort_keys=True),
        problems=problems,
        problem=last_problem,
    )


def _unknown(conn: Connection, source_id: int, unit: str) -> dict[str, int]:
    row = one(conn, "SELECT unknown FROM source_unit WHERE source_id = :id AND unit = :unit", id=source_id, unit=unit)
    return dict(json.loads(row["unknown"])) if row else {}


def _added(before: Mapping[str, int], more: Mapping[str, int]) -> dict[str, int]:
    return {name: before.get(name, 0) + more.get(name, 0) for name in before.keys() | more.keys()}
