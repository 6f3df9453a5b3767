"""What changed from one version of a behaviour to another, down to the episodes, read from the store alone."""

from typing import Any

import orjson

from daemon.errors import UsageError
from store.reader import Reader, whole_blob

SPLITS = ("train", "validation", "test")

_VERSION = """
SELECT v.*, v.behaviour || '@' || v.version AS vector, m.name AS model,
  (SELECT s.behaviour || '@' || s.version FROM vector_version s WHERE s.id = v.superseded_by) AS superseded_by_vector
FROM vector_version v JOIN model m ON m.digest = v.model_digest WHERE v.behaviour || '@' || v.version = ?
"""

_PAIRS = """
SELECT p.id AS pair, f.split, p.session, p.weight,
  coalesce(json_extract(p.prompt, '$[#-1].content'), json_extract(p.prompt, '$')) AS direction, p.positive, p.negative,
  ep.source_ref AS positive_from, en.source_ref AS negative_from,
  CASE WHEN p.dropped_at IS NOT NULL THEN 'dropped' || coalesce(' by ' || p.changed_by, '')
    WHEN p.gone_at IS NOT NULL THEN 'no longer mined' ELSE 'in use' END AS now
FROM vector_pair f JOIN pair p ON p.id = f.pair_id
LEFT JOIN pair_episode pp ON pp.pair_id = p.id AND pp.side = 'positive' LEFT JOIN episode ep ON ep.id = pp.episode_id
LEFT JOIN pair_episode pn ON pn.pair_id = p.id AND pn.side = 'negative' LEFT JOIN episode en ON en.id = pn.episode_id
WHERE f.vector_id = ?
ORDER BY CASE f.split WHEN 'train' THEN 0 WHEN 'validation' THEN 1 ELSE 2 END, p.session, p.id
"""


def read_difference(reader: Reader, before: str, after: str) -> dict[str, Any]:
    """Both versions, the pairs that came and went, what they were made with, and how far the direction turned.

    Raises:
        UsageError: There is no such version, or they are of two behaviours.
        CorruptStoreError: A matrix is not what its digest says.
    """
    one, other = _version(reader, before), _version(reader, after)
    if one["behaviour"] != other["behaviour"]:
        raise UsageError(f"{before}, {after}: two behaviours; `reflexd vectors` lists the versions of each")
    had, has = ({row["pair"]: row for row in reader.rows(_PAIRS, (row["id"],))} for row in (one, other))
    return {
        "from": _told(one),
        "to": _told(other),
        "pairs": {split: _counts(had, has, split) for split in SPLITS},
        "came": [row for pair, row in has.items() if pair not in had],
        "went": [row for pair, row in had.items() if pair not in has],
        "made_with": _changes(_origin(one), _origin(other)),
        "direction": _direction(reader, one, other),
    }


def _version(reader: Reader, name: str) -> dict[str, Any]:
    found = reader.rows(_VERSION, (name,))
    if not found:
        known = ", ".join(str(row["vector"]) for row in reader.rows("SELECT vector FROM vectors"))
        raise UsageError(f"{name}: no such version; known are: {known or 'none yet'}")
    return found[0]


def _told(row: dict[str, Any]) -> dict[str, Any]:
    named = ("vector", "state", "reason", "layer", "dose", "effect")
    return {name: row[name] for name in named} | {
        "stale": row["stale_reason"],
        "superseded_by": row["superseded_by_vector"],
        "effect_interval": None if row["effect"] is None else [row["effect_low"], row["effect_high"]],
        "because": orjson.loads(row["lineage"]).get("because"),
    }


def _counts(had: dict[str, Any], has: dict[str, Any], split: str) -> dict[str, int]:
    before, after = ({pair for pair, row in rows.items() if row["split"] == split} for rows in (had, has))
    return {
        "from": len(before),
        "to": len(after),
        "came": len(after - before),
        "went": len(before - after),
        "same": len(before & after),
    }


def _origin(row: dict[str, Any]) -> dict[str, object]:
    """Everything but the evidence that makes a version's numbers what they are; None where it was not recorded."""
    lineage = orjson.loads(row["lineage"])
    recipe = {f"recipe {key}": value for key, value in orjson.loads(row["recipe"]).items()}
    libraries = {f"library {key}": value for key, value in lineage.get("libraries", {}).items()}
    told = {name: lineage.get(key) or None for name, key in (("threads", "threads"), ("device", "device"))}
    return {
        "model": f"{row['model']} {row['model_digest'][:12]}",
        "tokenizer and chat template": row["template_digest"][:12],
        **recipe,
        "code": lineage.get("code_version"),
        "python": lineage.get("python"),
        **libraries,
        **told,
    }


def _changes(before: dict[str, object], after: dict[str, object]) -> list[dict[str, object]]:
    names = list(dict.fromkeys([*before, *after]))
    rows = [{"what": name, "from": before.get(name), "to": after.get(name)} for name in names]
    return [row for row in rows if row["from"] != row["to"]]


def _direction(reader: Reader, one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Cosine of each layer; the chosen layer is the newer version's, or the older one's when that has none."""
    layer = other["layer"] if other["layer"] is not None else one["layer"]
    nothing = {"layer": layer, "cosine": None, "layers": []}
    if not one["blob_sha256"] or not other["blob_sha256"]:
        return nothing | {"why_not": "not extracted yet"}
    if one["root_digest"] != other["root_digest"]:
        return nothing | {"why_not": "made from two models"}
    from daemon.direction import cosines

    (width, data), (_, more) = (_matrix(reader, row["blob_sha256"]) for row in (one, other))
    found = cosines(data, more, width)
    chosen = found[layer] if layer is not None and layer < len(found) else None
    return {"layer": layer, "cosine": chosen, "layers": found, "why_not": None}


def _matrix(reader: Reader, sha256: str) -> tuple[int, bytes]:
    (row,) = reader.rows("SELECT dim, data FROM vector_blob WHERE sha256 = ?", (sha256,))
    return row["dim"], whole_blob(sha256, row["data"])
