"""Vector versions and their moves.

    candidate ─▶ extracted ─▶ verified ─▶ promoted ─▶ retired
        └──────────┴─▶ rejected(reason)       └─▶ verified, when its job failed or was cancelled
    candidate, extracted, verified ─▶ superseded(by) | withdrawn(by a person)

`promoted` and `retired` are moves of the training job (store/jobs.py): triggers carry them over. The database refuses
every other move, whoever writes.
"""

import hashlib
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, text

from store.errors import IllegalMoveError, NotFoundError, StoreError
from store.evidence import PAIR_COLUMNS, PairRow, pair_row
from store.reader import whole_blob
from store.rows import one, run, run_many, select, shaped


@dataclass(frozen=True)
class VectorRow:
    """One extraction for (behaviour, model); `recipe` and `lineage` are JSON."""

    id: int
    behaviour: str
    version: int
    model_digest: str
    root_digest: str
    template_digest: str
    pairs_digest: str
    recipe: str
    state: str
    blob_sha256: str | None
    parent_id: int | None
    lineage: str
    layer: int | None
    dose: float | None
    coefficient: float | None
    effect: float | None
    effect_low: float | None
    effect_high: float | None
    reason: str | None
    superseded_by: int | None
    stale_reason: str | None
    state_since: int
    created_at: int

    @property
    def name(self) -> str:
        """As people write it: `listening@3`."""
        return f"{self.behaviour}@{self.version}"


def create_candidate(
    conn: Connection,
    behaviour: str,
    model_digest: str,
    root_digest: str,
    pairs_digest: str,
    recipe: str,
    lineage: str,
    pair_splits: Mapping[str, str],
    now: int,
) -> VectorRow:
    """The next version of a behaviour, with its evidence. Its parent is the version before for the same root."""
    run(
        conn,
        "INSERT INTO vector_version (behaviour, version, model_digest, root_digest, template_digest, pairs_digest, "
        "recipe, state, parent_id, lineage, state_since, created_at) "
        "SELECT :behaviour, coalesce(max(version), 0) + 1, :model, :root, "
        "coalesce((SELECT template_digest FROM model WHERE digest = :model), ''), :pairs, :recipe, 'candidate', "
        "coalesce(max(iif(root_digest = :root, id, NULL)), max(id)), :lineage, :now, :now "
        "FROM vector_version WHERE behaviour = :behaviour",
        behaviour=behaviour,
        model=model_digest,
        root=root_digest,
        pairs=pairs_digest,
        recipe=recipe,
        lineage=lineage,
        now=now,
    )
    vector = latest(conn, behaviour)
    assert vector is not None
    rows = [{"vector": vector.id, "pair": pair, "split": split} for pair, split in sorted(pair_splits.items())]
    run_many(conn, "INSERT INTO vector_pair (vector_id, pair_id, split) VALUES (:vector, :pair, :split)", rows)
    return vector


def mark_extracted(
    conn: Connection,
    vector_id: int,
    sha256: str,
    n_layers: int,
    dim: int,
    data: bytes,
    now: int,
    lineage: str | None = None,
) -> None:
    """Store the matrix (n_layers, dim), float32 little-endian, and move candidate → extracted.

    Raises:
        StoreError: The bytes are not what `sha256` or the shape says, or not finite.
    """
    if len(data) != 4 * n_layers * dim:
        raise StoreError(f"vector {sha256[:12]}: {len(data)} bytes for {n_layers} × {dim} float32; extract it again")
    if hashlib.sha256(data).hexdigest() != sha256:
        raise StoreError(f"vector {sha256[:12]}: its bytes hash to something else; extract it again")
    if not all(map(math.isfinite, struct.unpack(f"<{len(data) // 4}f", data))):
        raise StoreError(f"vector {sha256[:12]}: holds NaN or infinity; extract it again")
    run(
        conn,
        "INSERT INTO vector_blob (sha256, dtype, n_layers, dim, data) "
        "VALUES (:sha, 'float32-le', :layers, :dim, :data) ON CONFLICT DO NOTHING",
        sha=sha256,
        layers=n_layers,
        dim=dim,
        data=data,
    )
    _move(
        conn,
        vector_id,
        "extracted",
        now,
        "blob_sha256 = :sha, lineage = coalesce(:lineage, lineage)",
        sha=sha256,
        lineage=lineage,
    )


