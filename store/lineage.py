"""What a version came from: the one before it for the same model, and whether its evidence has one already."""

from sqlalchemy import Connection

from store.rows import one, shaped
from store.vectors import VectorRow


def newest_version(conn: Connection, behaviour: str, root_digest: str) -> VectorRow | None:
    """The newest version of a behaviour for this line of weights, whatever became of it."""
    row = one(
        conn,
        "SELECT * FROM vector_version WHERE behaviour = :behaviour AND root_digest = :root ORDER BY id DESC LIMIT 1",
        behaviour=behaviour,
        root=root_digest,
    )
    return shaped(VectorRow, row) if row else None


_STANDING = """
SELECT v.* FROM vector_version v
WHERE v.behaviour = :behaviour AND v.root_digest = :root AND v.template_digest = :template AND v.pairs_digest = :pairs
  AND v.recipe = :recipe AND v.stale_at IS NULL
  AND NOT (v.state IN ('verified', 'superseded') AND EXISTS (
    SELECT 1 FROM vector_version later WHERE later.behaviour = v.behaviour AND later.root_digest = v.root_digest
      AND later.id > v.id AND later.effect IS NOT NULL AND later.stale_at IS NOT NULL))
ORDER BY v.id DESC LIMIT 1
"""


def version_of_evidence(
    conn: Connection, behaviour: str, root_digest: str, template_digest: str, pairs_digest: str, recipe: str
) -> VectorRow | None:
    """The version that was made of exactly this, whatever became of it; while it is there, there is no second one.

    A stale version does not count. Nor does one whose place was taken by a later version that was proved and is stale
    now: what servers are told is then the later one, and dropping a pair may bring back exactly the evidence before it.
    The trigger `vector_no_replace` holds the same rule against every writer.
    """
    row = one(
        conn,
        _STANDING,
        behaviour=behaviour,
        root=root_digest,
        template=template_digest,
        pairs=pairs_digest,
        recipe=recipe,
    )
    return shaped(VectorRow, row) if row else None
