"""Memory sources that are watched, and how far each was read."""

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from store.rows import one, run, select


@dataclass(frozen=True)
class Source:
    """A watched memory; `cursor` is what the last reading left for the next."""

    id: int
    kind: str
    path: str
    added_at: int
    cursor: dict[str, Any] | None
    last_read_at: int | None
    last_error: str | None


def _source(row: dict[str, Any]) -> Source:
    cursor = json.loads(row["cursor"]) if row["cursor"] else None
    return Source(row["id"], row["kind"], row["path"], row["added_at"], cursor, row["last_read_at"], row["last_error"])


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
    return _source(found)


def list_sources(conn: Connection) -> list[Source]:
    """Every watched source."""
    return [_source(row) for row in select(conn, "SELECT * FROM source WHERE removed_at IS NULL ORDER BY id")]


def remove_source(conn: Connection, kind: str, path: str, now: int) -> bool:
    """Stop watching; False when it was not watched. What it taught is kept."""
    sql = "UPDATE source SET removed_at = :now WHERE kind = :kind AND path = :path AND removed_at IS NULL"
    return run(conn, sql, kind=kind, path=path, now=now) > 0


def save_read(
    conn: Connection, source_id: int, cursor: dict[str, Any] | None, now: int, error: str | None = None
) -> None:
    """Record a look: the cursor commits with the rows that the look produced."""
    sql = "UPDATE source SET cursor = :cursor, last_read_at = :now, last_error = :error WHERE id = :id"
    run(conn, sql, cursor=None if cursor is None else json.dumps(cursor), now=now, error=error, id=source_id)
