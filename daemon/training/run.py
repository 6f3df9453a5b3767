"""One training job, from request to report.

    base, gate ─▶ teacher ─▶ rank-1, scaled on validation ─▶ APOLLO from there, scaled on validation ─▶ ± controls
        └─ clean weights asserted before each teacher ─┘                                                   │
    report ◀─ run.json ◀─ weights, measured again from disk ◀─ delta ◀─ gates decide on test ◀─────────────┘

Each step's result is a durable record (`checkpoint`): an attempt that dies loses seconds, and the one after it gives
the same bytes. Nothing is written outside the attempt's folder.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from daemon.durable import make_folder, storage_faults, write_durably
from daemon.protocol import BakeRow, Progress, TrainReport, TrainRequest
from daemon.steering.loading import LoadedModel, load_model
from daemon.training import inputs as inputs_of
from daemon.training.artefacts import remeasure, write_delta, write_weights
from daemon.training.candidates import (
    Walk,
    base_of,
    rank1_of,
    reference_on,
    teacher_of,
    trained_of,
    walk_of,
)
from daemon.training.checkpoint import Ledger, Milestone
from daemon.training.control import control_of
from daemon.training.prepare import Bake, prepare, require_base
from daemon.training.verdict import Verdict, decide, judged
from store.clock import SystemClock


def run_train(
    request: TrainRequest, progress: Callable[[Progress], None], milestone: Milestone, device: str = "cpu"
) -> TrainReport:
    """Train `request.vector` into copies of the weights in `request.model`; all files lie in `request.folder`.

    `milestone` is called with a growing number whenever a record is durable.

    Raises:
        MismatchError: the weights or the vector are not those of the job.
        DataError: there is nothing to train on, the vector does nothing, or training diverged.
        ModelTaskError: what was written is not what was measured.
        FullError: the disk is full or the folder cannot be written.
    """
    clock = SystemClock()
    started = clock.monotonic()
    with storage_faults(request.folder):
        make_folder(request.folder)
    progress(Progress(stage="loading the model", done=0, total=0))
    loaded = load_model(request.model, request.threads, device)
    require_base(loaded, request)
    inputs = inputs_of.described(request)
    ledger = Ledger(request.folder, inputs_of.digest(inputs), milestone)
    if request.resume is not None:
        progress(Progress(stage="resuming", done=0, total=0, note=ledger.adopt(request.resume)))
    bake = prepare(loaded, request, ledger, progress)
    rows, verdict, walk = _bake(bake)
    return _leave(request, loaded, bake, rows, verdict, walk, inputs, lambda: clock.monotonic() - started)


def _bake(bake: Bake) -> tuple[list[BakeRow], Verdict, Walk]:
    """Both candidates and the controls; every row of the report, and which candidate stands."""
    base = base_of(bake)
    teacher = teacher_of(bake, base)
    validation = reference_on(bake, "validation", bake.validation)
    rank1 = rank1_of(bake, base, validation)
    walk = walk_of(bake, base, teacher, rank1)
    trained = trained_of(bake, walk, validation)
    test = reference_on(bake, "test", bake.test)
    on_test = [judged(bake, "rank1", rank1, test), judged(bake, "trained", trained, test)]
    control_rows, control_gates = control_of(bake, base, rank1.scale, trained.scale, test)
    verdict = decide(bake, on_test[0], on_test[1], control_gates, test)
    settings = bake.settings
    rows = [
        test.row("base", test.base, settings.bootstrap, settings.seed),
        test.row("hook", test.hook, settings.bootstrap, settings.seed),
        *(each.row for each in on_test),
        *control_rows,
    ]
    return rows, verdict, walk


def _leave(
    request: TrainRequest,
    loaded: LoadedModel,
    bake: Bake,
    rows: list[BakeRow],
    verdict: Verdict,
    walk: Walk,
    inputs: dict[str, Any],
    elapsed: Callable[[], float],
) -> TrainReport:
    """Write the artefacts and the run record. The weights are written only if the candidate is kept."""
    bake.report(Progress(stage="writing", done=0, total=2, note="delta and weights"))
    chosen, folder = verdict.chosen, request.folder
    delta, weights, record = folder / "delta.safetensors", folder / "weights", folder / "run.json"
    delta_sha256 = write_delta(delta, bake.subject, chosen.candidate, inputs)
    digest = ""
    if verdict.passed:
        write_weights(weights, request.model, bake.subject, chosen.candidate)
        bake.report(Progress(stage="writing", done=1, total=2, note="measuring the written weights again"))
        digest = remeasure(weights, request, loaded, chosen.measured.gap).digest
    found = {
        "passed": verdict.passed,
        "reason": verdict.reason,
        "selected": chosen.name,
        "scale": chosen.candidate.scale,
        "gates": [gate.model_dump(mode="json") for gate in verdict.gates],
        "rows": [row.model_dump(mode="json") for row in rows],
        "losses": walk.losses,
        "delta_sha256": delta_sha256,
        "weights_digest": digest,
    }
    _write_record(record, {"schema": 1, "inputs": inputs, "result": found})
    return TrainReport(
        passed=verdict.passed,
        reason=verdict.reason,
        gates=verdict.gates,
        rows=tuple(rows),
        selected=chosen.name,
        delta=delta,
        delta_sha256=delta_sha256,
        weights=weights,
        weights_digest=digest,
        run_record=record,
        steps=len(walk.losses),
        optimizer_state_bytes=walk.state_bytes,
        seconds=elapsed(),
    )


def _write_record(path: Path, record: dict[str, Any]) -> None:
    """JSON for people and programs; numbers that are not numbers become null."""
    write_durably(path, orjson.dumps(record, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n")
