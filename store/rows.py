"""How statements are run and rows come back: plain SQL with named parameters, frozen dataclasses of plain types."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, TypeVar

from sqlalchemy import Connection, text

Row = TypeVar("Row")


def run(conn: Connection, sql: str, **values: object) -> int:
    """Run one statement; the number of rows it changed."""
    return conn.execute(text(sql), values).rowcount


def run_many(conn: Connection, sql: str, rows: Sequence[Mapping[str, object]]) -> None:
    """Run one statement for each of `rows`."""
    if rows:
        conn.execute(text(sql), list(rows))


def select(conn: Connection, sql: str, **values: object) -> list[dict[str, Any]]:
    """The rows of a query."""
    return [dict(row) for row in conn.execute(text(sql), values).mappings()]


def one(conn: Connection, sql: str, **values: object) -> dict[str, Any] | None:
    """The first row of a query, or None."""
    rows = select(conn, sql, **values)
    return rows[0] if rows else None


def shaped(kind: type[Row], row: Mapping[str, Any]) -> Row:
    """The row as dataclass `kind`; columns it does not have are left out."""
    return kind(**{field.name: row[field.name] for field in fields(kind)})  # type: ignore[arg-type]
