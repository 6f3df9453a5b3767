"""What a version records of how it came to be, and how far its direction turned from its parent's. No torch."""

import platform

import orjson
from sqlalchemy import Connection

from daemon import __version__
from daemon.direction import cosines
from store.models import ModelRow
from store.vectors import VectorRow, by_id, load_blob


def lineage_of(model: ModelRow, parent: str | None, pairs_digest: str, recipe: str, because: str) -> str:
    """What is known when a version is proposed, as JSON; extraction adds what it measured, and with what."""
    return orjson.dumps(
        {
            "because": because,
            "parent": parent,
            "pairs_digest": pairs_digest,
            "code_version": __version__,
            "python": platform.python_version(),
            "model_digest": model.digest,
            "template_digest": model.template_digest,
        }
        | orjson.loads(recipe)
    ).decode()


def cosines_to_parent(conn: Connection, vector: VectorRow, width: int, matrix: bytes) -> list[float | None] | None:
    """Layer by layer; None where the parent has no numbers, or has them from another model."""
    parent = by_id(conn, vector.parent_id) if vector.parent_id is not None else None
    if parent is None or parent.blob_sha256 is None or parent.root_digest != vector.root_digest:
        return None
    _, _, data = load_blob(conn, parent.blob_sha256)
    return cosines(matrix, data, width)
