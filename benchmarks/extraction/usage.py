"""What a piece of work took: CPU seconds of all threads, wall seconds, the most memory that was held. Linux only."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MIB = 1024


@dataclass(frozen=True)
class Usage:
    """`cpu` and `wall` in seconds; `before` and `peak` are resident MiB, of which the latter is the most since."""

    cpu: float
    wall: float
    before: float
    peak: float


def measured(work: Callable[[], Any]) -> tuple[Any, Usage]:
    """What `work` gives, and what it took."""
    forget_peak()
    before = resident("VmRSS")
    wall, cpu = time.perf_counter(), time.process_time()
    answer = work()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return answer, Usage(cpu, wall, before, resident("VmHWM"))


def forget_peak() -> None:
    """From here on the high-water mark is counted anew; where the kernel forbids it, it is that since the start."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def resident(field: str) -> float:
    """A field of this process's status, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / MIB for line in lines if line.startswith(f"{field}:"))
