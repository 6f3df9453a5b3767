"""The proof goes on: served versions measured again, and why one was switched off; several vectors measured together.

A table that changes is made anew with its rows.
"""

from alembic import op

from migrations.anew import make

revision = "0004"
down_revision = "0003"

_NEW = {"recheck", "combination"}


def upgrade() -> None:
    """What is served stays as it is."""
    make(op.get_bind(), "r0004_proof_goes_on.sql", {"served"} | _NEW)


def downgrade() -> None:
    """Rechecks, combinations and reasons are lost."""
    bind = op.get_bind()
    for table in sorted(_NEW):
        bind.exec_driver_sql(f"DROP TABLE {table}")
    make(bind, "r0001_the_whole_way.sql", {"served"})
