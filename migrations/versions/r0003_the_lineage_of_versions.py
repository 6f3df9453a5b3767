"""The lineage of versions: the template that each was made with, and a second version of evidence whose first is stale.

A table that changes is made anew with its rows.
"""

from alembic import op

from migrations.anew import make

revision = "0003"
down_revision = "0002"

_TEMPLATE = "(SELECT template_digest FROM model WHERE digest = model_digest)"  # it never changed before this revision
_AGAIN = """
UPDATE vector_version SET recipe = json_set(recipe, '$.again', version) WHERE id NOT IN
  (SELECT min(id) FROM vector_version GROUP BY behaviour, root_digest, pairs_digest, recipe)
"""


def upgrade() -> None:
    """A version was made with its model's template."""
    bind = op.get_bind()
    make(bind, "r0003_the_lineage_of_versions.sql", {"model"})
    make(bind, "r0003_the_lineage_of_versions.sql", {"vector_version"}, {"template_digest": _TEMPLATE})


def downgrade() -> None:
    """The templates of versions are lost; a version made again of the same evidence says so in its recipe."""
    bind = op.get_bind()
    bind.exec_driver_sql(_AGAIN)
    make(bind, "r0002_the_evidence_graph.sql", {"vector_version"})
    make(bind, "r0001_the_whole_way.sql", {"model"})
