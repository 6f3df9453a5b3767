"""What only reflexd is asked: ten more pairs, a hundred times as many pairs, and doses in units of a forward pass."""

import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cases
from remote import Worker
from table import Goal

DOSES = 9
MORE_PAIRS = 10
FEW_PAIRS, MANY_PAIRS = 100, 10_000

OpenWorker = Callable[[], Worker]


def refresh(
    worker: OpenWorker, folder: Path, n_layers: int, known: int, rounds: int
) -> tuple[list[str], list[Goal], Any]:
    """CPU seconds for `known` pairs and ten more: from scratch, and when the activations of the known ones are kept."""
    pairs = cases.short(known + MORE_PAIRS)
    before, after = cases.write(folder / "known.jsonl", pairs[:known]), cases.write(folder / "more.jsonl", pairs)
    layers, scratch, again = list(range(n_layers)), [], []
    with worker() as reflexd, tempfile.TemporaryDirectory() as kept:
        reflexd.call("read", pairs=str(before))
        reflexd.call("refresh", layers=layers, folder=f"{kept}/before")
        reflexd.call("read", pairs=str(after))
        for number in range(rounds):
            shutil.copytree(f"{kept}/before", f"{kept}/{number}")
            again.append(reflexd.call("refresh", layers=layers, folder=f"{kept}/{number}").usage.cpu)
            scratch.append(reflexd.call("extract", layers=layers).usage.cpu)
            print(
                f"refresh: round {number + 1}: {again[-1]:.2f} of {scratch[-1]:.2f} CPU-s", file=sys.stderr, flush=True
            )
    times = statistics.median(scratch) / statistics.median(again)
    told = f"scratch {statistics.median(scratch):.2f} CPU-s, refresh {statistics.median(again):.3f} CPU-s"
    goal = Goal(f"{MORE_PAIRS} more on {known:,} pairs: scratch / refresh", times, 50)
    return [f"== refresh: {MORE_PAIRS} more on {known:,}: {told}"], [goal], {"scratch": scratch, "refresh": again}


def growth(worker: OpenWorker, folder: Path, n_layers: int, many: int) -> tuple[list[str], list[Goal], Any]:
    """MiB that extraction holds above what was there before, for few pairs and many, each in a process of its own."""
    held, lines = {}, [f"== growth: {n_layers} layers"]
    for n in (FEW_PAIRS, many):
        pairs = cases.write(folder / f"short-{n}.jsonl", cases.short(n))
        with worker() as reflexd:
            reflexd.call("read", pairs=str(pairs))
            reflexd.call("warm", layers=list(range(n_layers)), pairs=FEW_PAIRS)
            usage = reflexd.call("extract", layers=list(range(n_layers))).usage
            given = usage.before - reflexd.loaded
        held[n] = usage.peak - usage.before
        lines.append(
            f"{n:,} pairs: {held[n]:.0f} MiB more than before the call; peak {usage.peak:.0f} MiB, the model "
            f"{reflexd.loaded:.0f} MiB, the pairs and a warm-up {given:.0f} MiB; {usage.cpu:.1f} CPU-s"
        )
    goal = Goal(f"memory from {FEW_PAIRS} to {many:,} pairs, MiB", held[many] - held[FEW_PAIRS], 50, at_most=True)
    return lines, [goal], held


def doses(worker: OpenWorker, pairs: Path, n_layers: int, rounds: int) -> tuple[list[str], list[Goal], Any]:
    """CPU time of nine doses at the middle layer, the pass that is remembered included, over that of one plain pass."""
    layer, plain, nine = n_layers // 2, [], []
    with worker() as reflexd:
        reflexd.call("read", pairs=str(pairs))
        batches = reflexd.call("ready_doses", layer=layer).value
        reflexd.call("plain")
        for number in range(rounds):
            plain.append(reflexd.call("plain").usage.cpu)
            nine.append(reflexd.call("doses", layer=layer, n=DOSES).usage.cpu)
            print(f"doses: round {number + 1}: {nine[-1]:.2f} of {plain[-1]:.2f} CPU-s", file=sys.stderr, flush=True)
    times = statistics.median(nine) / statistics.median(plain)
    least = 1 + DOSES * (n_layers - layer - 1) / n_layers
    line = (
        f"== doses: {DOSES} at block {layer} of {n_layers}, {batches} batches: {statistics.median(nine):.2f} CPU-s, "
        f"a plain pass {statistics.median(plain):.2f} CPU-s; by the blocks that run, {least:.2f} passes"
    )
    return (
        [line],
        [Goal(f"{DOSES} doses, in forward passes", times, 5.5, at_most=True)],
        {"plain": plain, "doses": nine},
    )
