"""From the store to what a page shows; one read-only connection, no daemon needed."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from daemon.errors import UsageError
from daemon.protocol import TrainReport, VerifyReport
from daemon.report.data import Evidence, Job, Overview, Recheck, VersionPage, VersionRow
from daemon.report.interference import has_table, read_interference
from daemon.report.lenient import read_leniently
from store.reader import Reader

_LATEST = 20

_VERSION = """
SELECT w.*, v.id, v.root_digest, v.layer AS at_layer, v.blob_sha256, v.lineage, v.pairs_digest, v.model_digest,
  v.template_digest, v.recipe, b.description, b.positive, b.negative, n.report,
  (SELECT p.behaviour || '@' || p.version FROM vector_version p WHERE p.id = v.parent_id) AS parent,
  (SELECT iif(s.enabled, 'on', 'off') || ' at ' || s.dose FROM serving s WHERE s.vector = w.vector) AS served
FROM vectors w JOIN vector_version v ON v.behaviour || '@' || v.version = w.vector
JOIN behaviour b ON b.name = v.behaviour LEFT JOIN verification n ON n.vector_id = v.id WHERE w.vector = ?
"""

_VERSIONS = """
SELECT vector, state, effect, effect_low, effect_high, layer, dose, pairs, since FROM vectors
WHERE behaviour = ? ORDER BY CAST(substr(vector, length(behaviour) + 2) AS INTEGER)
"""

_SIDES = """
SELECT f.split, count(*) AS pairs, count(DISTINCT p.session) AS sessions
FROM vector_pair f JOIN pair p ON p.id = f.pair_id WHERE f.vector_id = ? GROUP BY f.split
"""

_DAYS = """
SELECT DISTINCT e.ts / 86400000 AS day FROM vector_pair f JOIN pair_episode pe ON pe.pair_id = f.pair_id
JOIN episode e ON e.id = pe.episode_id WHERE f.vector_id = ? AND e.ts > 0 ORDER BY day
"""

_JOBS = """
SELECT q.job, q.state, q.attempt, q.since, q.error, j.result
FROM queue q JOIN training_job j ON j.id = q.job WHERE j.vector_id = ? ORDER BY q.job
"""

_RECHECKS = """
SELECT at / 1000 AS seconds, because, verdict, reason, effect, effect_low, effect_high, kl_p95
FROM recheck WHERE vector_id = ? ORDER BY id
"""

_BEHAVIOURS = """
SELECT b.*, v.effect_low, v.effect_high, v.stale FROM behaviours b LEFT JOIN vectors v ON v.vector = b.vector
"""

_FOR_YOU = """
SELECT 'job ' || job || ' waits: ' || vector || ' is stable and may be trained' AS what,
  'reflexd approve ' || job AS how
FROM queue WHERE state = 'awaiting_approval'
UNION ALL SELECT 'a pattern of corrections was found: ' || name, 'reflexd behaviours adopt ' || name
FROM proposed_behaviour WHERE adopted_at IS NULL AND dismissed_at IS NULL
"""


def read_version(reader: Reader, name: str) -> VersionPage:
    """Everything that is known of a version, named as in `listening@3`.

    Raises:
        UsageError: There is no such version.
        CorruptStoreError: A matrix is not what its digest says.
    """
    row = _the_version(reader, name)
    proof, missing = _proof(row["report"])
    return VersionPage(
        **{key: row[key] for key in ("vector", "behaviour", "description", "positive", "negative", "state", "since")},
        **{key: row[key] for key in ("reason", "stale", "model", "served")},
        proof=proof,
        missing=missing,
        versions=tuple(VersionRow.model_validate(each) for each in reader.rows(_VERSIONS, (row["behaviour"],))),
        interference=read_interference(reader, name, row["root_digest"], row["at_layer"]),
        evidence=_evidence(reader, row["id"]),
        lineage=_lineage(row),
        jobs=tuple(_job(each) for each in reader.rows(_JOBS, (row["id"],))),
        rechecks=_rechecks(reader, row["id"]),
    )


def read_overview(reader: Reader) -> Overview:
    """Where everything stands."""
    current = reader.rows("SELECT name FROM model WHERE current = 1")
    latest = reader.rows("SELECT * FROM history ORDER BY seq DESC LIMIT ?", (_LATEST,))
    return Overview(
        model=current[0]["name"] if current else None,
        behaviours=tuple(reader.rows(_BEHAVIOURS)),
        queue=tuple(reader.rows("SELECT * FROM queue")),
        waiting=tuple(reader.rows("SELECT * FROM waiting")),
        for_you=tuple(reader.rows(_FOR_YOU)),
        history=tuple(latest),
        health=tuple(reader.rows("SELECT * FROM health")),
    )


def _the_version(reader: Reader, name: str) -> dict[str, Any]:
    found = reader.rows(_VERSION, (name,))
    if not found:
        known = ", ".join(str(row["vector"]) for row in reader.rows("SELECT vector FROM vectors"))
        raise UsageError(f"{name}: no such version; known are: {known or 'none yet'}")
    return found[0]


def _proof(report: str | None) -> tuple[VerifyReport | None, tuple[str, ...]]:
    return read_leniently(VerifyReport, orjson.loads(report)) if report else (None, ())


def _evidence(reader: Reader, vector_id: int) -> Evidence:
    sides = {row["split"]: row for row in reader.rows(_SIDES, (vector_id,))}
    days = [datetime.fromtimestamp(row["day"] * 86400, UTC).date() for row in reader.rows(_DAYS, (vector_id,))]
    names = [name for name in ("train", "validation", "test") if name in sides]
    return Evidence(
        pairs={name: sides[name]["pairs"] for name in names},
        sessions={name: sides[name]["sessions"] for name in names},
        days=tuple(day.isoformat() for day in days),
    )


def _lineage(row: Mapping[str, Any]) -> dict[str, Any]:
    """What it was made of and with; a layer's statistics are in the proof, and left out here."""
    recorded = orjson.loads(row["lineage"])
    told = ("because", "seconds", "device", "threads", "code_version", "python", "libraries")
    digests = {name: row[name] for name in ("pairs_digest", "model_digest", "template_digest", "blob_sha256")}
    return {
        "parent": row["parent"],
        **{name: recorded[name] for name in told if recorded.get(name)},
        "recipe": orjson.loads(row["recipe"]),
        **digests,
    }


def _rechecks(reader: Reader, vector_id: int) -> tuple[Recheck, ...]:
    if not has_table(reader, "recheck"):
        return ()
    rows = reader.rows(_RECHECKS, (vector_id,))
    times = [datetime.fromtimestamp(row.pop("seconds"), UTC) for row in rows]
    return tuple(Recheck(at=f"{at:%Y-%m-%d %H:%M}", **row) for at, row in zip(times, rows, strict=True))


def _job(row: dict[str, Any]) -> Job:
    body = row.pop("result")
    result, missing = read_leniently(TrainReport, orjson.loads(body)) if body else (None, ())
    return Job(**row, result=result, missing=missing)
