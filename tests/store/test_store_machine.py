"""Any order of operations, legal or not, leaves the store where a small model in plain Python says it is."""

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from lifecycle import BASE, MATRIX, MATRIX_SHA, candidate, queued, seed, verified, verify, weights

from store import jobs, vectors
from store.clock import ManualClock
from store.engine import Store
from store.errors import FencedError, IllegalMoveError, StoreError
from store.vectors import mark_extracted

LEASE, MAX_ATTEMPTS = 1000, 2
OPEN = ("awaiting_approval", "queued", "training")


@dataclass
class Job:
    """What the model remembers of a job."""

    vector: int
    state: str
    attempt: int = 0
    token: int = 0
    milestone: int = 0
    at_claim: int = 0


@dataclass
class Model:
    """The two machines, as one would write them without a database. An illegal move raises."""

    vectors: dict[int, str] = field(default_factory=dict)
    jobs: dict[int, Job] = field(default_factory=dict)

    def move(self, vector: int, now: str, *was: str) -> None:
        if self.vectors.get(vector) not in was:
            raise IllegalMoveError
        self.vectors[vector] = now

    def promote(self, vector: int, state: str) -> None:
        self.move(vector, "promoted", "verified")
        self.jobs[len(self.jobs) + 1] = Job(vector, state)

    def held(self, job: int, token: int) -> Job:
        found = self.jobs[job]
        if found.state != "training" or found.token != token:
            raise FencedError
        return found

    def end(self, job: Job, state: str) -> None:
        job.state = state
        if state in ("failed", "cancelled"):
            self.vectors[job.vector] = "verified"

    def back(self, job: Job, *, refund: bool) -> None:
        job.attempt -= refund
        self.end(job, "queued" if job.attempt < MAX_ATTEMPTS else "failed")