def mark_verified(
    conn: Connection,
    vector_id: int,
    layer: int,
    dose: float,
    coefficient: float,
    effect: float,
    interval: tuple[float, float],
    report: str,
    now: int,
) -> None:
    """Keep the proof and move extracted → verified."""
    _keep_proof(conn, vector_id, "verified", report, now)
    _move(
        conn,
        vector_id,
        "verified",
        now,
        "layer = :layer, dose = :dose, coefficient = :coefficient, "
        "effect = :effect, effect_low = :low, effect_high = :high",
        layer=layer,
        dose=dose,
        coefficient=coefficient,
        effect=effect,
        low=interval[0],
        high=interval[1],
    )


def reject(conn: Connection, vector_id: int, reason: str, now: int, report: str | None = None) -> None:
    """Move to rejected, with the reason and, if it was measured, the refusal."""
    if report is not None:
        _keep_proof(conn, vector_id, "refused", report, now)
    _move(conn, vector_id, "rejected", now, "reason = :reason", reason=reason)


def _keep_proof(conn: Connection, vector_id: int, verdict: str, report: str, now: int) -> None:
    sql = "INSERT INTO verification (vector_id, at, verdict, report) VALUES (:id, :now, :verdict, :report)"
    run(conn, sql, id=vector_id, now=now, verdict=verdict, report=report)


def promote(
    conn: Connection, vector_id: int, job_state: str, max_attempts: int, now: int, actor: str | None = None
) -> int:
    """Give a verified vector its training job, which promotes it. The job's number."""
    sql = (
        "INSERT INTO training_job (vector_id, state, max_attempts, available_at, decided_by, created_at, state_since) "
        "VALUES (:vector, :state, :attempts, :now, :actor, :now, :now)"
    )
    run(conn, sql, vector=vector_id, state=job_state, attempts=max_attempts, actor=actor, now=now)
    row = one(conn, "SELECT max(id) AS id FROM training_job WHERE vector_id = :vector", vector=vector_id)
    assert row is not None
    return int(row["id"])


def withdraw(conn: Connection, vector_id: int, reason: str, now: int, actor: str | None = None) -> None:
    """Take a version out, by a person. Its open training job, if it has one, is cancelled first."""
    open_job = (
        "UPDATE training_job SET state = 'cancelled', error = :reason, decided_by = :actor, finalized_at = :now, "
        "state_since = :now, lease_owner = NULL, lease_expires_at = NULL "
        "WHERE vector_id = :id AND state IN ('awaiting_approval', 'queued', 'training')"
    )
    run(conn, open_job, reason=f"withdrawn: {reason}", actor=actor, now=now, id=vector_id)
    _move(conn, vector_id, "withdrawn", now, "reason = :reason", reason=reason)


def supersede(conn: Connection, vector_id: int, by_id: int, now: int) -> None:
    """A newer version takes its place."""
    _move(conn, vector_id, "superseded", now, "superseded_by = :by", by=by_id)


def _move(conn: Connection, vector_id: int, state: str, now: int, changes: str, **values: object) -> None:
    sql = f"UPDATE vector_version SET state = :state, state_since = :now, {changes} WHERE id = :id AND state <> :state"
    if not run(conn, sql, state=state, now=now, id=vector_id, **values):
        raise IllegalMoveError(f"vector {vector_id}: is {state} already, or not there")


def by_id(conn: Connection, vector_id: int) -> VectorRow:
    """The version with that id.

    Raises:
        NotFoundError: There is none.
    """
    row = one(conn, "SELECT * FROM vector_version WHERE id = :id", id=vector_id)
    if row is None:
        raise NotFoundError(f"vector {vector_id}: no such version")
    return shaped(VectorRow, row)


def by_name(conn: Connection, name: str) -> VectorRow:
    """The version named as in `listening@3`.

    Raises:
        NotFoundError: There is none; the message lists those there are.
    """
    every = [shaped(VectorRow, row) for row in select(conn, "SELECT * FROM vector_version ORDER BY behaviour, version")]
    for vector in every:
        if vector.name == name:
            return vector
    known = ", ".join(vector.name for vector in every) or "none yet"
    raise NotFoundError(f"{name}: no such version; known are: {known}")


def latest(conn: Connection, behaviour: str) -> VectorRow | None:
    """The newest version of a behaviour."""
    sql = "SELECT * FROM vector_version WHERE behaviour = :behaviour ORDER BY version DESC LIMIT 1"
    row = one(conn, sql, behaviour=behaviour)
    return shaped(VectorRow, row) if row else None


def in_state(conn: Connection, *states: str) -> list[VectorRow]:
    """Versions in any of `states`, oldest first."""
    sql = text("SELECT * FROM vector_version WHERE state IN :states ORDER BY id")
    rows = conn.execute(sql.bindparams(bindparam("states", expanding=True)), {"states": list(states)}).mappings()
    return [shaped(VectorRow, dict(row)) for row in rows]


def last_verified(conn: Connection, behaviour: str, root_digest: str, n: int) -> list[VectorRow]:
    """The last `n` versions of a behaviour that were proved and are not stale, newest first, superseded ones too."""
    sql = (
        "SELECT * FROM vector_version WHERE behaviour = :behaviour AND root_digest = :root AND effect IS NOT NULL "
        "AND state <> 'withdrawn' AND stale_at IS NULL ORDER BY version DESC LIMIT :n"
    )
    return [shaped(VectorRow, row) for row in select(conn, sql, behaviour=behaviour, root=root_digest, n=n)]


def load_blob(conn: Connection, sha256: str) -> tuple[int, int, bytes]:
    """(n_layers, dim, bytes) of a matrix, hashed again.

    Raises:
        NotFoundError: It is not there.
        CorruptStoreError: Its bytes changed.
    """
    row = one(conn, "SELECT n_layers, dim, data FROM vector_blob WHERE sha256 = :sha", sha=sha256)
    if row is None:
        raise NotFoundError(f"vector blob {sha256[:12]}: not in the store")
    return row["n_layers"], row["dim"], whole_blob(sha256, row["data"])


def verification(conn: Connection, vector_id: int) -> str | None:
    """The report (JSON) of a version's one verification."""
    row = one(conn, "SELECT report FROM verification WHERE vector_id = :id", id=vector_id)
    return row["report"] if row else None


def vector_pairs(conn: Connection, vector_id: int) -> list[PairRow]:
    """A version's evidence, each pair on the side where it was used, by id."""
    sql = (
        f"SELECT {PAIR_COLUMNS}, v.split FROM vector_pair v JOIN pair p ON p.id = v.pair_id "
        "WHERE v.vector_id = :id ORDER BY p.id"
    )
    return [pair_row(row) for row in select(conn, sql, id=vector_id)]


def retired_into(conn: Connection, model_digest: str) -> set[int]:
    """The vectors that live in these weights: those of the jobs on the line from the root to them."""
    sql = (
        "WITH RECURSIVE line (parent_digest, job_id) AS ("
        "SELECT parent_digest, job_id FROM model WHERE digest = :digest "
        "UNION ALL SELECT m.parent_digest, m.job_id FROM model m JOIN line l ON m.digest = l.parent_digest) "
        "SELECT j.vector_id FROM training_job j JOIN line l ON l.job_id = j.id"
    )
    return {row["vector_id"] for row in select(conn, sql, digest=model_digest)}
