"""Without a store: outcomes of one source, vectors of one pairs file, the proof of one vector file."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from daemon.commands.output import json_option, print_fields, print_json, print_rows
from daemon.commands.setup import models_folder
from daemon.errors import DataError, NoInputError, UsageError

if TYPE_CHECKING:
    from daemon.child import ModelProcess
    from daemon.progress import Display
    from daemon.protocol import ExtractReport, LayerStatistics, ScreenReport
    from graph.schema import Pair

EXISTING = click.Path(path_type=Path)
device_option = click.option(
    "--device",
    default="auto",
    show_default=True,
    help="cpu, cuda, cuda:N; auto: a CUDA GPU where torch sees one, else cpu.",
)
_BEST_LAYERS = 5
_TOLD = (
    "verdict",
    "reason",
    "layer",
    "dose",
    "effect",
    "effect_interval",
    "base_gap",
    "steered_gap",
    "steerability",
    "anti_steerable",
    "n_validation",
    "n_test",
    "n_groups",
    "seconds",
)


@click.command()
@click.argument("kind")
@click.argument("path", type=EXISTING)
@json_option
def mine(kind: str, path: Path, as_json: bool) -> None:
    """Show the outcomes in PATH, one source of KIND, without a store.

    KIND is one of those that `reflexd source add --help` lists. Each outcome has its place, its polarity (accepted,
    rejected, corrected or neutral), the signal that says so, its weight, and whether a pair may rest on it.
    """
    from graph.outcomes import mine_outcomes

    rows = [outcome.model_dump(mode="json") for outcome in mine_outcomes(kind, path)]
    print_rows(rows, as_json, empty=f"{path}: no outcomes")


@contextmanager
def _model_process(quiet: bool, device: str) -> Iterator[tuple["ModelProcess", "Display"]]:
    """A model process of one command's own; its log survives only when it failed."""
    from daemon.child import ModelProcess
    from daemon.errors import ModelTaskError
    from daemon.progress import display

    log = Path(tempfile.mkdtemp(prefix="reflexd-")) / "model-process.log"
    with display(quiet) as shown, ModelProcess(log, device=device) as process:
        try:
            yield process, shown
        except ModelTaskError:
            raise
        except BaseException:
            _forget(log)
            raise
        _forget(log)


def _forget(log: Path) -> None:
    log.unlink(missing_ok=True)
    log.parent.rmdir()


@click.command()
@click.option("--pairs", "pairs_file", type=EXISTING, required=True, help="JSON Lines; docs/formats.md.")
@click.option("--model", "spec", required=True, help="A folder, or what `reflexd model add` provided.")
@click.option("--out", type=EXISTING, help="The vector file to write (safetensors).")
@click.option("--screen", is_flag=True, help="Only show how well the pairs agree, in bfloat16 where that is faster.")
@click.option(
    "--aggregator",
    type=click.Choice(["mean_difference", "pca", "logistic"]),
    default="mean_difference",
    show_default=True,
)
@click.option("--threads", type=int, default=0, help="torch threads; 0 = one a core.")
@device_option
@json_option
@click.pass_context
def extract(
    ctx: click.Context,
    pairs_file: Path,
    spec: str,
    out: Path | None,
    screen: bool,
    aggregator: str,
    threads: int,
    device: str,
    as_json: bool,
) -> None:
    """Extract a vector for every layer from all pairs in a file, or only screen the pairs."""
    from daemon.models import resolve
    from daemon.protocol import ExtractReport, ExtractRequest, ScreenReport, ScreenRequest
    from graph.mining.pairs import read_pairs_file

    if screen == (out is not None):
        raise UsageError("give either --out FILE, which is written, or --screen, which writes nothing")
    found = _one_behaviour(read_pairs_file(pairs_file), pairs_file)
    shared = {
        "model": resolve(spec, models_folder(ctx)),
        "pairs": found,
        "behaviour": found[0].behaviour,
        "threads": threads,
    }
    with _model_process(as_json, device) as (process, shown):
        if out is None:
            looked = process.ask(
                "screen", ScreenRequest.model_validate(shared), ScreenReport, on_progress=shown.on_progress
            )
        else:
            request = ExtractRequest.model_validate(shared | {"out": out.absolute(), "aggregator": aggregator})
            report = process.ask("extract", request, ExtractReport, on_progress=shown.on_progress)
    if as_json:
        print_json((looked if out is None else report).model_dump(mode="json"))
    elif out is None:
        _show_screened(looked)
    else:
        _show_extracted(out, report)


