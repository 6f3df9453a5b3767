"""kill -9 at random moments: what was acknowledged is there, nothing happened twice, nothing is half done."""

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

LIFE = Path(__file__).with_name("crash_life.py")
ROOT = LIFE.parent.parent.parent


def killed_again_and_again(store, seconds, *options):
    """The report of a life in `store`, and a connection to what it left."""
    store.close()
    asked = [sys.executable, LIFE, store.path, str(seconds), "7", *options]
    shown = subprocess.run(
        asked, capture_output=True, text=True, check=False, env={"PYTHONPATH": f"{ROOT}:{LIFE.parent}"}
    )
    assert shown.returncode == 0, shown.stderr + shown.stdout
    return json.loads(shown.stdout.splitlines()[-1])


def count(connection, sql):
    return connection.execute(f"SELECT count(*) FROM ({sql})").fetchone()[0]


ORPHANS = (
    "SELECT 1 FROM health WHERE n > 0 "
    "AND what IN ('promoted without an open job', 'retired without a recorded training')"
)
CLAIMS = "SELECT subject_id, lease_token FROM event WHERE subject = 'job' AND now = 'training'"


@pytest.mark.slow
def test_kill_9_loses_nothing_and_repeats_nothing(seeded):
    report = killed_again_and_again(seeded, 8)
    promoted = {int(line[1]) for line in report["heard"] if line[0] == "promoted"}
    trained = {int(line[1]): line[2] for line in report["heard"] if line[0] == "trained"}
    assert report["kills"] > 30
    assert len(promoted) > 20
    assert len(trained) > 10
    with closing(sqlite3.connect(seeded.path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        queued = {row[0] for row in connection.execute("SELECT vector_id FROM training_job")}
        assert promoted <= queued
        recorded = dict(connection.execute("SELECT id, weights_digest FROM training_job WHERE state = 'trained'"))
        assert trained.items() <= recorded.items()
        assert count(connection, ORPHANS) == 0
        assert count(connection, f"SELECT 1 FROM ({CLAIMS}) GROUP BY subject_id, lease_token HAVING count(*) > 1") == 0
        twice = "SELECT 1 FROM event WHERE subject = 'job' AND now = 'trained' GROUP BY subject_id HAVING count(*) > 1"
        assert count(connection, twice) == 0
        assert count(connection, CLAIMS) > len(recorded)  # some trainings did die
        told = "SELECT subject, subject_id, was, now FROM event WHERE subject <> 'served' ORDER BY seq"
        last = {}
        for subject, key, was, now in connection.execute(told):
            assert was == last.get((subject, key))
            last[subject, key] = now


@pytest.mark.slow
def test_two_transactions_would_leave_a_vector_between(seeded):
    """The mutant: retire after the training is recorded, not with it. The kills must find the gap."""
    with seeded.write() as conn:
        conn.exec_driver_sql("DROP TRIGGER job_retires_vector")
    killed_again_and_again(seeded, 4, "--careless")
    with closing(sqlite3.connect(seeded.path)) as connection:
        assert count(connection, ORPHANS) > 0
