"""The evidence graph: nodes and edges, a cursor for each file of a source, pinned pairs, stale vectors, proposals.

A table that changes is made anew with its rows.
"""

from alembic import op

from migrations.anew import make

revision = "0002"
down_revision = "0001"

_CHANGED = ("source", "episode", "behaviour", "pair", "vector_version")
_NEW = ("source_unit", "node", "edge", "proposed_behaviour", "classifier")


def upgrade() -> None:
    """No cursor is taken along: each source is read anew with the next look, which fills the graph."""
    make(op.get_bind(), "r0002_the_evidence_graph.sql", {*_CHANGED, *_NEW})


def downgrade() -> None:
    """Nodes, edges, proposals and pins are lost, and cursors of files; an adopted behaviour is a configured one."""
    bind = op.get_bind()
    cursors = bind.exec_driver_sql("SELECT cursor, source_id FROM source_unit WHERE unit = ''").all()
    bind.exec_driver_sql("UPDATE behaviour SET origin = 'config' WHERE origin = 'adopted'")
    for table in _NEW:
        bind.exec_driver_sql(f"DROP TABLE {table}")
    make(bind, "r0001_the_whole_way.sql", set(_CHANGED))
    for row in cursors:
        bind.exec_driver_sql("UPDATE source SET cursor = ? WHERE id = ?", tuple(row))
