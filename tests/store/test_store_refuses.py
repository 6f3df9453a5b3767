"""Whoever writes, and with whatever program, the database itself refuses what must not be."""

import shutil
import sqlite3
import subprocess

import pytest
from lifecycle import BASE, MATRIX_SHA, NOW, candidate, extracted, queued, verified, weights

from store import evidence, jobs
from store.clock import ManualClock
from store.engine import Store

STANDING = {
    "candidate": candidate,
    "extracted": extracted,
    "verified": verified,
    "queued": queued,
    "training": lambda conn: (queued(conn), jobs.claim(conn, "worker", 1000, NOW)),
    "trained": lambda conn: (
        queued(conn),
        jobs.finish(conn, jobs.claim(conn, "worker", 1000, NOW), weights(), "{}", NOW),
    ),
    "dropped": lambda conn: (verified(conn), evidence.drop_pair(conn, "p1", NOW, "me")),
    "failed": lambda conn: (
        queued(conn, max_attempts=1),
        jobs.fail(conn, jobs.claim(conn, "worker", 1000, NOW), "out of memory", NOW, retry_in_ms=0),
    ),
}

NEW_JOB = "INSERT INTO training_job (vector_id, state, max_attempts, available_at, created_at, state_since) VALUES"
NEW_VECTOR = (
    "INSERT OR REPLACE INTO vector_version (id, behaviour, version, model_digest, root_digest, template_digest, "
    "pairs_digest, recipe, state, lineage, state_since, created_at) VALUES"
)

SEED = "'{\"seed\":0}'"

