"""Extraction of steering vectors, reflexd beside its peers, in one run: same model, pairs, layers and threads.

    PYTHONPATH=. python benchmarks/extraction/run.py --model FOLDER --pairs generate_dataset.json --work FOLDER

What is measured, and how, stands in README.md beside this file.
"""

import json
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import cases
import click
import parts
import shapes
import torch
import transformers
from compare import Comparison, compare
from environment import peer_python
from remote import Worker
from table import Goal, comparison_goals, comparison_lines

PARTS = ("caa", "gemma", "chats", "refresh", "growth", "doses")
OURS = ("oracle", "limit", "reflexd")
SHALLOW_LAYERS = 2
# Times the best peer: for all layers, for those up to 60 % depth; and the peak memory of repeng over ours.
WANTED: dict[str, tuple[tuple[float, float | None], float | None]] = {
    "caa": ((2.2, 4.0), 4.0),
    "gemma": ((5.0, 8.0), None),
    "chats": ((6.0, None), None),
}


def start(model: Path, peers: Path, folder: Path, threads: int, system: str) -> Worker:
    """A worker for `system`: reflexd's and the yardsticks by this interpreter, a peer by its own."""
    python = Path(sys.executable) if system in OURS else peer_python(peers)
    return Worker(system, model, python, folder, threads)


def layers_of(model: Path) -> int:
    """How many blocks a model has."""
    config: dict[str, Any] = json.loads((model / "config.json").read_text())
    return int(config["num_hidden_layers"])


@click.command()
@click.option(
    "--model", type=click.Path(exists=True, path_type=Path), required=True, help="Folder of SmolLM2-135M-Instruct."
)
@click.option(
    "--pairs", type=click.Path(exists=True, path_type=Path), required=True, help="A CAA generate_dataset.json."
)
@click.option(
    "--work", type=click.Path(path_type=Path), required=True, help="Where the peers and made models are kept."
)
@click.option(
    "--part", "chosen", multiple=True, type=click.Choice(PARTS), help="Only these; may be given several times."
)
@click.option("--rounds", default=3, show_default=True)
@click.option("--threads", default=1, show_default=True)
@click.option(
    "--batch", "batches", multiple=True, type=int, default=(1, 8), show_default=True, help="For the peers to try."
)
@click.option("--caa-pairs", default=16, show_default=True)
@click.option("--gemma-pairs", default=8, show_default=True)
@click.option("--conversations", default=8, show_default=True, help="That chats share.")
@click.option("--pairs-each", default=8, show_default=True, help="Pairs of one conversation.")
@click.option("--known-pairs", default=1_000, show_default=True, help="To which ten more come.")
@click.option("--many-pairs", default=parts.MANY_PAIRS, show_default=True, help="What memory must not grow with.")
@click.option("--json", "out", type=click.Path(path_type=Path), help="Also write everything here.")
def main(
    model: Path,
    pairs: Path,
    work: Path,
    chosen: tuple[str, ...],
    rounds: int,
    threads: int,
    batches: tuple[int, ...],
    caa_pairs: int,
    gemma_pairs: int,
    conversations: int,
    pairs_each: int,
    known_pairs: int,
    many_pairs: int,
    out: Path | None,
) -> None:
    """Measure, print, and tell which goals are reached."""
    wanted = chosen or PARTS
    folder = work / "run"
    starter = partial(start, peers=work / "peers", folder=folder, threads=threads)
    first = cases.write(folder / "caa.jsonl", cases.caa(pairs, caa_pairs))
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, threads {threads}, rounds {rounds}")
    results: dict[str, Any] = {}
    goals: list[Goal] = []

    def note(name: str, lines: list[str], reached: list[Goal], result: Any) -> None:
        print(*lines, "", sep="\n", flush=True)
        goals.extend(reached)
        results[name] = result
        if out is not None:
            out.write_text(json.dumps({"results": results, "goals": [asdict(goal) for goal in goals]}, indent=1))

    def side_by_side(name: str, path: Path, of: Path) -> None:
        found: Comparison = compare(
            name, lambda system: starter(of, system=system), path, layers_of(of), rounds, batches
        )
        note(name, comparison_lines(found), comparison_goals(found, *WANTED[name]), asdict(found))

    if "caa" in wanted:
        side_by_side("caa", first, model)
    if "gemma" in wanted:
        fewer = cases.write(folder / "gemma.jsonl", cases.caa(pairs, gemma_pairs))
        side_by_side("gemma", fewer, shapes.gemma(work / "gemma-shape", model))
    if "chats" in wanted:
        side_by_side("chats", cases.write(folder / "chats.jsonl", cases.chats(conversations, pairs_each)), model)
    if "refresh" in wanted:
        reflexd = partial(starter, model, system="reflexd")
        note("refresh", *parts.refresh(reflexd, folder, layers_of(model), known_pairs, rounds))
    if "growth" in wanted:
        cut = shapes.shallow(work / f"shallow-{SHALLOW_LAYERS}", model, SHALLOW_LAYERS)
        note("growth", *parts.growth(partial(starter, cut, system="reflexd"), folder, SHALLOW_LAYERS, many_pairs))
    if "doses" in wanted:
        note("doses", *parts.doses(partial(starter, model, system="reflexd"), first, layers_of(model), rounds))
    print(*(goal.line() for goal in goals), sep="\n")


if __name__ == "__main__":
    main()
