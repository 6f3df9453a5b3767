"""The lineage of versions: the template that each was made with, and a second version of evidence whose first is stale.

As in 0002, a table that changes is made anew with its rows.
"""

import re
from pathlib import Path
from typing import Any

from alembic import op

from store.migrate import statements

revision = "0003"
down_revision = "0002"

_TABLE = re.compile(r"^CREATE TABLE (\w+)", re.MULTILINE)
_INDEX = re.compile(r"^CREATE (?:UNIQUE )?INDEX \w+ ON (\w+)", re.MULTILINE)
_TEMPLATE = "(SELECT template_digest FROM model WHERE digest = model_digest)"  # it never changed before this revision
_AGAIN = """
UPDATE vector_version SET recipe = json_set(recipe, '$.again', version) WHERE id NOT IN
  (SELECT min(id) FROM vector_version GROUP BY behaviour, root_digest, pairs_digest, recipe)
"""


def upgrade() -> None:
    """A version was made with its model's template."""
    bind = op.get_bind()
    _make_anew(bind, "r0003_the_lineage_of_versions.sql", "model", {})
    _make_anew(bind, "r0003_the_lineage_of_versions.sql", "vector_version", {"template_digest": _TEMPLATE})


def downgrade() -> None:
    """The templates of versions are lost; a version made again of the same evidence says so in its recipe."""
    bind = op.get_bind()
    bind.exec_driver_sql(_AGAIN)
    _make_anew(bind, "r0002_the_evidence_graph.sql", "vector_version", {})
    _make_anew(bind, "r0001_the_whole_way.sql", "model", {})


def _make_anew(bind: Any, script: str, table: str, filled: dict[str, str]) -> None:
    """The table as the script has it, with the rows that there are; `filled` gives new columns their SQL."""
    bind.exec_driver_sql("PRAGMA legacy_alter_table = ON")  # a renamed table takes no reference with it
    before = _columns(bind, table)
    for statement in statements(Path(__file__).with_name(script).read_text(encoding="utf-8")):
        made, indexed = _TABLE.search(statement), _INDEX.search(statement)
        if made and made[1] == table:
            bind.exec_driver_sql(f"ALTER TABLE {table} RENAME TO {table}_before")
            bind.exec_driver_sql(statement)
            _fill(bind, table, before, filled)
            bind.exec_driver_sql(f"DROP TABLE {table}_before")
        elif indexed and indexed[1] == table:
            bind.exec_driver_sql(statement)
    bind.exec_driver_sql("PRAGMA legacy_alter_table = OFF")


def _fill(bind: Any, table: str, before: list[str], filled: dict[str, str]) -> None:
    values = {column: column for column in _columns(bind, table) if column in before} | filled
    bind.exec_driver_sql(
        f"INSERT INTO {table} ({', '.join(values)}) SELECT {', '.join(values.values())} FROM {table}_before"
    )


def _columns(bind: Any, table: str) -> list[str]:
    return [row[1] for row in bind.exec_driver_sql(f"PRAGMA table_info({table})").all()]
