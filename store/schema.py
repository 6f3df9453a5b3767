"""The schema as text: which revision this code wants, and the statements that make its tables, triggers and views."""

import sqlite3
from functools import cache
from importlib.resources import files
from typing import Any

HEAD = "0001"
APPLICATION_ID = 0x52464C58  # "RFLX": file(1) and other programs see whose file it is
_VERSION_TABLE = (
    "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, "
    "CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
)


def split_statements(script: str) -> list[str]:
    """The statements of an SQL script, without comments between them; comments inside them stay."""
    statements: list[str] = []
    gathered = ""
    for line in script.splitlines(keepends=True):
        if not gathered and (not line.strip() or line.startswith("--")):
            continue
        gathered += line
        if sqlite3.complete_statement(gathered):
            statements.append(gathered.strip().removesuffix(";"))
            gathered = ""
    if gathered.strip():
        raise ValueError(f"SQL script ends within a statement: {gathered[:60]!r}")
    return statements


@cache
def statements(name: str) -> tuple[str, ...]:
    """The statements of `store/sql/NAME.sql`."""
    return tuple(split_statements((files("store") / "sql" / f"{name}.sql").read_text(encoding="utf-8")))


def create_all(cursor: Any) -> None:
    """Tables, triggers and views of a new store, within the caller's transaction."""
    for statement in (*statements("tables"), _VERSION_TABLE):
        cursor.execute(statement)
    cursor.execute("INSERT INTO alembic_version VALUES (?)", (HEAD,))
    create_rules(cursor)
    mark(cursor)


def mark(cursor: Any) -> None:
    """Say in the file's header that this is a store of reflexd, and of which revision."""
    cursor.execute(f"PRAGMA application_id={APPLICATION_ID}")
    cursor.execute(f"PRAGMA user_version={int(HEAD)}")


def create_rules(cursor: Any) -> None:
    """Triggers and views, within the caller's transaction."""
    for statement in (*statements("triggers"), *statements("views")):
        cursor.execute(statement)


def drop_rules(cursor: Any) -> None:
    """Drop every trigger and view, so that tables can be migrated."""
    for kind, name, _ in _rules(cursor):
        cursor.execute(f'DROP {kind} "{name}"')


def rules_are_current(cursor: Any) -> bool:
    """Whether triggers and views are those of this code: not older ones, and none that somebody dropped or changed."""
    found = {sql for _, _, sql in _rules(cursor)}
    return found == {*statements("triggers"), *statements("views")}


def _rules(cursor: Any) -> list[tuple[str, str, str]]:
    query = "SELECT type, name, sql FROM sqlite_master WHERE type IN ('trigger', 'view') ORDER BY type, name"
    return [(str(kind), str(name), str(sql)) for kind, name, sql in cursor.execute(query).fetchall()]
