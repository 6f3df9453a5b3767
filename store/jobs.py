"""The training queue: leased jobs with a fencing token.

    awaiting_approval ─▶ queued ─▶ training ─▶ trained      its vector retires in the same statement
                           ▲          ├─▶ queued            rescued, released or to be tried again
                           │          ├─▶ failed(error)     its vector is verified again
                           └── retry  └─▶ cancelled         its vector is verified again

Every write of a worker carries its token, so one that was given up for dead can finish nothing. An attempt is charged
when it is claimed, and given back when the worker died after durable progress, or was told to stop.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from store.errors import FencedError, IllegalMoveError, NotFoundError
from store.models import add_model, set_current
from store.rows import one, run, select, shaped
from store.vectors import promote

_LEASED = "id = :job AND state = 'training' AND lease_token = :token"
_FREE = "lease_owner = NULL, lease_expires_at = NULL, state_since = :now"


@dataclass(frozen=True)
class JobRow:
    """One training job; `vector` is its vector's name, `result` and `error` tell how it ended."""

    id: int
    vector_id: int
    vector: str
    state: str
    attempt: int
    max_attempts: int
    available_at: int
    lease_owner: str | None
    lease_token: int
    lease_expires_at: int | None
    milestone: int
    milestone_at_claim: int
    weights_digest: str | None
    result: str | None
    error: str | None
    state_since: int
    finalized_at: int | None


@dataclass(frozen=True)
class Claim:
    """The right to work on a job, while `token` is the job's newest."""

    job_id: int
    token: int
    vector_id: int
    attempt: int


_JOBS = (
    "SELECT j.*, v.behaviour || '@' || v.version AS vector "
    "FROM training_job j JOIN vector_version v ON v.id = j.vector_id"
)


def list_jobs(conn: Connection) -> list[JobRow]:
    """Every job, oldest first."""
    return [shaped(JobRow, row) for row in select(conn, f"{_JOBS} ORDER BY j.id")]


def training_jobs(conn: Connection) -> list[JobRow]:
    """Jobs that somebody holds a lease on."""
    return [job for job in list_jobs(conn) if job.state == "training"]


def open_jobs(conn: Connection, vector_id: int) -> list[JobRow]:
    """Jobs of a version that have not ended: at most one."""
    return [job for job in list_jobs(conn) if job.vector_id == vector_id and job.finalized_at is None]


def get_job(conn: Connection, job_id: int) -> JobRow:
    """The job of that number.

    Raises:
        NotFoundError: There is none.
    """
    row = one(conn, f"{_JOBS} WHERE j.id = :id", id=job_id)
    if row is None:
        raise NotFoundError(f"job {job_id}: no such job; `reflexd queue` lists them")
    return shaped(JobRow, row)


def claim(conn: Connection, owner: str, lease_ms: int, now: int) -> Claim | None:
    """Take the first job that is due, for `lease_ms`; None when there is none."""
    row = conn.exec_driver_sql(
        "UPDATE training_job SET state = 'training', attempt = attempt + 1, lease_token = lease_token + 1, "
        "lease_owner = ?, lease_expires_at = ?, state_since = ?, milestone_at_claim = milestone, error = NULL "
        "WHERE id = (SELECT id FROM training_job WHERE state = 'queued' AND available_at <= ? "
        "ORDER BY available_at, id LIMIT 1) RETURNING id, lease_token, vector_id, attempt",
        (owner, now + lease_ms, now, now),
    ).first()
    return Claim(*row) if row else None


def heartbeat(conn: Connection, claim: Claim, lease_ms: int, now: int) -> bool:
    """Prolong the lease; False when somebody else holds the job now."""
    return _write(conn, claim, "lease_expires_at = :until", until=now + lease_ms)


def note_milestone(conn: Connection, claim: Claim, milestone: int) -> bool:
    """Durable progress, over all attempts: it only grows. False when somebody else holds the job now."""
    return _write(conn, claim, "milestone = max(milestone, :milestone)", milestone=milestone)


def _write(conn: Connection, claim: Claim, changes: str, **values: object) -> bool:
    sql = f"UPDATE training_job SET {changes} WHERE {_LEASED}"
    return run(conn, sql, job=claim.job_id, token=claim.token, **values) == 1


def _write_or_fenced(conn: Connection, claim: Claim, changes: str, **values: object) -> None:
    if not _write(conn, claim, changes, **values):
        raise FencedError(
            f"job {claim.job_id}: token {claim.token} is stale, somebody else holds it; nothing was recorded"
        )


