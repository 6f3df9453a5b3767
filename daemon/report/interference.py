"""How much vectors have to do with each other: what was measured of their combination, else how they point."""

from datetime import UTC, datetime
from typing import Any

import orjson

from daemon.protocol.combine import CombineReport
from daemon.report.data import Interference
from daemon.report.lenient import read_leniently
from store.reader import Reader, whole_blob

_OTHERS = """
SELECT v.behaviour || '@' || v.version AS vector, b.dim, b.n_layers, b.data, b.sha256
FROM vector_version v JOIN vector_blob b ON b.sha256 = v.blob_sha256
WHERE v.root_digest = ?1 AND (v.behaviour || '@' || v.version = ?2 OR (
  v.behaviour <> (SELECT behaviour FROM vector_version x WHERE x.behaviour || '@' || x.version = ?2)
  AND v.id IN (SELECT max(id) FROM vector_version WHERE root_digest = ?1 AND state NOT IN ('rejected', 'withdrawn')
    AND blob_sha256 IS NOT NULL GROUP BY behaviour)))
ORDER BY v.behaviour || '@' || v.version <> ?2, vector
"""

_HAS_TABLE = "SELECT 1 AS yes FROM sqlite_master WHERE type = 'table' AND name = ?"
_COMBINATIONS = """
SELECT at / 1000 AS seconds, report FROM combination
WHERE model_digest IN (SELECT digest FROM model WHERE root_digest = ?) ORDER BY id DESC
"""


def read_interference(reader: Reader, vector: str, root_digest: str, layer: int | None) -> Interference | None:
    """The last measured combination that `vector` is a member of, else cosines at `layer`; None where it is alone."""
    return _measured(reader, vector, root_digest) or _of_directions(reader, vector, root_digest, layer)


def has_table(reader: Reader, name: str) -> bool:
    """Whether the store has that table: one that was not opened for writing since an upgrade may lack it."""
    return bool(reader.rows(_HAS_TABLE, (name,)))


def _measured(reader: Reader, vector: str, root_digest: str) -> Interference | None:
    """None where none was measured, or all were by a reflexd that writes otherwise."""
    if not has_table(reader, "combination"):
        return None
    for row in reader.rows(_COMBINATIONS, (root_digest,)):
        found, _ = read_leniently(CombineReport, orjson.loads(row["report"]))
        if found is not None and vector in found.members:
            return _of_combination(found, f"{datetime.fromtimestamp(row['seconds'], UTC):%Y-%m-%d %H:%M}")
    return None


def _of_combination(found: CombineReport, at: str) -> Interference:
    cross = {(each.vector, each.behaviour): each.effect for each in found.cross}
    names = found.members
    return Interference(
        names=names,
        cosines=found.cosines,
        cross_effects=tuple(tuple(cross.get((one, other)) for other in names) for one in names),
        n=tuple(next((each.n for each in found.cross if each.behaviour == name), 0) for name in names),
        joint=found.joint,
        kl=found.kl,
        at=at,
    )


def _of_directions(reader: Reader, vector: str, root_digest: str, layer: int | None) -> Interference | None:
    rows = reader.rows(_OTHERS, (root_digest, vector))
    at = layer if layer is not None else min((row["n_layers"] for row in rows), default=0) // 2
    deep = [row for row in rows if row["n_layers"] > at]
    if len(deep) < 2 or deep[0]["vector"] != vector:
        return None
    directions = [_direction(row, at) for row in deep]
    cosines = tuple(tuple(_cosine(one, other, deep[0]["dim"]) for other in directions) for one in directions)
    return Interference(names=tuple(row["vector"] for row in deep), cosines=cosines, layer=at)


def _direction(row: dict[str, Any], layer: int) -> bytes:
    width = 4 * int(row["dim"])
    return whole_blob(row["sha256"], row["data"])[layer * width : (layer + 1) * width]


def _cosine(one: bytes, other: bytes, dim: int) -> float | None:
    from daemon.direction import cosines

    return cosines(one, other, dim)[0]
