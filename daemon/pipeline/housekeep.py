"""housekeep: what a finished job no longer needs. Its weights, delta and run record stay; its checkpoints go."""

import shutil

from daemon.pipeline.context import Context
from store.jobs import list_jobs

_FINAL = frozenset({"trained", "failed", "cancelled"})
CHECKPOINTS = "checkpoint"


def housekeep(ctx: Context) -> bool:
    """Remove the checkpoints of jobs that will never go on: a retry is a new job and begins anew."""
    with ctx.store.read() as conn:
        finished = [job.id for job in list_jobs(conn) if job.state in _FINAL]
    found = [folder for job in finished for folder in (ctx.home.training / str(job)).glob(f"*/{CHECKPOINTS}")]
    for folder in found:
        shutil.rmtree(folder)
    return bool(found)
