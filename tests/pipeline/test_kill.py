"""Killed anywhere, then run to the end: the same vectors, jobs and history as an undisturbed run."""

import os
import random
import signal
import subprocess
import time

import pytest

from tests.pipeline.conftest import environment, furnished

pytestmark = pytest.mark.slow

KILLS = 10


def run_to_the_end(place):
    place.reflexd("once")


def killed_runs(place, rng, kills, longest_s):
    """Start `once` and kill it -9 after a random while, `kills` times."""
    for _ in range(kills):
        process = subprocess.Popen(
            place.command("once"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment()
        )
        try:
            process.wait(timeout=rng.uniform(0.2, longest_s))
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()


def outcome(place):
    """Vectors, jobs, models and history, without clock times, tokens and the detours that rescues are."""
    vectors = place.sql(
        "SELECT behaviour, version, state, blob_sha256, pairs_digest, layer, dose, coefficient, effect "
        "FROM vector_version ORDER BY id"
    )
    jobs = place.sql("SELECT vector_id, state, weights_digest, milestone FROM training_job ORDER BY id")
    models = place.sql("SELECT digest, parent_digest, current FROM model ORDER BY added_at")
    return vectors, jobs, models, story(place)


def story(place):
    """The history with rescues folded: a training that went back to the queue and was claimed again is one training."""
    told = []
    for event in place.sql("SELECT subject, subject_id, name, was, now FROM event ORDER BY seq"):
        move = tuple(event.values())
        if event["subject"] == "job" and (event["was"], event["now"]) == ("training", "queued"):
            assert told.pop() == (*move[:3], "queued", "training")
            continue
        told.append(move)
    return told


def test_ten_kills_at_random_moments_change_nothing(tmp_path, tiny_folder):
    calm, stormy = (furnished(tmp_path / name, tiny_folder) for name in ("calm", "stormy"))
    started = time.monotonic()
    run_to_the_end(calm)
    took = time.monotonic() - started
    rng = random.Random(20261124)
    killed_runs(stormy, rng, KILLS, took * 0.9)
    run_to_the_end(stormy)
    assert outcome(stormy) == outcome(calm)
    assert stormy.sql("SELECT sum(n) AS n FROM health") == [{"n": 0}]


def test_sigterm_ends_the_daemon_cleanly_and_uncharged(tmp_path, tiny_folder):
    place = furnished(tmp_path / "home", tiny_folder)
    impatient = environment() | {"REFLEXD_PROCESS__WAIT_ABOVE": "1"}  # others may be busy here
    daemon = subprocess.Popen(
        place.command("run"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=impatient, text=True
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if any(job["state"] == "training" for job in place.sql("SELECT state FROM training_job")):
            break
        time.sleep(0.05)
    daemon.terminate()
    output, _ = daemon.communicate(timeout=60)
    assert daemon.returncode == 0, output
    (job,) = place.sql("SELECT state, attempt FROM training_job")
    assert (job["state"], job["attempt"]) in {("queued", 0), ("trained", 1)}
    place.reflexd("once")
    assert [j["state"] for j in place.json("queue")] == ["trained"]
