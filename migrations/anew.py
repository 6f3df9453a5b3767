"""Tables made anew with their rows.

SQLite cannot change a table's CHECKs, and ADD COLUMN would lose the comments that explain a table, so a table that
changes is renamed without telling those that refer to it, made, filled, and dropped.
"""

import re
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

from store.migrate import statements

_MADE = re.compile(r"^CREATE TABLE (\w+)", re.MULTILINE)
_INDEXED = re.compile(r"^CREATE (?:UNIQUE )?INDEX \w+ ON (\w+)", re.MULTILINE)


def make(bind: Any, script: str, tables: Set[str], filled: Mapping[str, str] | None = None) -> None:
    """Make those of the script's tables, and their indexes; one that is there keeps its rows.

    `script` is a file beside the revisions; `filled` gives new columns their SQL.
    """
    bind.exec_driver_sql("PRAGMA legacy_alter_table = ON")  # a renamed table takes no reference with it
    path = Path(__file__).with_name("versions") / script
    for statement in statements(path.read_text(encoding="utf-8")):
        made, indexed = _MADE.search(statement), _INDEXED.search(statement)
        if made and made[1] in tables:
            _make_one(bind, made[1], statement, filled or {})
        elif indexed and indexed[1] in tables:
            bind.exec_driver_sql(statement)
    bind.exec_driver_sql("PRAGMA legacy_alter_table = OFF")


def _make_one(bind: Any, table: str, statement: str, filled: Mapping[str, str]) -> None:
    before = _columns(bind, table)
    if not before:
        bind.exec_driver_sql(statement)
        return
    bind.exec_driver_sql(f"ALTER TABLE {table} RENAME TO {table}_before")
    bind.exec_driver_sql(statement)
    values = {column: column for column in _columns(bind, table) if column in before} | dict(filled)
    bind.exec_driver_sql(
        f"INSERT INTO {table} ({', '.join(values)}) SELECT {', '.join(values.values())} FROM {table}_before"
    )
    bind.exec_driver_sql(f"DROP TABLE {table}_before")


def _columns(bind: Any, table: str) -> list[str]:
    return [row[1] for row in bind.exec_driver_sql(f"PRAGMA table_info({table})").all()]