def _show_extracted(out: Path, report: "ExtractReport") -> None:
    click.echo(
        f"{out}: {report.n_layers} layers of {report.hidden_size}, from {report.n_pairs} pairs, {report.seconds:.1f} s"
    )
    best = max(report.layers, key=lambda layer: layer.coherence)
    click.echo(
        f"most coherent at layer {best.layer}: mean cosine of pair differences to the vector {best.coherence:.2f}"
    )


def _show_screened(report: "ScreenReport") -> None:
    click.echo(f"{report.n_pairs} pairs, {report.n_layers} layers, read in {report.numbers}, {report.seconds:.1f} s")
    click.echo(f"{report.numbers} because {report.because}")
    best = sorted(report.layers, key=lambda layer: -layer.coherence)[:_BEST_LAYERS]
    print_rows([_of_layer(layer) for layer in best], False, empty="")
    click.echo("nothing was written; `reflexd extract --out FILE` makes the vectors, in float32")


def _of_condition(asked: dict[str, object]) -> dict[str, object]:
    return {"asked": asked["what"], "value": asked["value"], "": asked["sense"]} | {
        name: asked[name] for name in ("bar", "met", "n")
    }


def _of_layer(layer: "LayerStatistics") -> dict[str, object]:
    return {
        "layer": layer.layer,
        "coherence": layer.coherence,
        "split_half_cosine": layer.split_half_cosine,
        "d′": layer.d_prime,
    }


def _one_behaviour(found: list["Pair"], path: Path) -> tuple["Pair", ...]:
    names = sorted({pair.behaviour for pair in found})
    if not found:
        raise DataError(f"{path}: no pairs in it; docs/formats.md shows the format")
    if len(names) > 1:
        raise DataError(f"{path}: pairs of {len(names)} behaviours ({', '.join(names)}); one file, one behaviour")
    return tuple(found)


@click.command()
@click.option("--vector", type=EXISTING, required=True, help="A vector file.")
@click.option(
    "--pairs",
    "pairs_file",
    type=EXISTING,
    required=True,
    help="Pairs; those the vector was extracted from are left out.",
)
@click.option("--model", "spec", required=True, help="A folder, or what `reflexd model add` provided.")
@click.option("--quick", is_flag=True, help="Leave out generated answers, the checks, and the gate.")
@click.option("--threads", type=int, default=0, help="torch threads; 0 = one a core.")
@device_option
@json_option
@click.pass_context
def evaluate(
    ctx: click.Context, vector: Path, pairs_file: Path, spec: str, quick: bool, threads: int, device: str, as_json: bool
) -> None:
    """Prove a vector, or refuse it with the reason, on pairs of groups it was not extracted from."""
    from daemon.models import resolve
    from daemon.offline import held_out_request
    from daemon.protocol import VerifyReport
    from graph.mining.pairs import read_pairs_file

    if not vector.is_file():
        raise NoInputError(f"{vector}: no such vector file; `reflexd extract` makes one")
    found = list(_one_behaviour(read_pairs_file(pairs_file), pairs_file))
    request = held_out_request(resolve(spec, models_folder(ctx)), vector.absolute(), found, pairs_file, threads, quick)
    with _model_process(as_json, device) as (process, shown):
        report = process.ask("verify", request, VerifyReport, on_progress=shown.on_progress)
    body = report.model_dump(mode="json")
    if as_json:
        print_json(body)
    else:
        print_fields({name: body[name] for name in _TOLD if body[name] is not None}, False)
        click.echo()
        print_rows([_of_condition(each) for each in body["conditions"]], False, empty="nothing was steered")
    ctx.exit(0 if report.verdict == "verified" else 1)
