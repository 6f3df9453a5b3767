"""Workers that promote, claim, train and finish without end, while somebody kills them. Run as a program.

    crash_life.py STORE SECONDS SEED [--careless]

Two workers at a time, each a child process; one of them is killed with SIGKILL every 30 to 120 ms and replaced. What a
worker has committed it then acknowledges over a pipe. The last line printed is a JSON report. `--careless` records the
training and retires the vector in two transactions, as one must not.
"""

import hashlib
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from lifecycle import BASE, MATRIX, MATRIX_SHA, weights

from store import jobs, vectors
from store.engine import Store
from store.errors import FencedError

LEASE_MS = 150
OPEN_JOBS = 6


def work(path, pipe, careless):
    chance = random.Random(os.getpid())
    with Store.open(path, upgrade=False) as store:
        while True:
            now = store.clock.wall_ms()
            with store.write() as conn:
                for job in jobs.training_jobs(conn):
                    if job.lease_expires_at < now:
                        jobs.rescue(conn, job.id, "its lease ran out", now)
            enqueue(store, pipe)
            with store.write() as conn:
                claim = jobs.claim(conn, str(os.getpid()), LEASE_MS, now)
            if claim is not None:
                train(store, claim, chance, pipe, careless)


def enqueue(store, pipe):
    with store.write() as conn:
        if sum(job.finalized_at is None for job in jobs.list_jobs(conn)) >= OPEN_JOBS:
            return
        newest = vectors.latest(conn, "listening")
        digest, now = f"e{newest.version + 1 if newest else 1}", store.clock.wall_ms()
        vector = vectors.create_candidate(conn, "listening", BASE, BASE, digest, "{}", "{}", {"p1": "train"}, now).id
        vectors.mark_extracted(conn, vector, MATRIX_SHA, 2, 4, MATRIX, now)
        vectors.mark_verified(conn, vector, 1, 0.2, 1.5, 0.9, (0.5, 1.2), "{}", now)
        vectors.promote(conn, vector, "queued", 99, now)
    os.write(pipe, f"promoted {vector}\n".encode())


def train(store, claim, chance, pipe, careless):
    try:
        for milestone in range(chance.randint(1, 3)):
            time.sleep(chance.random() * 0.02)
            with store.write() as conn:
                jobs.heartbeat(conn, claim, LEASE_MS, store.clock.wall_ms())
                jobs.note_milestone(conn, claim, milestone)
        made = weights() | {"digest": hashlib.sha256(f"{claim.job_id}:{claim.token}".encode()).hexdigest()}
        with store.write() as conn:
            jobs.finish(conn, claim, made, "{}", store.clock.wall_ms())
        if careless:
            time.sleep(0.02)
            with store.write() as conn:
                conn.exec_driver_sql("UPDATE vector_version SET state = 'retired' WHERE id = ?", (claim.vector_id,))
    except FencedError:
        os.write(pipe, b"fenced 0\n")
    else:
        os.write(pipe, f"trained {claim.job_id} {made['digest']}\n".encode())


def start(path, pipe, careless):
    child = os.fork()
    if child == 0:
        try:
            work(path, pipe, careless)
        finally:
            os._exit(1)
    return child


def main(path, seconds, seed, careless):
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    chance = random.Random(seed)
    workers = [start(path, writing, careless) for _ in range(2)]
    kills, heard, end = 0, b"", time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.03 + chance.random() * 0.09)
        victim = workers.pop(chance.randrange(2))
        os.kill(victim, signal.SIGKILL)
        _, status = os.waitpid(victim, 0)
        if not os.WIFSIGNALED(status):
            raise SystemExit(f"a worker failed by itself: {status}")
        kills += 1
        workers.append(start(path, writing, careless))
        heard += drain(reading)
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
        os.waitpid(worker, 0)
    lines = [line.split() for line in (heard + drain(reading)).decode().splitlines()]
    print(json.dumps({"kills": kills, "heard": lines}))


def drain(pipe):
    try:
        return os.read(pipe, 1 << 20)
    except BlockingIOError:
        return b""


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), "--careless" in sys.argv)
