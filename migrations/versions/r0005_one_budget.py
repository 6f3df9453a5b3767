"""One budget for all that is on: how much of its dose each vector gets. And measurements that gave no number.

A table that changes is made anew with its rows.
"""

from alembic import op

from migrations.anew import make

revision = "0005"
down_revision = "0004"

_FOUND = {"kl_p95": "json_extract(report, '$.kl.p95')", "reason": "nullif(json_extract(report, '$.reason'), '')"}


def upgrade() -> None:
    """What was measured so far was asked for by a person."""
    bind = op.get_bind()
    make(bind, "r0005_one_budget.sql", {"recheck"})
    make(bind, "r0005_one_budget.sql", {"combination"}, _FOUND)


def downgrade() -> None:
    """What reflexd scaled goes back to its own dose; measurements without a number are lost."""
    bind = op.get_bind()
    for statement in (
        "DELETE FROM recheck WHERE effect IS NULL OR effect_low IS NULL OR effect_high IS NULL OR kl_p95 IS NULL",
        "DELETE FROM combination WHERE asked IS NOT NULL",
    ):
        bind.exec_driver_sql(statement)
    make(bind, "r0004_proof_goes_on.sql", {"recheck", "combination"})
