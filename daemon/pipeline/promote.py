"""promote: a behaviour whose last verified versions agree, over enough sessions and days, enters the training queue."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection

from daemon.pipeline.context import Context
from daemon.pipeline.placed import proved_placements
from daemon.settings import PromotionSettings
from store.evidence import episode_days
from store.jobs import list_jobs
from store.rechecks import last_recheck
from store.vectors import VectorRow, in_state, last_verified, load_blob, vector_pairs, verification
from store.vectors import promote as enqueue


@dataclass(frozen=True)
class Condition:
    """One thing that stability asks for, and how it stands."""

    name: str
    value: float
    bar: float

    @property
    def met(self) -> bool:
        """Whether it stands."""
        return self.value >= self.bar


def promote(ctx: Context) -> bool:
    """Queue one stable vector for training. False when none is stable and unqueued."""
    with ctx.store.write() as conn:
        for vector in _newest_verified(conn):
            if any(job.vector_id == vector.id for job in list_jobs(conn)):
                continue  # it had its turn; `reflexd retry` gives it another
            missing = [c for c in conditions(conn, vector, ctx.settings.promotion) if not c.met]
            if missing:
                ctx.say(
                    f"{vector.name}: not stable yet: "
                    + ", ".join(f"{c.name} {c.value:g} of {c.bar:g}" for c in missing)
                )
                continue
            state = "queued" if ctx.settings.training.approval == "auto" else "awaiting_approval"
            job = enqueue(conn, vector.id, state, ctx.settings.training.max_attempts, ctx.now())
            hint = f"; `reflexd approve {job}` lets it train" if state == "awaiting_approval" else ""
            ctx.say(f"{vector.name}: promoted, job {job} {state.replace('_', ' ')}{hint}")
            return True
    return False


def _newest_verified(conn: Connection) -> list[VectorRow]:
    """One of each behaviour and line of weights; none where that one is stale, for what it was made of is gone."""
    newest: dict[tuple[str, str], VectorRow] = {}
    for vector in in_state(conn, "verified"):
        newest[vector.behaviour, vector.root_digest] = vector
    return sorted((each for each in newest.values() if each.stale_reason is None), key=lambda vector: vector.id)


def conditions(conn: Connection, vector: VectorRow, settings: PromotionSettings) -> list[Condition]:
    """Everything that stability asks of `vector`, met or not."""
    last = last_verified(conn, vector.behaviour, vector.root_digest, settings.versions)
    pairs = vector_pairs(conn, vector.id)
    sessions = {pair.group for pair in pairs}
    days = episode_days(conn, [episode for pair in pairs for episode in pair.episodes])
    return [
        Condition("verified versions", len(last), settings.versions),
        Condition("sessions", len(sessions), settings.min_sessions),
        Condition("days", len(days), settings.min_days),
        Condition("cosine between versions", _agreement(conn, vector, last), settings.min_cosine),
        Condition("effect above zero in each version", min((v.effect_low or 0.0 for v in last), default=0.0), 0.0),
        Condition("overlap of their effect intervals", _overlap(last), 0.0),
        *_rechecked(conn, vector),
    ]


def _overlap(last: list[VectorRow]) -> float:
    """How far the intervals of all of them overlap, nats a token; below 0 is the gap between two that do not."""
    known = [(v.effect_low, v.effect_high) for v in last if v.effect_low is not None and v.effect_high is not None]
    return min((high for _, high in known), default=0.0) - max((low for low, _ in known), default=0.0)


def _rechecked(conn: Connection, vector: VectorRow) -> list[Condition]:
    """That it held when it was measured last, if it was measured again at all."""
    last = last_recheck(conn, vector.id)
    return [Condition("held when it was measured again", float(last.verdict == "holds"), 1)] if last else []


def _agreement(conn: Connection, vector: VectorRow, last: list[VectorRow]) -> float:
    """The least cosine of `vector` to the other last versions at its layers; 1 when there is no other."""
    layers = [at.layer for at in proved_placements(verification(conn, vector.id), vector)]
    own = _rows(conn, vector, layers)
    cosines = [(own * _rows(conn, other, layers)).sum(axis=1).min() for other in last if other.id != vector.id]
    return float(min(cosines, default=1.0))


def _rows(conn: Connection, vector: VectorRow, layers: list[int]) -> npt.NDArray[np.float64]:
    """(layers, dim), each of length 1."""
    assert vector.blob_sha256 is not None
    n_layers, dim, data = load_blob(conn, vector.blob_sha256)
    rows = np.frombuffer(data, dtype="<f4").reshape(n_layers, dim)[layers].astype(np.float64)
    unit: npt.NDArray[np.float64] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit
