"""extract: a vector version for each behaviour whose evidence changed enough since the last one for this model."""

import orjson
from sqlalchemy import Connection

from daemon.errors import MismatchError
from daemon.lineage import cosines_to_parent, lineage_of
from daemon.pipeline.context import Context
from daemon.pipeline.mine import as_pair
from daemon.protocol import ExtractReport, ExtractRequest
from daemon.refresh import Decision, Evidence, Parent, Rule, decide
from daemon.settings import ExtractionSettings
from graph.schema import Pair, pairs_digest
from store.evidence import PairRow, list_behaviours, live_pairs
from store.lineage import newest_version, version_of_evidence
from store.models import ModelRow, current_model, get_model
from store.vectors import VectorRow, create_candidate, in_state, latest, mark_extracted, reject, vector_pairs


def extract(ctx: Context) -> bool:
    """Bring one version from nothing to extracted. False when every behaviour is up to date."""
    _reject_stale(ctx)
    _propose(ctx)
    candidate = first_of_current_model(ctx, "candidate")
    if candidate is None:
        return False
    _extract_one(ctx, candidate)
    return True


def first_of_current_model(ctx: Context, state: str) -> VectorRow | None:
    """The oldest version in `state` that belongs to the model in use: another model's wait until it is back.

    A stale one goes no further: nobody needs its numbers or its proof.
    """
    with ctx.store.read() as conn:
        model = current_model(conn)
        found = [v for v in in_state(conn, state) if v.stale_reason is None]
    waiting = [v for v in found if model is not None and v.root_digest == model.root_digest]
    return waiting[0] if waiting else None


def _reject_stale(ctx: Context) -> None:
    """A version whose evidence went bad before it was proved is no version to compare with, or to wait for."""
    with ctx.store.read() as conn:
        stale = [v for v in in_state(conn, "candidate", "extracted") if v.stale_reason is not None]
    for vector in stale:
        reason = f"stale before it was proved: {vector.stale_reason}"
        with ctx.store.write() as conn:
            reject(conn, vector.id, reason, ctx.now())
        ctx.say(f"{vector.name}: {reason}")


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
    settings = ctx.settings.extraction
    with ctx.store.write() as conn:
        decision = due(conn, settings, model, name, rows)
        if not decision.make:
            if decision.because:
                ctx.say(f"{name}: {decision.because}")
            return
        parent = newest_version(conn, name, model.root_digest) or latest(conn, name)
        digest, recipe = _digest(rows), _recipe(settings)
        lineage = lineage_of(model, parent.name if parent else None, digest, recipe, decision.because)
        sides = {row.id: row.split for row in rows}
        made = create_candidate(conn, name, model.digest, model.root_digest, digest, recipe, lineage, sides, ctx.now())
    ctx.say(f"{made.name}: a new version: {decision.because}")


def next_version(conn: Connection, settings: ExtractionSettings, name: str) -> Decision | None:
    """Whether the next look makes a version of a behaviour, and why, or what it waits for; None without a model."""
    model = current_model(conn)
    return due(conn, settings, model, name, live_pairs(conn, name)) if model is not None else None


def due(conn: Connection, settings: ExtractionSettings, model: ModelRow, name: str, rows: list[PairRow]) -> Decision:
    """Whether these live pairs of a behaviour are worth a new version for `model`, and why, or what waits."""
    parent = newest_version(conn, name, model.root_digest)
    in_training = sum(row.split == "train" for row in rows)
    if in_training < settings.min_pairs:
        stale = parent is not None and parent.stale_reason is not None
        return Decision(False, _too_few(in_training, settings.min_pairs, parent if stale else None))
    recipe = _recipe(settings)
    same = version_of_evidence(conn, name, model.root_digest, model.template_digest, _digest(rows), recipe)
    if same is not None:
        again = parent is not None and parent.id != same.id
        return Decision(False, f"the evidence is that of {same.name} again; no new version" if again else "")
    now = _evidence(rows, recipe, model.template_digest)
    rule = Rule(settings.refresh_share, settings.refresh_cosine)
    return decide(_as_parent(conn, parent) if parent else None, now, rule)


def _too_few(in_training: int, needed: int, stale: VectorRow | None) -> str:
    if not in_training and stale is None:
        return ""
    told = f"{in_training} training pairs, {needed} are needed; waiting"
    return told if stale is None else f"{told}, and {stale.name} is stale: {stale.stale_reason}"


def _as_parent(conn: Connection, vector: VectorRow) -> Parent:
    evidence = _evidence(vector_pairs(conn, vector.id), vector.recipe, vector.template_digest)
    return Parent(vector.name, vector.state, evidence, vector.stale_reason, _split_half(vector))


def _split_half(vector: VectorRow) -> float | None:
    """At the chosen layer; before one was chosen, at the one whose halves agree best."""
    layers = orjson.loads(vector.lineage).get("layers", [])
    found = {layer["layer"]: float(layer["split_half_cosine"]) for layer in layers}
    return found.get(vector.layer, max(found.values(), default=None))


def _evidence(rows: list[PairRow], recipe: str, template: str) -> Evidence:
    train = frozenset(row.id for row in rows if row.split == "train")
    return Evidence(train, frozenset(row.id for row in rows) - train, recipe, template)


def _recipe(settings: ExtractionSettings) -> str:
    """What decides the vector beside pairs and model; a key that came later counts where it is not the usual value."""
    whole = settings.model_dump(include={"aggregator", "seed", "depth"})
    return orjson.dumps({key: value for key, value in whole.items() if key != "depth" or value < 1}).decode()


def _digest(rows: list[PairRow]) -> str:
    return pairs_digest([as_pair(row) for row in rows])


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
        rows=ctx.home.activations,
        rows_bytes=ctx.settings.extraction.activations_bytes,
        **recipe,
    )
    report = ctx.ask("extract", request, ExtractReport)
    if (report.model_digest, report.template_digest) != (vector.model_digest, vector.template_digest):
        raise MismatchError(
            f"{model.path}: its files changed since it was added as {model.name}; `reflexd model add` it again"
        )
    matrix = _matrix(report)
    with ctx.store.write() as conn:
        lineage = orjson.loads(vector.lineage) | {
            "seconds": round(report.seconds, 2),
            "libraries": report.libraries,
            "threads": report.threads,
            "device": report.device,
            "cosine_to_parent": cosines_to_parent(conn, vector, report.hidden_size, matrix),
            "layers": [layer.model_dump() for layer in report.layers],
        }
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
