"""The first schema: everything from memory sources to trained weights. Its SQL is frozen beside it."""

from pathlib import Path

from alembic import op

from store.migrate import statements

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make every table."""
    for statement in statements(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")):
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    """Drop every table."""
    bind = op.get_bind()
    rows = bind.exec_driver_sql(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name <> 'alembic_version'"
    )
    for (name,) in rows.all():
        bind.exec_driver_sql(f'DROP TABLE "{name}"')
