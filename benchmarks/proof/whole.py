"""One whole verification, as the daemon does it: how long it takes, stage by stage.

    PYTHONPATH=. python benchmarks/proof/whole.py --model FOLDER [--threads 2]

The pairs of an example memory, whole sessions on each side: as many test pairs as asked for, ten or more for
The pairs of an example memory, whole sessions on each side: as many test pairs as asked for, ten or more for
generations, checks and gate included.
"""

import tempfile
import time
from pathlib import Path

import click
from counting import keep
from memories import pairs_of

from daemon.proof.verify import run_verify
from daemon.protocol import ExtractRequest, Progress, Rival, VerifyRequest
from daemon.steering.extract import run_extract
from daemon.steering.loading import load_model
from daemon.steering.neutral import load_neutral
from graph.behaviours.patterns import BUILTIN
from graph.schema import Pair

VALIDATION = 10


def sides(pairs: list[Pair], tests: int) -> dict[str, tuple[Pair, ...]]:
    """Whole sessions in the order in which they come."""
    found: dict[str, list[Pair]] = {"test": [], "validation": [], "train": []}
    for group in dict.fromkeys(pair.group for pair in pairs):
        short = (side for side, wanted in (("test", tests), ("validation", VALIDATION)) if len(found[side]) < wanted)
        found[next(short, "train")] += [pair for pair in pairs if pair.group == group]
    found["test"] = found["test"][:tests]
    return {side: tuple(some) for side, some in found.items()}


class Watch:
    """Seconds of each stage; a stage begins with its first sign of progress."""

    def __init__(self) -> None:
        self.stages: dict[str, float] = {}
        self.last = ("before", time.monotonic())

    def __call__(self, told: Progress) -> None:
        if told.stage == self.last[0]:
            return
        now = time.monotonic()
        self.stages[self.last[0]] = self.stages.get(self.last[0], 0.0) + now - self.last[1]
        self.last = (told.stage, now)
        print(f"  {told.stage} …", flush=True)


@click.command()
@click.option("--model", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--tests", default=40, show_default=True, help="Test pairs.")
@click.option("--threads", default=2, show_default=True)
@click.option("--json", "out", type=click.Path(path_type=Path))
def main(model: Path, tests: int, threads: int, out: Path | None) -> None:
    loaded = load_model(model, threads)
    own, other = BUILTIN[0], BUILTIN[1]
    with tempfile.TemporaryDirectory() as name:
        folder, given = Path(name), sides(pairs_of(own), tests)
        shared = {"model": model, "rows": folder / "rows", "rows_bytes": 1 << 30}
        for behaviour, pairs in ((own, given["train"]), (other, tuple(pairs_of(other)))):
            path = folder / f"{behaviour.name}.safetensors"
            request = ExtractRequest(pairs=pairs, out=path, behaviour=behaviour.name, **shared)
            run_extract(loaded, request, lambda _: None)
        print(f"{own.name}: {' / '.join(str(len(some)) for some in given.values())} test, validation, training pairs")
        watch = Watch()
        report = run_verify(
            loaded,
            VerifyRequest(
                vector=folder / f"{own.name}.safetensors",
                **given,
                neutral_train=load_neutral("train"),
                neutral_validation=load_neutral("validation"),
                neutral_test=load_neutral("test"),
                behaviour=own,
                rivals=(Rival(name=other.name, vector=folder / f"{other.name}.safetensors"),),
                family=2,
                **shared,
            ),
            watch,
        )
        watch(Progress(stage="end", done=0, total=0))
    for stage, seconds in watch.stages.items():
        print(f"{stage:28} {seconds:7.1f} s")
    print(f"{'all of it':28} {report.seconds:7.1f} s on {threads} threads")
    print(f"{report.verdict}: {report.reason or f'{report.effect:+.2f} nats a token'}")
    figures = {"seconds": report.seconds, "threads": threads, "stages": watch.stages, "verdict": report.verdict}
    keep(figures, out)


if __name__ == "__main__":
    main()
