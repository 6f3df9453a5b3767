"""train: a leased job with a fencing token; the transaction that records `trained` also retires the vector.

Only one reflexd works in a state folder at a time (the work lock, which the model process inherits). So a job that is
`training` while we hold the lock belongs to a process that is gone: `rescue` puts it back in the queue.
"""

from pathlib import Path

from sqlalchemy import Connection

from daemon.errors import DataError, FullError, ModelTaskError, ReflexdError
from daemon.pipeline.context import Context, worker_name
from daemon.pipeline.extract import split_pairs
from daemon.pipeline.placed import proved_placements
from daemon.pipeline.verify import vector_path
from daemon.protocol import EarlierBehaviour, TrainReport, TrainRequest
from daemon.steering.neutral import load_neutral
from store.errors import FencedError
from store.jobs import Claim, claim, fail, finish, heartbeat, note_milestone, release, training_jobs
from store.jobs import rescue as put_back
from store.models import ModelRow, current_model, get_model
from store.vectors import VectorRow, by_id, retired_into, vector_pairs, verification


def rescue(ctx: Context) -> bool:
    """Put jobs back whose worker is gone. Call it only while the work lock is held."""
    with ctx.store.write() as conn:
        orphans = training_jobs(conn)
        for job in orphans:
            state = put_back(conn, job.id, f"rescued: worker {job.lease_owner} is gone", ctx.now())
            ctx.say(f"job {job.id} ({job.vector}): its worker died; now {state}")
    return bool(orphans)


def train(ctx: Context) -> bool:
    """Claim one queued job and carry it through. False when none is queued."""
    with ctx.store.write() as conn:
        mine = claim(conn, worker_name(), ctx.settings.training.lease_s * 1000, ctx.now())
    if mine is None:
        return False
    try:
        report = _ask(ctx, mine)
    except FencedError:
        ctx.process.stop()
        ctx.say(f"job {mine.job_id}: somebody else holds it now; stopped")
    except KeyboardInterrupt:
        ctx.process.stop()
        with ctx.store.write() as conn:
            release(conn, mine, "shutdown", ctx.now())
        raise
    except ReflexdError as error:
        _failed(ctx, mine, error)
    else:
        _record(ctx, mine, report)
    return True


def _ask(ctx: Context, mine: Claim) -> TrainReport:
    lease = ctx.settings.training.lease_s
    renewed = [ctx.clock.monotonic()]

    def beat() -> None:
        ctx.beat()
        if ctx.clock.monotonic() - renewed[0] < lease / 4:
            return
        renewed[0] = ctx.clock.monotonic()
        with ctx.store.write() as conn:
            if not heartbeat(conn, mine, lease * 1000, ctx.now()):
                raise FencedError(f"job {mine.job_id}: token {mine.token} is no longer the holder's")

    def milestone(number: int) -> None:
        with ctx.store.write() as conn:
            note_milestone(conn, mine, number)

    return ctx.process.ask(
        "train",
        _request(ctx, mine),
        TrainReport,
        on_progress=ctx.on_progress,
        on_milestone=milestone,
        beat=beat,
    )


def _request(ctx: Context, mine: Claim) -> TrainRequest:
    with ctx.store.read() as conn:
        vector = by_id(conn, mine.vector_id)
        sides = split_pairs(vector_pairs(conn, vector.id))
        base = _weights_to_train(conn, vector)
        earlier = tuple(_earlier(conn, base))
        placements = proved_placements(verification(conn, vector.id), vector)
    folder = ctx.home.training / str(mine.job_id)
    return TrainRequest(
        job=mine.job_id,
        token=mine.token,
        model=base.path,
        base_digest=base.digest,
        vector=vector_path(ctx, vector),
        placements=placements,
        behaviour=vector.behaviour,
        **sides,
        neutral_train=load_neutral("train"),
        neutral_validation=load_neutral("validation"),
        neutral_test=load_neutral("test"),
        earlier=earlier,
        settings=ctx.settings.training.recipe(),
        folder=folder / str(mine.token),
        resume=_last_attempt(folder, mine.token),
        threads=ctx.settings.process.threads,
    )


def _last_attempt(folder: Path, token: int) -> Path | None:
    """The newest earlier attempt's folder; its owner is dead, or we could not hold the work lock."""
    earlier = [int(entry.name) for entry in folder.glob("*") if entry.name.isdigit() and int(entry.name) < token]
    return folder / str(max(earlier)) if earlier else None


def _weights_to_train(conn: Connection, vector: VectorRow) -> ModelRow:
    """The current weights if they descend from the vector's model, else the model it was extracted from."""
    current = current_model(conn)
    if current is not None and current.root_digest == vector.root_digest:
        return current
    return get_model(conn, vector.model_digest)


def _earlier(conn: Connection, base: ModelRow) -> list[EarlierBehaviour]:
    """Behaviours that live in `base` already, with the evidence of the vectors that were trained into it."""
    baked = [by_id(conn, vector) for vector in sorted(retired_into(conn, base.digest))]
    evidence = {v.behaviour: split_pairs(vector_pairs(conn, v.id)) for v in baked}
    return [EarlierBehaviour(name=name, train=sides["train"], test=sides["test"]) for name, sides in evidence.items()]


def _failed(ctx: Context, mine: Claim, error: ReflexdError) -> None:
    """A fault of the machine may pass and is tried again; a fault of the data will not."""
    passing = isinstance(error, (ModelTaskError, FullError)) and not isinstance(error, DataError)
    retry = ctx.settings.training.retry_after_s * 1000 if passing else None
    with ctx.store.write() as conn:
        state = fail(conn, mine, str(error), ctx.now(), retry_in_ms=retry)
    ctx.say(f"job {mine.job_id}: attempt {mine.attempt} failed: {error}; now {state}")


def _record(ctx: Context, mine: Claim, report: TrainReport) -> None:
    if not report.passed:
        with ctx.store.write() as conn:
            fail(conn, mine, f"gate: {report.reason}", ctx.now(), retry_in_ms=None, result=report.model_dump_json())
        ctx.say(f"job {mine.job_id}: not kept: {report.reason}")
        return
    with ctx.store.read() as conn:
        vector = by_id(conn, mine.vector_id)
        base = _weights_to_train(conn, vector)
    weights = {
        "digest": report.weights_digest,
        "name": f"{base.name}+{vector.name}",
        "path": str(report.weights),
        "hidden_size": base.hidden_size,
        "n_layers": base.n_layers,
        "template_digest": base.template_digest,
        "root_digest": base.root_digest,
        "parent_digest": base.digest,
    }
    with ctx.store.write() as conn:
        finish(conn, mine, weights, report.model_dump_json(), ctx.now())
    ctx.say(f"{vector.name}: trained into {weights['name']} and retired: {report.reason}")
