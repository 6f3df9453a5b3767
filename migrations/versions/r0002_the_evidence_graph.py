"""The evidence graph: nodes and edges, a cursor for each file of a source, pinned pairs, stale vectors, proposals.

SQLite cannot change a table's CHECKs, and ADD COLUMN would lose the comments that explain a table, so a table that
changes is made anew with its rows: renamed without telling the tables that refer to it, made, filled, and dropped.
"""

import re
from pathlib import Path
from typing import Any

from alembic import op

from store.migrate import statements

revision = "0002"
down_revision = "0001"

_MADE = re.compile(r"^CREATE TABLE (\w+)", re.MULTILINE)
_INDEXED = re.compile(r"^CREATE (?:UNIQUE )?INDEX \w+ ON (\w+)", re.MULTILINE)
_CHANGED = ("source", "episode", "behaviour", "pair", "vector_version")
_NEW = ("source_unit", "node", "edge", "proposed_behaviour", "classifier")


def upgrade() -> None:
    """No cursor is taken along: each source is read anew with the next look, which fills the graph."""
    _make(op.get_bind(), "r0002_the_evidence_graph.sql", {*_CHANGED, *_NEW})


def downgrade() -> None:
    """Nodes, edges, proposals and pins are lost, and cursors of files; an adopted behaviour is a configured one."""
    bind = op.get_bind()
    cursors = bind.exec_driver_sql("SELECT cursor, source_id FROM source_unit WHERE unit = ''").all()
    bind.exec_driver_sql("UPDATE behaviour SET origin = 'config' WHERE origin = 'adopted'")
    for table in _NEW:
        bind.exec_driver_sql(f"DROP TABLE {table}")
    _make(bind, "r0001_the_whole_way.sql", set(_CHANGED))
    for row in cursors:
        bind.exec_driver_sql("UPDATE source SET cursor = ? WHERE id = ?", tuple(row))


def _make(bind: Any, script: str, tables: set[str]) -> None:
    """Make those of the script's tables, and their indexes; one that is there keeps its rows."""
    bind.exec_driver_sql("PRAGMA legacy_alter_table = ON")  # a renamed table takes no reference with it
    for statement in statements(Path(__file__).with_name(script).read_text(encoding="utf-8")):
        made, indexed = _MADE.search(statement), _INDEXED.search(statement)
        if made and made[1] in tables:
            _make_anew(bind, made[1], statement)
        elif indexed and indexed[1] in tables:
            bind.exec_driver_sql(statement)
    bind.exec_driver_sql("PRAGMA legacy_alter_table = OFF")


def _make_anew(bind: Any, table: str, statement: str) -> None:
    before = _columns(bind, table)
    if not before:
        bind.exec_driver_sql(statement)
        return
    bind.exec_driver_sql(f"ALTER TABLE {table} RENAME TO {table}_before")
    bind.exec_driver_sql(statement)
    both = ", ".join(column for column in _columns(bind, table) if column in before)
    bind.exec_driver_sql(f"INSERT INTO {table} ({both}) SELECT {both} FROM {table}_before")
    bind.exec_driver_sql(f"DROP TABLE {table}_before")


def _columns(bind: Any, table: str) -> list[str]:
    return [row[1] for row in bind.exec_driver_sql(f"PRAGMA table_info({table})").all()]
