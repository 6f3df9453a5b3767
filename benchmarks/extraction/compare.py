"""Every system on the same pairs, in interleaved rounds: A, B, C, reflexd, A, B, …, and the machine's limit in each.

Each way of running a system is run once untimed: that warms it up, finds its best batch size, and gives its vectors,
which are compared with the oracle's.
"""

import statistics
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from remote import Worker
from usage import Usage

LAST_TOKEN, REPLY_MEAN = 0, 1
DEFAULT_BATCH = {"repeng": 32, "steering_vectors": 1, "caa": 1}
ONE_BATCH = ("caa",)
DEPTH = 0.6

OpenWorker = Callable[[str], Worker]


@dataclass
class Way:
    """One way to run one system, what it took each time, and how near its vectors are to the oracle's at each layer."""

    label: str
    system: str
    arguments: dict[str, Any]
    reading: int
    default: bool = False
    first: Usage | None = None
    cosines: list[float] = field(default_factory=list)
    usages: list[Usage] = field(default_factory=list)

    def cpu(self) -> float:
        """CPU seconds, the median of the rounds."""
        return statistics.median(usage.cpu for usage in self.usages)

    def peak(self) -> float:
        """The most that was resident in any round, MiB."""
        return max(usage.peak for usage in self.usages)


@dataclass
class Comparison:
    """What was found in one case; `loaded` is what each system held with the model in memory, MiB."""

    name: str
    tokens: dict[str, int]
    loaded: dict[str, float]
    ways: list[Way]
    rates: list[float]
    needed: dict[str, float]
    readings: dict[str, list[float]]

    def share(self, way: Way) -> float:
        """Of the CPU time that `way` takes, the part that the machine would need at its limit."""
        return self.needed[way.label] / statistics.median(self.rates) / way.cpu()


def compare(
    name: str, worker: OpenWorker, pairs: Path, n_layers: int, rounds: int, batches: Sequence[int]
) -> Comparison:
    """Run the case `name`; `worker` starts one by the name of its system."""
    every = list(range(n_layers))
    some = list(range(round(n_layers * DEPTH)))
    with ExitStack() as stack:
        systems = ("oracle", "limit", *DEFAULT_BATCH, "reflexd")
        workers = {system: stack.enter_context(worker(system)) for system in systems}
        tokens = {system: each.call("read", pairs=str(pairs)).value["tokens"] for system, each in workers.items()}
        loaded = {system: workers[system].loaded for system in (*DEFAULT_BATCH, "reflexd")}
        truth = workers["oracle"].call("extract", layers=every).array
        assert truth is not None
        ways = [*_peers(every, batches), *_ours(every, some)]
        for way in ways:
            _warm_up(workers[way.system], way, truth)
        readings = workers["repeng"].call("mean_difference", layers=every, batch=DEFAULT_BATCH["repeng"]).array
        assert readings is not None
        ways = _defaults_and_best(ways)
        rates: list[float] = []
        for number in range(rounds):
            for way in ways:
                way.usages.append(workers[way.system].call("extract", **way.arguments).usage)
                _tell(f"{name}: round {number + 1} of {rounds}: {way.label}: {way.usages[-1].cpu:.2f} CPU-s")
            rates.append(float(workers["limit"].call("rate").value))
        needed = {
            way.label: float(workers["limit"].call("needed", layers=way.arguments["layers"]).value) for way in ways
        }
    return Comparison(name, tokens, loaded, ways, rates, needed, {"repeng": cosines(readings, truth[LAST_TOKEN])})


def cosines(found: np.ndarray, truth: np.ndarray) -> list[float]:
    """Of each row with the same row of the other: (layers, hidden) twice, float64."""
    one, two = found.astype(np.float64), truth.astype(np.float64)
    scale = np.linalg.norm(one, axis=1) * np.linalg.norm(two, axis=1)
    return [float(each) for each in (one * two).sum(axis=1) / scale]


def _peers(layers: list[int], batches: Sequence[int]) -> list[Way]:
    """Each peer by its default, and with each of `batches`."""
    found = []
    for system, default in DEFAULT_BATCH.items():
        sizes = [default, *(size for size in batches if size != default and system not in ONE_BATCH)]
        for size in sizes:
            arguments = {"layers": layers, "batch": size}
            found.append(Way(f"{system}, batch {size}", system, arguments, LAST_TOKEN, size == default))
    return found


def _ours(every: list[int], some: list[int]) -> list[Way]:
    return [
        Way("reflexd", "reflexd", {"layers": every}, REPLY_MEAN, default=True),
        Way(f"reflexd, to {DEPTH:.0%} depth", "reflexd", {"layers": some}, REPLY_MEAN, default=True),
    ]


def _warm_up(worker: Worker, way: Way, truth: np.ndarray) -> None:
    answer = worker.call("extract", **way.arguments)
    assert answer.array is not None
    way.first = answer.usage
    way.cosines = cosines(answer.array, truth[way.reading][way.arguments["layers"]])
    _tell(f"first: {way.label}: {answer.usage.cpu:.2f} CPU-s")


def _defaults_and_best(ways: list[Way]) -> list[Way]:
    """Of each system its default, and the one that took least CPU time when run first."""

    def first_cpu(way: Way) -> float:
        assert way.first is not None
        return way.first.cpu

    best = {id(min((w for w in ways if w.system == way.system), key=first_cpu)) for way in ways}
    return [way for way in ways if way.default or id(way) in best]


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