class StoreMachine(RuleBasedStateMachine):
    """Vectors 1 to 3 and their jobs, worked on by workers that may be zombies."""

    template = None

    @initialize()
    def open(self):
        self.folder = Path(tempfile.mkdtemp())
        self.clock = ManualClock()
        if StoreMachine.template is None:
            StoreMachine.template = Path(tempfile.mkdtemp()) / "template.db"
            with Store.open(StoreMachine.template, self.clock) as store, store.write() as conn:
                seed(conn)
                queued(conn, "e1", max_attempts=MAX_ATTEMPTS)
                verified(conn, "e2")
        shutil.copy(StoreMachine.template, self.folder / "reflexd.db")
        self.store = Store.open(self.folder / "reflexd.db", self.clock)
        # Well under way: most of what can go wrong lies near the queue.
        self.model = Model({1: "promoted", 2: "verified"}, {1: Job(1, "queued")})
        self.claims = []
        self.letters = iter("bcdefghijklmnopqrstuvwxyz" * 9)
        self.seen = []

    def teardown(self):
        if hasattr(self, "store"):
            self.store.close()
            shutil.rmtree(self.folder)

    def both(self, real, ideal):
        """Do it in the store and in the model: both succeed, or both refuse and nothing changed."""
        self.clock.advance(1)
        outcomes = []
        for act in (self.in_store(real), ideal):
            try:
                act()
                outcomes.append(None)
            except (StoreError, KeyError) as error:
                outcomes.append(type(error) if isinstance(error, FencedError) else StoreError)
        assert outcomes[0] == outcomes[1]

    def in_store(self, real):
        def act():
            with self.store.write() as conn:
                real(conn, self.clock.wall_ms())

        return act

    # ------------------------------------------------ vectors

    @rule()
    def propose(self):
        number = len(self.model.vectors) + 1
        if number <= 3:
            self.both(
                lambda conn, now: candidate(conn, f"e{number}", now),
                lambda: self.model.vectors.update({number: "candidate"}),
            )

    @rule(vector=st.integers(1, 3))
    def extract(self, vector):
        self.both(
            lambda conn, now: mark_extracted(conn, vector, MATRIX_SHA, 2, 4, MATRIX, now),
            lambda: self.model.move(vector, "extracted", "candidate"),
        )

    @rule(vector=st.integers(1, 3))
    def prove(self, vector):
        self.both(lambda conn, now: verify(conn, vector, now), lambda: self.model.move(vector, "verified", "extracted"))

    @rule(vector=st.integers(1, 3))
    def refuse(self, vector):
        self.both(
            lambda conn, now: vectors.reject(conn, vector, "no", now),
            lambda: self.model.move(vector, "rejected", "candidate", "extracted"),
        )

    @rule(vector=st.integers(2, 3))
    def withdraw(self, vector):
        def ideal():
            for job in self.model.jobs.values():
                if job.vector == vector and job.state in OPEN:
                    self.model.end(job, "cancelled")
            self.model.move(vector, "withdrawn", "candidate", "extracted", "verified")

        self.both(lambda conn, now: vectors.withdraw(conn, vector, "no", now), ideal)

    @rule(vector=st.integers(1, 3), state=st.sampled_from(["awaiting_approval", "queued", "training"]))
    def promote(self, vector, state):
        def ideal():
            if state == "training":
                raise IllegalMoveError
            self.model.promote(vector, state)

        self.both(lambda conn, now: vectors.promote(conn, vector, state, MAX_ATTEMPTS, now), ideal)

    @rule(
        vector=st.integers(1, 3),
        state=st.sampled_from(["candidate", "extracted", "verified", "promoted", "retired", "rejected"]),
    )
    def type_a_vector_move(self, vector, state):
        """A person who types the state alone gets no further than what the state needs: nowhere."""
        if self.model.vectors.get(vector) in (None, state):
            return
        self.both(
            lambda conn, _: conn.exec_driver_sql(f"UPDATE vector_version SET state='{state}' WHERE id={vector}"),
            lambda: self.model.move(vector, state),
        )

    # ------------------------------------------------ jobs

    @rule(job=st.integers(1, 3))
    def approve(self, job):
        def ideal():
            if self.model.jobs[job].state != "awaiting_approval":
                raise IllegalMoveError
            self.model.jobs[job].state = "queued"

        self.both(lambda conn, now: jobs.approve(conn, job, now, "me"), ideal)

    @rule(job=st.integers(1, 3))
    def cancel(self, job):
        def ideal():
            if self.model.jobs[job].state not in OPEN:
                raise IllegalMoveError
            self.model.end(self.model.jobs[job], "cancelled")

        self.both(lambda conn, now: jobs.cancel(conn, job, now, "me", "no"), ideal)

    @rule(job=st.integers(1, 3))
    def retry(self, job):
        def ideal():
            if self.model.jobs[job].state not in ("failed", "cancelled"):
                raise IllegalMoveError
            self.model.promote(self.model.jobs[job].vector, "queued")

        self.both(lambda conn, now: jobs.retry(conn, job, now, "me"), ideal)

    @rule()
    def claim(self):
        due = [number for number, job in self.model.jobs.items() if job.state == "queued"]
        with self.store.write() as conn:
            claim = jobs.claim(conn, "worker", LEASE, self.clock.wall_ms())
        assert (claim is not None) == bool(due)
        if claim is not None:
            job = self.model.jobs[claim.job_id]
            assert job.state == "queued"
            job.state, job.attempt, job.token, job.at_claim = "training", job.attempt + 1, job.token + 1, job.milestone
            assert (claim.token, claim.attempt) == (job.token, job.attempt)
            self.claims.append(claim)

    def any_claim(self, data):
        """Any claim that was ever given out, stale ones too."""
        return data.draw(st.sampled_from(self.claims)) if self.claims else None

    @rule(data=st.data(), milestone=st.integers(1, 3))
    def checkpoint(self, data, milestone):
        if claim := self.any_claim(data):
            with self.store.write() as conn:
                noted = jobs.note_milestone(conn, claim, milestone)
            job = self.model.jobs[claim.job_id]
            assert noted == (job.state == "training" and job.token == claim.token)
            if noted:
                job.milestone = max(job.milestone, milestone)

    @rule(data=st.data())
    def finish(self, data):
        if claim := self.any_claim(data):
            letter = next(self.letters)

            def ideal():
                job = self.model.held(claim.job_id, claim.token)
                job.state, self.model.vectors[job.vector] = "trained", "retired"

            self.both(lambda conn, now: jobs.finish(conn, claim, weights(letter, BASE), "{}", now), ideal)

    @rule(data=st.data(), passing=st.booleans())
    def fail(self, data, passing):
        if claim := self.any_claim(data):

            def ideal():
                job = self.model.held(claim.job_id, claim.token)
                self.model.back(job, refund=False) if passing else self.model.end(job, "failed")

            retry = 0 if passing else None
            self.both(lambda conn, now: jobs.fail(conn, claim, "oom", now, retry_in_ms=retry), ideal)

    @rule(data=st.data())
    def shut_down(self, data):
        if claim := self.any_claim(data):

            def ideal():
                job = self.model.jobs[claim.job_id]
                if job.state == "training" and job.token == claim.token:
                    self.model.back(job, refund=True)

            self.both(lambda conn, now: jobs.release(conn, claim, "shutdown", now), ideal)

    @rule(job=st.integers(1, 2))
    def rescue(self, job):
        def real(conn, now):
            jobs.rescue(conn, job, "dead", now)

        def ideal():
            found = self.model.jobs[job]
            if found.state == "training":
                self.model.back(found, refund=found.milestone > found.at_claim)

        self.both(real, ideal)

    # ------------------------------------------------ what always holds

    @invariant()
    def they_agree(self):
        with self.store.read() as conn:
            real = {v.id: v.state for v in vectors.in_state(conn, *{*self.model.vectors.values(), "candidate"})}
            assert real == self.model.vectors
            for number, job in self.model.jobs.items():
                found = jobs.get_job(conn, number)
                assert (found.state, found.attempt, found.lease_token, found.milestone) == (
                    job.state,
                    job.attempt,
                    job.token,
                    job.milestone,
                )
            assert len(jobs.list_jobs(conn)) == len(self.model.jobs)

    @invariant()
    def promoted_means_queued_and_retired_means_trained(self):
        with self.store.read() as conn:
            wrong = conn.exec_driver_sql("SELECT sum(n) FROM health WHERE what NOT LIKE 'jobs that failed%'").scalar()
            assert wrong == 0

    @invariant()
    def the_history_only_grows_and_is_a_chain(self):
        with self.store.read() as conn:
            told = conn.exec_driver_sql("SELECT * FROM event ORDER BY seq").all()
        assert told[: len(self.seen)] == self.seen
        self.seen = told
        last = {}
        for row in told:
            if row.subject in ("vector", "job"):
                assert row.was == last.get((row.subject, row.subject_id))
                last[row.subject, row.subject_id] = row.now
        for number, state in self.model.vectors.items():
            assert last["vector", str(number)] == state


QUICK = settings(max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck))
StoreMachine.TestCase.settings = QUICK
TestStoreMachine = StoreMachine.TestCase


@pytest.mark.parametrize(
    "mutant",
    [
        {"_LEASED": "id = :job AND state = 'training' AND :token > 0"},
        {"rescue": lambda conn, job, reason, now: None},
        {"note_milestone": lambda conn, claim, milestone: True},
    ],
    ids=["no token", "no rescue", "no milestone"],
)
def test_a_mutant_turns_it_red(monkeypatch, mutant):
    """The machine finds what the tests above name."""
    for name, change in mutant.items():
        monkeypatch.setattr(jobs, name, change)
    hunt = settings(QUICK, max_examples=300, derandomize=True, database=None, phases=[Phase.generate])
    with pytest.raises((AssertionError, ExceptionGroup)):
        run_state_machine_as_test(StoreMachine, settings=hunt)
