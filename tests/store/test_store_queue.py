"""The training queue: leases, fencing, attempts, and the promise that the README prints, line by line."""

import pytest
from lifecycle import BASE, NOW, job_state, queued, rolled_back, state_of, verified, weights

from store import jobs, models, vectors
from store.engine import Store
from store.errors import FencedError, IllegalMoveError, NotFoundError
from store.reader import open_reader

LEASE = 1000


@pytest.fixture
def write(seeded):
    """Begin a transaction in a seeded store."""
    return seeded.write


def charges(conn, job):
    rows = conn.exec_driver_sql("SELECT charged, reason FROM training_attempt WHERE job_id = ? ORDER BY id", (job,))
    return [tuple(row) for row in rows]


# ---------------------------------------------------------------- claims


def test_a_job_that_waits_for_approval_is_not_claimed(write):
    with write() as conn:
        vector = verified(conn)
        job = vectors.promote(conn, vector, "awaiting_approval", 3, NOW)
        assert jobs.claim(conn, "worker", LEASE, NOW) is None
        jobs.approve(conn, job, NOW, "me")
        assert jobs.claim(conn, "worker", LEASE, NOW) == jobs.Claim(job, 1, vector, 1)


def test_a_claim_takes_the_oldest_due_job_once(write):
    with write() as conn:
        _, first = queued(conn, "e1")
        vector = verified(conn, "e2", NOW - 500)
        second = vectors.promote(conn, vector, "queued", 3, NOW - 500)
        assert jobs.claim(conn, "a", LEASE, NOW).job_id == second
        assert jobs.claim(conn, "b", LEASE, NOW).job_id == first
        assert jobs.claim(conn, "c", LEASE, NOW) is None
        assert [job.lease_owner for job in jobs.training_jobs(conn)] == ["b", "a"]


def test_a_job_is_not_claimed_before_it_is_due(write):
    with write() as conn:
        queued(conn)
        claim = jobs.claim(conn, "worker", LEASE, NOW)
        assert jobs.fail(conn, claim, "out of memory", NOW, retry_in_ms=60_000) == "queued"
        assert jobs.claim(conn, "worker", LEASE, NOW + 59_999) is None
        assert jobs.claim(conn, "worker", LEASE, NOW + 60_000).token == 2


def test_two_workers_never_hold_one_job(seeded):
    """From two connections; the second sees what the first committed."""
    with seeded.write() as conn:
        queued(conn)
    with Store.open(seeded.path, seeded.clock) as other:
        with seeded.write() as conn:
            mine = jobs.claim(conn, "a", LEASE, NOW)
        with other.write() as conn:
            assert jobs.claim(conn, "b", LEASE, NOW) is None
    assert mine is not None


def test_a_heartbeat_prolongs_the_lease(write):
    with write() as conn:
        _, job = queued(conn)
        claim = jobs.claim(conn, "worker", LEASE, NOW)
        assert jobs.heartbeat(conn, claim, LEASE, NOW + 700)
        assert jobs.get_job(conn, job).lease_expires_at == NOW + 1700


# ---------------------------------------------------------------- fencing


def zombie(conn):
    """A claims, its lease lapses, it is rescued, B claims; A wakes up and finishes. The two claims."""
    queued(conn)
    a = jobs.claim(conn, "a", LEASE, NOW)
    jobs.rescue(conn, a.job_id, "its lease ran out", NOW + 2 * LEASE)
    b = jobs.claim(conn, "b", LEASE, NOW + 2 * LEASE)
    assert (a.token, b.token) == (1, 2)
    return a, b


def test_a_zombie_finishes_nothing(seeded):
    with seeded.write() as conn:
        a, b = zombie(conn)
    with pytest.raises(FencedError, match="token 1 is stale"), seeded.write() as conn:
        jobs.finish(conn, a, weights("c"), "{}", NOW)
    with seeded.write() as conn:
        assert job_state(conn, b.job_id) == "training"
        assert models.current_model(conn).digest == BASE
        assert [model.digest for model in models.list_models(conn)] == [BASE]
        assert not jobs.heartbeat(conn, a, LEASE, NOW)
        assert not jobs.note_milestone(conn, a, 99)
        with pytest.raises(FencedError):
            jobs.fail(conn, a, "whatever", NOW, retry_in_ms=0)
        jobs.release(conn, a, "shutdown", NOW)  # has nothing to give back, and says nothing
        assert job_state(conn, b.job_id) == "training"
        assert charges(conn, b.job_id) == [(1, "its lease ran out")]
        jobs.finish(conn, b, weights("b"), "{}", NOW)
        assert jobs.get_job(conn, b.job_id).weights_digest == "b" * 64


def test_without_its_token_a_zombie_would_finish(seeded, monkeypatch):
    """The mutant: a worker that checks only the state records its result under another's lease."""
    monkeypatch.setattr(jobs, "_LEASED", "id = :job AND state = 'training' AND :token > 0")
    with seeded.write() as conn:
        a, b = zombie(conn)
        jobs.finish(conn, a, weights("c"), "{}", NOW)
        assert jobs.get_job(conn, b.job_id).weights_digest == "c" * 64


