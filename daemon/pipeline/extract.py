"""extract: a vector version for each behaviour whose evidence and model have none yet."""

import platform

import orjson

from daemon import __version__
from daemon.errors import MismatchError
from daemon.pipeline.context import Context
from daemon.pipeline.mine import as_pair
from daemon.protocol import ExtractReport, ExtractRequest
from graph.schema import Pair, pairs_digest
from store.evidence import PairRow, list_behaviours, live_pairs
from store.models import ModelRow, current_model, get_model
from store.vectors import VectorRow, create_candidate, find_candidate, in_state, mark_extracted, vector_pairs


def extract(ctx: Context) -> bool:
    """Bring one version from nothing to extracted. False when every behaviour is up to date."""
    _propose(ctx)
    candidate = first_of_current_model(ctx, "candidate")
    if candidate is None:
        return False
    _extract_one(ctx, candidate)
    return True


def first_of_current_model(ctx: Context, state: str) -> VectorRow | None:
    """The oldest version in `state` that belongs to the model in use: another model's wait until it is back."""
    with ctx.store.read() as conn:
        model = current_model(conn)
        waiting = [v for v in in_state(conn, state) if model is not None and v.root_digest == model.root_digest]
    return waiting[0] if waiting else None


def _propose(ctx: Context) -> None:
    """A candidate for each behaviour with enough training pairs and new evidence, for the current model."""
    with ctx.store.read() as conn:
        wanted = {behaviour.name for behaviour in ctx.behaviours()}  # one that was switched off is not
        known = [row.name for row in list_behaviours(conn) if row.name in wanted or row.origin == "graph"]
        evidence = {name: live_pairs(conn, name) for name in known}
    if not any(evidence.values()):
        return
    model = ctx.model()
    for name, rows in evidence.items():
        _propose_one(ctx, model, name, rows)


def _propose_one(ctx: Context, model: ModelRow, name: str, rows: list[PairRow]) -> None:
    in_training = sum(row.split == "train" for row in rows)
    if in_training < ctx.settings.extraction.min_pairs:
        if in_training:
            ctx.say(f"{name}: {in_training} training pairs, {ctx.settings.extraction.min_pairs} are needed; waiting")
        return
    recipe = orjson.dumps(ctx.settings.extraction.model_dump(include={"aggregator", "seed"})).decode()
    digest = pairs_digest([as_pair(row) for row in rows])
    with ctx.store.write() as conn:
        if find_candidate(conn, name, model.root_digest, digest, recipe) is None:
            sides = {row.id: row.split for row in rows}
            create_candidate(
                conn, name, model.digest, model.root_digest, digest, recipe, _lineage(model), sides, ctx.now()
            )


def _lineage(model: ModelRow) -> str:
    return orjson.dumps(
        {
            "code_version": __version__,
            "python": platform.python_version(),
            "model_digest": model.digest,
            "template_digest": model.template_digest,
        }
    ).decode()


def split_pairs(rows: list[PairRow]) -> dict[str, tuple[Pair, ...]]:
    """The pairs of each side, as the model side wants them, in a fixed order."""
    ordered = sorted(rows, key=lambda row: row.id)
    sides = ("train", "validation", "test")
    return {side: tuple(as_pair(row) for row in ordered if row.split == side) for side in sides}


def _extract_one(ctx: Context, vector: VectorRow) -> None:
    with ctx.store.read() as conn:
        sides = split_pairs(vector_pairs(conn, vector.id))
        model = get_model(conn, vector.model_digest)
    recipe = orjson.loads(vector.recipe)
    request = ExtractRequest(
        model=model.path,
        pairs=sides["train"],
        out=ctx.home.vectors / f"{vector.name}.safetensors",
        behaviour=vector.behaviour,
        threads=ctx.settings.process.threads,
        **recipe,
    )
    report = ctx.ask("extract", request, ExtractReport)
    if report.model_digest != vector.model_digest:
        raise MismatchError(
            f"{model.path}: its files changed since it was added as {model.name}; `reflexd model add` it again"
        )
    matrix = _matrix(report)
    lineage = orjson.loads(vector.lineage) | {
        "seconds": round(report.seconds, 2),
        "layers": [layer.model_dump() for layer in report.layers],
    }
    with ctx.store.write() as conn:
        mark_extracted(
            conn,
            vector.id,
            report.sha256,
            report.n_layers,
            report.hidden_size,
            matrix,
            ctx.now(),
            lineage=orjson.dumps(lineage).decode(),
        )
    ctx.say(f"{vector.name}: extracted from {report.n_pairs} pairs, {report.n_layers} layers, {report.seconds:.1f} s")


def _matrix(report: ExtractReport) -> bytes:
    from daemon.steering.vector_file import load

    return load(report.path).vectors.astype("<f4").tobytes()
