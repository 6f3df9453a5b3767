"""The control: a random vector of equal norm, and its opposite, baked the same way. It must not show the behaviour.

One random direction has an effect of its own, of either sign (measured: a third of the vector's); over a direction and
its opposite that cancels, and what is left is what training on these replies does whatever the vector. Each sign has a
teacher of its own, from the clean base: from weights that were already baked, a control "found" 0.58 of the effect.
"""

from functools import partial

from daemon.protocol import BakeRow, Gate, Progress
from daemon.training.candidates import Candidate, walked
from daemon.training.evaluate import Measurement, Reference, averaged, read_variant
from daemon.training.gates import control_gate, reported
from daemon.training.prepare import Bake
from daemon.training.subject import Shifts
from daemon.training.teacher import Base, Teacher, read_teacher
from daemon.training.texts import Reading

_SEED = 1_000_003


def control_of(
    bake: Bake, base: Base, gate_scale: float, delta_scale: float, test: Reference
) -> tuple[list[BakeRow], list[Gate]]:
    """Rows `control_hook` and `control`, and the gates that judge them; nothing where the settings leave it out."""
    settings = bake.settings
    if not settings.control:
        return [], []
    shifts = bake.subject.random_shifts(settings.seed + _SEED)
    signs = {"plus": shifts, "minus": {layer: -shift for layer, shift in shifts.items()}}
    hooked, baked = [], []
    for number, (sign, each) in enumerate(signs.items()):
        bake.report(Progress(stage="control", done=number, total=2, note=f"random vector, {sign}"))
        hooked.append(test.measure(bake.ledger.recall(f"test-control-hook-{sign}", partial(_hooked, bake, each))))
        baked.append(_baked(bake, base, sign, each, gate_scale, delta_scale, test))
    row = test.row("control", averaged(*baked), settings.bootstrap, settings.seed)
    n = len(bake.test.pairs.groups)
    gates = [control_gate(row, settings.gates, n)]
    gates += [
        reported(f"control_ratio:{sign}", test.row("control", each, 1, 0).effect_ratio, n)
        for sign, each in zip(signs, baked, strict=True)
    ]
    return [test.row("control_hook", averaged(*hooked), settings.bootstrap, settings.seed), row], gates


def _hooked(bake: Bake, shifts: Shifts) -> Reading:
    with bake.subject.hooked(shifts):
        return read_variant(bake.subject, bake.test)


def _baked(
    bake: Bake, base: Base, sign: str, shifts: Shifts, gate_scale: float, delta_scale: float, test: Reference
) -> Measurement:
    """One sign, through the same gate, the same walk and the same scales as the vector."""

    def teacher() -> dict[str, object]:
        return read_teacher(bake.subject, shifts, bake.train, base)

    start = Candidate(bake.subject.rank1(shifts, base.gates), gate_scale)
    steps = bake.settings.control_steps or bake.settings.steps
    walk = walked(
        bake, f"control-{sign}", base, Teacher(**bake.ledger.recall(f"teacher-control-{sign}", teacher)), start, steps
    )

    def compute() -> Reading:
        with bake.subject.changed(walk.change, delta_scale):
            return read_variant(bake.subject, bake.test)

    return test.measure(bake.ledger.recall(f"test-control-{sign}", compute))