def test_a_rescued_worker_finishes_nothing_while_nobody_has_claimed_again(write):
    with write() as conn:
        queued(conn)
        a = jobs.claim(conn, "a", LEASE, NOW)
        assert jobs.rescue(conn, a.job_id, "dead", NOW) == "queued"
    with pytest.raises(FencedError), write() as conn:
        jobs.finish(conn, a, weights(), "{}", NOW)


def test_a_cancelled_worker_finds_itself_fenced(seeded):
    with seeded.write() as conn:
        vector, job = queued(conn)
        claim = jobs.claim(conn, "a", LEASE, NOW)
        jobs.cancel(conn, job, NOW, "me", "changed my mind")
        assert state_of(conn, vector) == "verified"
        assert not jobs.heartbeat(conn, claim, LEASE, NOW)
    with pytest.raises(FencedError), seeded.write() as conn:
        jobs.finish(conn, claim, weights(), "{}", NOW)


def test_a_rescue_of_what_is_not_training_changes_nothing(write):
    with write() as conn:
        _, job = queued(conn)
        assert jobs.rescue(conn, job, "dead", NOW) == "queued"
        assert charges(conn, job) == []


# ---------------------------------------------------------------- attempts


def test_an_attempt_is_charged_when_it_is_claimed(write):
    with write() as conn:
        _, job = queued(conn)
        jobs.claim(conn, "worker", LEASE, NOW)
        assert jobs.get_job(conn, job).attempt == 1


def test_a_shutdown_gives_the_attempt_back(write):
    with write() as conn:
        vector, job = queued(conn, max_attempts=1)
        jobs.release(conn, jobs.claim(conn, "worker", LEASE, NOW), "shutdown", NOW)
        found = jobs.get_job(conn, job)
        assert (found.state, found.attempt, found.lease_token, found.error) == ("queued", 0, 1, "shutdown")
        assert charges(conn, job) == [(0, "shutdown")]
        assert state_of(conn, vector) == "promoted"


def test_a_worker_that_dies_again_and_again_runs_out_of_attempts(write):
    with write() as conn:
        vector, job = queued(conn, max_attempts=2)
        jobs.claim(conn, "worker", LEASE, NOW)
        assert jobs.rescue(conn, job, "killed", NOW) == "queued"
        jobs.claim(conn, "worker", LEASE, NOW)
        assert jobs.rescue(conn, job, "killed again", NOW) == "failed"
        assert state_of(conn, vector) == "verified"
        assert charges(conn, job) == [(1, "killed"), (1, "killed again")]


def test_a_training_that_moves_forward_is_no_poison(write):
    """Each life ends by a kill, but each left a checkpoint: it never runs out of attempts."""
    with write() as conn:
        _, job = queued(conn, max_attempts=1)
        for milestone in range(1, 6):
            claim = jobs.claim(conn, "worker", LEASE, NOW)
            jobs.note_milestone(conn, claim, milestone)
            assert jobs.rescue(conn, job, "killed", NOW) == "queued"
        claim = jobs.claim(conn, "worker", LEASE, NOW)
        jobs.note_milestone(conn, claim, 5)  # the same checkpoint once more is no progress
        assert jobs.rescue(conn, job, "killed", NOW) == "failed"


def test_a_milestone_never_falls(write):
    with write() as conn:
        _, job = queued(conn)
        claim = jobs.claim(conn, "worker", LEASE, NOW)
        assert jobs.note_milestone(conn, claim, 8)
        assert jobs.note_milestone(conn, claim, 4)
        assert jobs.get_job(conn, job).milestone == 8


def test_a_fault_that_will_not_pass_is_not_tried_again(write):
    with write() as conn:
        vector, job = queued(conn)
        claim = jobs.claim(conn, "worker", LEASE, NOW)
        assert jobs.fail(conn, claim, "gate: too weak", NOW, retry_in_ms=None, result='{"gates":[]}') == "failed"
        found = jobs.get_job(conn, job)
        assert (found.error, found.result, found.finalized_at) == ("gate: too weak", '{"gates":[]}', NOW)
        assert state_of(conn, vector) == "verified"


# ---------------------------------------------------------------- people


def test_a_retry_is_a_new_job(write):
    with write() as conn:
        vector, job = queued(conn)
        jobs.cancel(conn, job, NOW, "me", "not now")
        again = jobs.retry(conn, job, NOW, "me")
        assert (job_state(conn, job), job_state(conn, again), state_of(conn, vector)) == (
            "cancelled",
            "queued",
            "promoted",
        )
        with pytest.raises(IllegalMoveError, match="only a failed or cancelled one"):
            jobs.retry(conn, again, NOW, "me")


@pytest.mark.parametrize("decision", ["approve", "cancel"])
def test_a_decision_that_is_too_late_says_so(write, decision):
    with write() as conn:
        queued(conn)
        claim = jobs.claim(conn, "worker", LEASE, NOW)
        jobs.finish(conn, claim, weights(), "{}", NOW)
        words = () if decision == "approve" else ("why",)
        with pytest.raises(IllegalMoveError, match=r"job 1: .*trained"):
            getattr(jobs, decision)(conn, 1, NOW, "me", *words)


def test_an_unknown_job_is_named(write):
    with pytest.raises(NotFoundError, match="job 7: no such job"), write() as conn:
        jobs.approve(conn, 7, NOW, "me")


def test_decisions_name_who_made_them(seeded):
    with seeded.write() as conn:
        vector = verified(conn)
        job = vectors.promote(conn, vector, "awaiting_approval", 3, NOW)
        jobs.approve(conn, job, NOW, "ann")
        jobs.cancel(conn, job, NOW, "bob", "too soon")
        jobs.retry(conn, job, NOW, "cy")
    with open_reader(seeded.path) as reader:
        told = reader.rows("SELECT now, actor FROM history WHERE what LIKE 'job%'")
    assert [tuple(row.values()) for row in told] == [
        ("awaiting_approval", None),
        ("queued", "ann"),
        ("cancelled", "bob"),
        ("queued", "cy"),
    ]


# ---------------------------------------------------------------- the promise


def test_promise_1_a_vector_reported_promoted_is_in_the_queue(seeded):
    """One transaction: whoever looks sees both or neither."""
    with rolled_back(seeded) as conn:
        queued(conn)
    with seeded.write() as conn:
        assert vectors.in_state(conn, "promoted") == []
        assert jobs.list_jobs(conn) == []
        vector, job = queued(conn)
    with Store.open(seeded.path, seeded.clock) as later, later.read() as conn:
        assert (state_of(conn, vector), job_state(conn, job)) == ("promoted", "queued")


def test_promise_2_recorded_as_trained_exactly_once(seeded):
    with seeded.write() as conn:
        _, job = queued(conn)
        claim = jobs.claim(conn, "worker", LEASE, NOW)
        jobs.finish(conn, claim, weights(), "{}", NOW)
    with pytest.raises(FencedError), seeded.write() as conn:
        jobs.finish(conn, claim, weights("c"), "{}", NOW)
    with pytest.raises(IllegalMoveError, match="its training job already"), seeded.write() as conn:
        vectors.promote(conn, claim.vector_id, "queued", 3, NOW)
    with seeded.read() as conn:
        told = conn.exec_driver_sql("SELECT count(*) FROM event WHERE subject = 'job' AND now = 'trained'").scalar()
        assert told == 1
        assert job_state(conn, job) == "trained"


def test_promise_3_retired_if_and_only_if_the_training_is_recorded(seeded):
    with seeded.write() as conn:
        vector, _ = queued(conn)
        claim = jobs.claim(conn, "worker", LEASE, NOW)
    with rolled_back(seeded) as conn:
        jobs.finish(conn, claim, weights(), "{}", NOW)
        assert state_of(conn, vector) == "retired"  # within the transaction already
    with seeded.write() as conn:
        assert (state_of(conn, vector), job_state(conn, claim.job_id)) == ("promoted", "training")
        assert vectors.retired_into(conn, "b" * 64) == set()
        jobs.finish(conn, claim, weights(), '{"rows":[]}', NOW)
        assert (state_of(conn, vector), job_state(conn, claim.job_id)) == ("retired", "trained")
        assert vectors.retired_into(conn, "b" * 64) == {vector}
        assert vectors.retired_into(conn, BASE) == set()
        made = models.current_model(conn)
        assert (made.root_digest, made.parent_digest, made.job_id) == (BASE, BASE, claim.job_id)


def test_promise_4_retried_at_most_n_times_each_reason_kept(write):
    with write() as conn:
        _, job = queued(conn, max_attempts=3)
        ends = []
        while (claim := jobs.claim(conn, "worker", LEASE, NOW)) is not None:
            ends.append(jobs.fail(conn, claim, f"reason {claim.attempt}", NOW, retry_in_ms=0))
        assert ends == ["queued", "queued", "failed"]
        assert [reason for _, reason in charges(conn, job)] == ["reason 1", "reason 2", "reason 3"]


def test_promise_5_nothing_in_the_history_ever_changes(seeded):
    with seeded.write() as conn:
        queued(conn)
        before = conn.exec_driver_sql("SELECT * FROM event").all()
    for statement in ("UPDATE event SET at = 0", "DELETE FROM event", "REPLACE INTO event SELECT * FROM event"):
        with pytest.raises(IllegalMoveError, match="append-only"), seeded.write() as conn:
            conn.exec_driver_sql(statement)
    with seeded.write() as conn:
        jobs.claim(conn, "worker", LEASE, NOW)
        assert conn.exec_driver_sql("SELECT * FROM event").all()[: len(before)] == before


def test_two_trainings_in_a_row_live_in_the_second_weights(write):
    with write() as conn:
        first, _ = queued(conn, "e1")
        jobs.finish(conn, jobs.claim(conn, "w", LEASE, NOW), weights("b"), "{}", NOW)
        second, _ = queued(conn, "e2")
        jobs.finish(conn, jobs.claim(conn, "w", LEASE, NOW), weights("c", parent="b" * 64), "{}", NOW)
        assert vectors.retired_into(conn, "c" * 64) == {first, second}
        assert vectors.retired_into(conn, "b" * 64) == {first}
