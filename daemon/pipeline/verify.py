"""verify: an extracted version earns its place on directions that were never used to extract it, or is rejected."""

from pathlib import Path

import numpy as np
from sqlalchemy import Connection

from daemon.pipeline.context import Context
from daemon.pipeline.extract import first_of_current_model, split_pairs
from daemon.pipeline.mine import known_behaviours
from daemon.protocol import Rival, VerifyReport, VerifyRequest
from daemon.steering.neutral import load_neutral
from store.models import get_model
from store.served import serve
from store.vectors import VectorRow, in_state, load_blob, mark_verified, reject, supersede, vector_pairs


def verify(ctx: Context) -> bool:
    """Verify one extracted version. False when there is none."""
    waiting = first_of_current_model(ctx, "extracted")
    if waiting is None:
        return False
    _verify_one(ctx, waiting)
    return True


def vector_path(ctx: Context, vector: VectorRow) -> Path:
    """The version's file; written again from the store if somebody removed it."""
    path = ctx.home.vectors / f"{vector.name}.safetensors"
    if not path.exists():
        _rewrite(ctx, vector, path)
    return path


def _rewrite(ctx: Context, vector: VectorRow, path: Path) -> None:
    from daemon.steering.vector_file import from_parts, save

    assert vector.blob_sha256 is not None
    with ctx.store.read() as conn:
        n_layers, dim, data = load_blob(conn, vector.blob_sha256)
        rows = vector_pairs(conn, vector.id)
        model = get_model(conn, vector.model_digest)
    matrix = np.frombuffer(data, dtype="<f4").reshape(n_layers, dim).copy()
    save(
        path,
        from_parts(
            matrix, vector.behaviour, split_pairs(rows)["train"], model.digest, vector.template_digest, vector.lineage
        ),
    )


def _verify_one(ctx: Context, vector: VectorRow) -> None:
    with ctx.store.read() as conn:
        sides = split_pairs(vector_pairs(conn, vector.id))
        model = get_model(conn, vector.model_digest)
        known = {behaviour.name: behaviour for behaviour in known_behaviours(conn, ctx.settings)}
        others = newest_of_others(conn, vector)
    request = VerifyRequest(
        model=model.path,
        vector=vector_path(ctx, vector),
        train=sides["train"],
        validation=sides["validation"],
        test=sides["test"],
        neutral_train=load_neutral("train"),
        neutral_validation=load_neutral("validation"),
        neutral_test=load_neutral("test"),
        behaviour=known.get(vector.behaviour),
        rivals=tuple(Rival(name=other.behaviour, vector=vector_path(ctx, other)) for other in others),
        family=1 + len(others),
        settings=ctx.settings.verification,
        threads=ctx.settings.process.threads,
        rows=ctx.home.activations,
        rows_bytes=ctx.settings.extraction.activations_bytes,
    )
    report = ctx.ask("verify", request, VerifyReport)
    record(ctx, vector, report)


def newest_of_others(conn: Connection, vector: VectorRow) -> list[VectorRow]:
    """The newest version with numbers of each other behaviour, for the same weights and template."""
    newest = {
        other.behaviour: other
        for other in in_state(conn, "extracted", "verified", "promoted", "retired", "superseded", "rejected")
        if other.blob_sha256 is not None
        and other.behaviour != vector.behaviour
        and (other.root_digest, other.template_digest) == (vector.root_digest, vector.template_digest)
    }
    return [newest[name] for name in sorted(newest)]


def record(ctx: Context, vector: VectorRow, report: VerifyReport) -> None:
    """Write the verdict, and what follows from it, in one transaction."""
    body = report.model_dump_json()
    with ctx.store.write() as conn:
        if report.verdict == "refused":
            reject(conn, vector.id, report.reason, ctx.now(), report=body)
            ctx.say(f"{vector.name}: refused: {report.reason}")
            return
        assert report.layer is not None
        assert report.dose is not None
        assert report.coefficient is not None
        assert report.effect is not None
        assert report.effect_interval is not None
        older = [
            v
            for v in in_state(conn, "verified")
            if v.behaviour == vector.behaviour and v.root_digest == vector.root_digest
        ]
        mark_verified(
            conn,
            vector.id,
            report.layer,
            report.dose,
            report.coefficient,
            report.effect,
            report.effect_interval,
            body,
            ctx.now(),
        )
        enabled = ctx.settings.serving.enable == "verified"
        serve(conn, vector.id, report.dose, report.coefficient, enabled, ctx.now())
        for previous in older[: max(0, len(older) + 1 - ctx.settings.promotion.versions)]:
            supersede(conn, previous.id, vector.id, ctx.now())
    ctx.say(
        f"{vector.name}: verified: {report.effect:+.2f} nats a token at layer {report.layer}, dose {report.dose:.2f}"
    )