def finish(conn: Connection, claim: Claim, weights: dict[str, Any], result: str, now: int) -> None:
    """Record the training and its weights, make these current, retire the vector: all in the caller's transaction.

    Raises:
        FencedError: The token is stale; roll back.
    """
    add_model(conn, **weights, job_id=claim.job_id, now=now)
    _write_or_fenced(
        conn,
        claim,
        f"state = 'trained', weights_digest = :weights, result = :result, finalized_at = :now, error = NULL, {_FREE}",
        weights=weights["digest"],
        result=result,
        now=now,
    )
    set_current(conn, weights["digest"])


def fail(
    conn: Connection, claim: Claim, reason: str, now: int, *, retry_in_ms: int | None, result: str | None = None
) -> str:
    """End an attempt that failed: queued again while attempts remain and `retry_in_ms` is given, else failed.

    The job's new state is returned; `result` (JSON) is what a training that missed its gates measured.

    Raises:
        FencedError: The token is stale.
    """
    job = get_job(conn, claim.job_id)
    if retry_in_ms is not None and job.attempt < job.max_attempts:
        changes = f"state = 'queued', available_at = :due, error = :reason, {_FREE}"
        _write_or_fenced(conn, claim, changes, due=now + retry_in_ms, reason=reason, now=now)
        _keep_attempt(conn, job, reason, now, charged=True)
        return "queued"
    changes = f"state = 'failed', finalized_at = :now, error = :reason, result = :result, {_FREE}"
    _write_or_fenced(conn, claim, changes, reason=reason, result=result, now=now)
    _keep_attempt(conn, job, reason, now, charged=True)
    return "failed"


def release(conn: Connection, claim: Claim, reason: str, now: int) -> None:
    """Give the job back on an orderly stop; the attempt is not charged."""
    job = get_job(conn, claim.job_id)
    changes = f"state = 'queued', attempt = attempt - 1, error = :reason, {_FREE}"
    if _write(conn, claim, changes, reason=reason, now=now):  # a fenced worker has nothing to give back
        _keep_attempt(conn, job, reason, now, charged=False)


def rescue(conn: Connection, job_id: int, reason: str, now: int) -> str:
    """Put back a job whose worker is dead; the caller knows that it is. The new state.

    The attempt is given back when there was durable progress since the claim: a training that moves forward is not
    poison, and progress is finite. Without progress it stays charged, and a job out of attempts fails.
    """
    job = get_job(conn, job_id)
    if job.state != "training":
        return job.state
    claim = Claim(job.id, job.lease_token, job.vector_id, job.attempt)
    if job.milestone > job.milestone_at_claim:
        release(conn, claim, reason, now)
        return "queued"
    return fail(conn, claim, reason, now, retry_in_ms=0)


def _keep_attempt(conn: Connection, job: JobRow, reason: str, now: int, *, charged: bool) -> None:
    run(
        conn,
        "INSERT INTO training_attempt (job_id, lease_token, at, milestone, charged, reason) "
        "VALUES (:job, :token, :now, :milestone, :charged, :reason)",
        job=job.id,
        token=job.lease_token,
        now=now,
        milestone=job.milestone,
        charged=int(charged),
        reason=reason,
    )


def approve(conn: Connection, job_id: int, now: int, actor: str) -> None:
    """Let a job train.

    Raises:
        IllegalMoveError: It does not wait for approval.
    """
    job = get_job(conn, job_id)
    if job.state != "awaiting_approval":
        raise IllegalMoveError(
            f"job {job_id}: is {job.state}, not waiting for approval; `reflexd queue` shows what waits"
        )
    sql = "UPDATE training_job SET state = 'queued', decided_by = :actor, state_since = :now WHERE id = :id"
    run(conn, sql, now=now, actor=actor, id=job_id)


def cancel(conn: Connection, job_id: int, now: int, actor: str, reason: str) -> None:
    """Call a job off; its vector is verified again. A worker that holds it finds itself fenced.

    Raises:
        IllegalMoveError: It has ended already.
    """
    job = get_job(conn, job_id)
    if job.finalized_at is not None:
        raise IllegalMoveError(f"job {job_id}: has ended already ({job.state})")
    changes = f"state = 'cancelled', finalized_at = :now, decided_by = :actor, error = :reason, {_FREE}"
    run(conn, f"UPDATE training_job SET {changes} WHERE id = :id", now=now, actor=actor, reason=reason, id=job_id)


def retry(conn: Connection, job_id: int, now: int, actor: str) -> int:
    """A new job, queued, for the vector of a failed or cancelled one. Its number.

    Raises:
        IllegalMoveError: The job has not failed.
    """
    job = get_job(conn, job_id)
    if job.state not in ("failed", "cancelled"):
        raise IllegalMoveError(f"job {job_id}: is {job.state}; only a failed or cancelled one is tried again")
    return promote(conn, job.vector_id, "queued", job.max_attempts, now, actor)
