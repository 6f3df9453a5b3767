"""A proved vector measured again at its place: other weights of the same line, another template, newer directions."""

from daemon.proof.held_out import HeldOut, group_interval
from daemon.proof.prepared import OnProgress, prepare_neutral
from daemon.proof.side_effects import side_effects
from daemon.protocol import Progress, RecheckReport, RecheckRequest
from daemon.steering.apply import deltas_at
from daemon.steering.loading import LoadedModel
from daemon.steering.vector_file import load, require_shape
from store.clock import SystemClock


def run_recheck(loaded: LoadedModel, request: RecheckRequest, on_progress: OnProgress) -> RecheckReport:
    """Effect and side effects, nothing chosen. What is added is what servers add: the coefficients of the proof.

    Raises:
        MismatchError: The vector is of another width, or a layer is not there.
        DataError: The file is malformed.
    """
    clock = SystemClock()
    started = clock.monotonic()
    file = load(request.vector)
    shape = (loaded.layout.n_layers, loaded.layout.hidden_size)
    require_shape(file, request.vector, shape, [at.layer for at in request.placements])
    deltas = deltas_at(file, request.placements)
    on_progress(Progress(stage="measuring again", done=0, total=2))
    lowest = min(deltas)
    held_out = HeldOut.of(loaded, request.test, [lowest])
    effect = held_out.effects(deltas)
    on_progress(Progress(stage="measuring again", done=1, total=2))
    quiet = prepare_neutral(loaded, request.neutral_test, [lowest])
    told, _ = side_effects(quiet, deltas)
    on_progress(Progress(stage="measuring again", done=2, total=2))
    return RecheckReport(
        effect=float(effect.mean()),
        effect_interval=group_interval(effect, request.test, request.bootstrap, request.seed),
        side_effects=told,
        n_test=len(request.test),
        n_groups=len({pair.group for pair in request.test}),
        model_digest=loaded.digest,
        template_digest=loaded.template_digest,
        seconds=clock.monotonic() - started,
    )