# where the first vector or job stands | what a person types | what the database says
ILLEGAL = [
    ("candidate", "UPDATE vector_version SET state = 'verified'", "illegal move of a vector"),
    ("candidate", "UPDATE vector_version SET state = 'retired'", "retires when its training is recorded"),
    ("candidate", "UPDATE vector_version SET state = 'splendid'", "illegal move of a vector"),
    ("candidate", "UPDATE vector_version SET state = 'extracted'", "its numbers are in vector_blob"),
    (
        "candidate",
        "UPDATE vector_version SET state = 'extracted', blob_sha256 = printf('%064d', 0)",
        "its numbers are in vector_blob",
    ),
    ("candidate", "UPDATE vector_version SET state = 'rejected'", "rejected_with_reason"),
    ("candidate", "UPDATE vector_version SET state = 'superseded'", "superseded_by_whom"),
    ("candidate", "UPDATE vector_version SET version = 7", "identity never changes"),
    ("candidate", "DELETE FROM vector_version", "never deleted"),
    ("candidate", "UPDATE vector_pair SET split = 'test'", "evidence never changes"),
    ("candidate", "DELETE FROM vector_pair", "evidence never changes"),
    ("candidate", "INSERT OR REPLACE INTO vector_pair VALUES (1, 'p1', 'test')", "evidence never changes"),
    (
        "candidate",
        f"{NEW_VECTOR} (NULL, 'listening', 9, '{BASE}', '{BASE}', 'template', 'x', '{{}}', 'verified', '{{}}', 0, 0)",
        "begins as candidate",
    ),
    (
        "candidate",
        f"{NEW_VECTOR} (NULL, 'humming', 1, '{BASE}', '{BASE}', 'template', 'x', '{{}}', 'candidate', '{{}}', 0, 0)",
        "a known behaviour",
    ),
    (
        "candidate",
        f"{NEW_VECTOR} (NULL, 'listening', 9, '{'c' * 64}', '{BASE}', 't', 'x', '{{}}', 'candidate', '{{}}', 0, 0)",
        "a known model",
    ),
    (
        "candidate",
        f"{NEW_VECTOR} (NULL, 'listening', 9, '{BASE}', '{BASE}', 'template', 'e1', {SEED}, 'candidate', '{{}}', 0, 0)",
        "made of the same evidence",
    ),
    ("extracted", "UPDATE vector_version SET blob_sha256 = printf('%064d', 0)", "extracted version never changes"),
    ("extracted", 'UPDATE vector_version SET lineage = \'{"by":"me"}\'', "extracted version never changes"),
    ("extracted", "UPDATE vector_version SET state = 'candidate'", "illegal move of a vector"),
    ("extracted", "UPDATE vector_version SET state = 'promoted'", "promoted by giving it a training job"),
    (
        "extracted",
        "UPDATE vector_version SET state = 'verified', layer = 1, dose = 1, effect = 9",
        "its proof is in verification",
    ),
    ("extracted", "UPDATE vector_blob SET data = zeroblob(32)", "a blob never changes"),
    ("extracted", "DELETE FROM vector_blob", "a blob never changes"),
    (
        "extracted",
        f"REPLACE INTO vector_blob VALUES ('{MATRIX_SHA}', 'float32-le', 2, 4, zeroblob(32))",
        "a blob never changes",
    ),
    (
        "extracted",
        "INSERT INTO vector_blob VALUES (printf('%064d', 1), 'float32-le', 2, 4, zeroblob(31))",
        "vector_blob_length",
    ),
    ("extracted", "INSERT INTO vector_pair VALUES (1, 'p2', 'test')", "evidence never changes"),
    ("extracted", "INSERT INTO served VALUES (1, 0.2, 1.5, 1, 0, 'me', NULL)", "only a verified version is served"),
    ("extracted", f"{NEW_JOB} (1, 'queued', 3, 0, 0, 0)", "only a verified vector enters"),
    ("verified", "UPDATE vector_version SET effect = 99", "proof never changes"),
    ("verified", "UPDATE vector_version SET dose = 2", "proof never changes"),
    ("verified", "UPDATE vector_version SET state = 'promoted'", "promoted by giving it a training job"),
    ("verified", "UPDATE vector_version SET state = 'retired'", "retires when its training is recorded"),
    ("verified", "UPDATE verification SET report = '{}'", "a proof never changes"),
    ("verified", "DELETE FROM verification", "a proof never changes"),
    ("verified", "REPLACE INTO verification VALUES (1, 0, 'verified', '{}')", "a proof never changes"),
    ("verified", "INSERT INTO verification VALUES (2, 0, 'verified', '{}')", "measured once, while it is extracted"),
    ("verified", f"{NEW_JOB} (1, 'training', 3, 0, 0, 0)", "begins as awaiting_approval or queued"),
    ("verified", f"{NEW_JOB} (42, 'queued', 3, 0, 0, 0)", "only a verified vector enters"),
    (
        "verified",
        f"{NEW_VECTOR} (1, 'listening', 1, '{BASE}', '{BASE}', 'template', 'x', '{{}}', 'candidate', '{{}}', 0, 0)",
        "there already",
    ),
    ("queued", f"{NEW_JOB} (1, 'queued', 3, 0, 0, 0)", "its training job already"),
    ("queued", "UPDATE vector_version SET state = 'retired'", "retires when its training is recorded"),
    ("queued", "UPDATE vector_version SET state = 'verified'", "its training job is still open"),
    ("queued", "UPDATE training_job SET state = 'trained'", "the weights it made are recorded"),
    ("queued", "UPDATE training_job SET state = 'failed'", "illegal move of a training job"),
    ("queued", "UPDATE training_job SET state = 'training'", "a claim takes a new fencing token"),
    (
        "queued",
        "UPDATE training_job SET state = 'training', lease_token = 1, attempt = 1",
        "leased_iff_training",
    ),
    ("queued", "UPDATE training_job SET vector_id = 2", "identity never changes"),
    ("queued", "UPDATE training_job SET attempt = 9", "attempt_in_range"),
    ("queued", "DELETE FROM training_job", "jobs are never deleted"),
    ("training", "UPDATE training_job SET lease_token = 0", "token never goes back"),
    ("training", "UPDATE training_job SET attempt = 0", "given back only when"),
    ("training", "UPDATE training_job SET milestone = -1", "progress never goes back"),
    ("training", "UPDATE training_job SET lease_owner = NULL", "leased_iff_training"),
    (
        "training",
        "UPDATE training_job SET state='trained', weights_digest='x', result='{}', finalized_at=1, lease_owner=NULL",
        "the weights it made are recorded",
    ),
    ("trained", "UPDATE training_job SET result = '{}'", "a finished job never changes"),
    ("trained", "UPDATE training_job SET state = 'queued'", "a finished job never changes"),
    ("trained", "UPDATE vector_version SET state = 'verified'", "illegal move of a vector"),
    ("trained", "UPDATE event SET actor = 'somebody else'", "append-only"),
    ("trained", "DELETE FROM event WHERE seq = 1", "append-only"),
    (
        "trained",
        "REPLACE INTO event (seq, at, subject, subject_id, name, now) VALUES (1, 0, 'vector', 1, 'listening@1', 'x')",
        "append-only",
    ),
    ("trained", "INSERT INTO legal_move VALUES ('vector', 'retired', 'verified')", "state machines are frozen"),
    ("trained", "DELETE FROM legal_move", "state machines are frozen"),
    ("failed", "UPDATE training_attempt SET reason = 'bad luck'", "how an attempt ended never changes"),
    ("failed", "DELETE FROM training_attempt", "how an attempt ended never changes"),
    ("failed", "REPLACE INTO training_attempt VALUES (1, 1, 1, 0, 0, 1, 'luck')", "how an attempt ended never changes"),
    ("candidate", "UPDATE session_split SET split = 'test'", "never changes its side"),
    ("candidate", "DELETE FROM session_split", "never changes its side"),
    ("candidate", "REPLACE INTO session_split VALUES ('s1', 'test', 0)", "never changes its side"),
    ("candidate", "UPDATE pair SET positive = 'x'", "content never changes"),
    ("candidate", "DELETE FROM pair", "never deleted"),
    (
        "candidate",
        "REPLACE INTO pair VALUES ('p1', 'listening', '[]', 'x', 'y', 's1', 1, 0, NULL, NULL, NULL, NULL, NULL)",
        "there already",
    ),
    ("candidate", "UPDATE pair SET pinned_at = 1, dropped_at = 1", "pinned or dropped, not both"),
    ("dropped", "UPDATE pair SET dropped_at = NULL", "stays dropped"),
    ("dropped", "UPDATE pair SET dropped_at = 7", "stays dropped"),
    ("dropped", "UPDATE pair SET pinned_at = 7", "pinned or dropped, not both"),
    ("dropped", "UPDATE vector_version SET stale_reason = NULL", "stays stale"),
    ("dropped", "UPDATE vector_version SET stale_at = NULL, stale_reason = NULL", "stays stale"),
    ("candidate", "UPDATE vector_version SET template_digest = 'x'", "identity never changes"),
    ("candidate", "UPDATE vector_version SET stale_at = 7", "stale_with_reason"),
    ("candidate", "UPDATE behaviour SET origin = 'hearsay'", "behaviour_origin"),
    (
        "candidate",
        "INSERT INTO edge VALUES ('a', 'b', 'follows', '', '', 1.5, 0, '{}', 1, '', 0, NULL)",
        "edge_weight",
    ),
    (
        "candidate",
        "INSERT INTO edge VALUES ('a', 'b', 'follows', '', '', 1, 0, '{', 1, '', 0, NULL)",
        "edge_attributes_json",
    ),
    (
        "candidate",
        "INSERT INTO proposed_behaviour VALUES ('a', '', '[]', '[]', '{}', 0, 1, 1)",
        "proposed_decided_once",
    ),
    ("candidate", "UPDATE model SET current = 7", "model_current"),
    ("candidate", "INSERT INTO tick (name, last_ok_at) VALUES ('look', 'yesterday')", "cannot store TEXT value"),
]


@pytest.fixture(scope="session")
def stores(tmp_path_factory, seeded_file):
    """One file for each standing."""
    folder = tmp_path_factory.mktemp("standing")
    for name, bring in STANDING.items():
        shutil.copy(seeded_file, folder / name)
        with Store.open(folder / name, ManualClock()) as store, store.write() as conn:
            bring(conn)
    return folder


@pytest.fixture
def standing(stores, path, request):
    """A store where the first vector or job stands at `request.param`; closed, for others to open."""
    return shutil.copy(stores / request.param, path)


def dump(path):
    with sqlite3.connect(path) as connection:
        lines = list(connection.iterdump())
    connection.close()
    return lines


@pytest.mark.parametrize(("standing", "statement", "refusal"), ILLEGAL, indirect=["standing"])
def test_an_illegal_statement_is_refused_by_the_database(standing, statement, refusal):
    """As in the sqlite3 shell: an old SQLite, foreign keys off, no code of ours."""
    before = dump(standing)
    connection = sqlite3.connect(standing, isolation_level=None)
    try:
        with pytest.raises(sqlite3.IntegrityError, match=refusal):
            connection.execute(statement)
    finally:
        connection.close()
    assert dump(standing) == before


def test_there_are_enough_of_them_to_mean_something():
    assert len(ILLEGAL) >= 20
    assert len({statement for _, statement, _ in ILLEGAL}) > 60


@pytest.mark.skipif(shutil.which("sqlite3") is None, reason="no sqlite3 shell here")
@pytest.mark.parametrize("standing", ["trained"], indirect=True)
def test_the_shell_itself_is_refused(standing):
    for statement, refusal in [
        ("UPDATE vector_version SET state = 'candidate';", "illegal move of a vector"),
        ("REPLACE INTO event (seq, at, subject, subject_id, name, now) VALUES (1,0,'job',1,'x','y');", "append-only"),
        ("UPDATE training_job SET error = 'x';", "a finished job never changes"),
    ]:
        typed = subprocess.run(["sqlite3", standing, statement], capture_output=True, text=True, check=False)
        assert typed.returncode != 0
        assert refusal in typed.stderr


@pytest.mark.parametrize("standing", ["queued"], indirect=True)
def test_a_person_may_do_what_is_legal(standing):
    """Cancelling in the shell brings the vector back, and the history tells it."""
    connection = sqlite3.connect(standing, isolation_level=None)
    cancel = "UPDATE training_job SET state='cancelled', error='enough', finalized_at=5, state_since=5, decided_by='me'"
    connection.execute(cancel)
    assert connection.execute("SELECT state FROM vector_version").fetchall() == [("verified",)]
    told = connection.execute("SELECT what, now, actor, detail FROM history ORDER BY seq DESC LIMIT 2").fetchall()
    connection.close()
    assert ("job 1", "cancelled", "me", '{"reason":"enough"}') in told


@pytest.mark.parametrize("standing", ["trained"], indirect=True)
def test_a_pair_dropped_in_the_shell_marks_what_it_fed(standing):
    connection = sqlite3.connect(standing, isolation_level=None)
    connection.execute("UPDATE pair SET dropped_at = 5, changed_by = 'me' WHERE id = 'p1'")
    assert connection.execute("SELECT state, stale FROM vectors").fetchall() == [("retired", "pair p1 dropped")]
    told = connection.execute("SELECT what, now, actor, detail FROM history ORDER BY seq DESC LIMIT 2").fetchall()
    assert told == [
        ("vector", "stale", None, '{"reason":"pair p1 dropped"}'),
        ("pair p1", "dropped", "me", '{"stale":"listening@1"}'),
    ]
    connection.close()


@pytest.mark.parametrize("standing", ["trained"], indirect=True)
def test_a_vector_may_be_called_stale_wherever_it_stands(standing):
    connection = sqlite3.connect(standing, isolation_level=None)
    connection.execute("UPDATE vector_version SET stale_at = 5, stale_reason = 'a person said so'")
    assert connection.execute("SELECT state, stale FROM vectors").fetchall() == [("retired", "a person said so")]
    connection.close()


@pytest.mark.parametrize("standing", ["candidate"], indirect=True)
def test_without_its_trigger_a_statement_would_pass(standing):
    """The refusals come from the triggers and from nothing else."""
    connection = sqlite3.connect(standing, isolation_level=None)
    connection.execute("DROP TRIGGER vector_moves_legally")
    connection.execute("UPDATE vector_version SET state = 'withdrawn'")
    connection.execute("UPDATE vector_version SET state = 'candidate'")
    assert connection.execute("SELECT state FROM vector_version").fetchall() == [("candidate",)]
    connection.close()
