"""How busy other processes keep the machine, and the patience to wait until they are less so. Linux; no torch.

    share of the cores = (busy ticks of all processes − those of our own) / (ticks of all cores)      between two looks
    share of the GPU   = the larger of its utilisation and of its memory that others hold             as nvidia-smi says

Where the system does not tell (no /proc/stat, no nvidia-smi), nobody is taken for busy.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

LOOK_S = 2.0
"""Seconds between two looks at the cores."""
_NOTE = "waiting.txt"
_BEAT_S = 0.5
_SMI_WITHIN_S = 5.0
_GPU = "utilization.gpu,memory.used,memory.total"
_APPS = "pid,used_memory"


@dataclass(frozen=True)
class Ticks:
    """Clock ticks since the start of the machine, of all cores together: at work for anybody, and in all."""

    busy: int
    total: int


@dataclass(frozen=True)
class Look:
    """One look: the machine's ticks, and those of `own` processes, by process."""

    machine: Ticks
    own: dict[int, int]


@dataclass(frozen=True)
class Load:
    """What share of `what` (the cores, the GPU) others use, from 0 to 1."""

    share: float
    what: str

    def __str__(self) -> str:
        return f"other processes use {self.share:.0%} of the {self.what}".replace("%", " %")


def parse_machine(text: str) -> Ticks:
    """The first line of /proc/stat: user nice system idle iowait irq softirq steal guest guest_nice.

    Guests are counted in user and nice already. Time that a hypervisor took away is nobody's work.

    Raises:
        ValueError: It is something else.
    """
    name, *fields = text.partition("\n")[0].split()
    if name != "cpu" or len(fields) < 4:
        raise ValueError(f"not the first line of /proc/stat: {text[:40]!r}")
    numbers = [int(field) for field in fields[:8]]
    total, idle = sum(numbers), sum(numbers[3:5]) + sum(numbers[7:8])
    return Ticks(total - idle, total)


def parse_process(text: str) -> int:
    """Ticks of one process and of its children that were waited for, from /proc/PID/stat.

    The name, in brackets, may hold anything, brackets and spaces too.

    Raises:
        ValueError: It is something else.
    """
    fields = text.rpartition(")")[2].split()
    if len(fields) < 15:
        raise ValueError(f"not the line of /proc/PID/stat: {text[:40]!r}")
    return sum(int(field) for field in fields[11:15])


def parse_gpu(text: str, apps: str, own: Iterable[int]) -> float:
    """Share of a GPU that others use, from nvidia-smi's lines `utilisation, used, total` and `pid, used` (MiB).

    A field that the card does not tell ("[N/A]") counts as 0.
    """
    utilisation, used, total, *_ = (_number(field) for field in [*text.partition("\n")[0].split(","), "", "", ""])
    mine = set(own)
    for line in apps.splitlines():
        process, _, held = line.partition(",")
        if _number(process) in mine:
            used -= _number(held)
    return max(utilisation / 100, used / total if total else 0.0, 0.0)


def _number(field: str) -> int:
    return int(field.strip()) if field.strip().isdecimal() else 0


def others_share(before: Look, after: Look) -> float:
    """Share of all cores that others used between two looks, from 0 to 1.

    Of a process that came in between, all of its ticks are new; of one that went, whatever it did is in its parent's.
    """
    total = after.machine.total - before.machine.total
    if total <= 0:
        return 0.0
    mine = sum(ticks - before.own.get(process, 0) for process, ticks in after.own.items())
    mine -= sum(ticks for process, ticks in before.own.items() if process not in after.own)
    return min(max((after.machine.busy - before.machine.busy - max(mine, 0)) / total, 0.0), 1.0)


@dataclass(frozen=True)
class Meter:
    """Reads `proc`, and asks nvidia-smi about the GPU of `device` ("cpu", "auto", "cuda", "cuda:N")."""

    device: str = "cpu"
    proc: Path = Path("/proc")

    def look(self, own: Iterable[int]) -> Look | None:
        """The cores now; None where the system does not tell."""
        try:
            machine = parse_machine((self.proc / "stat").read_text())
        except (OSError, ValueError):
            return None
        return Look(machine, {process: ticks for process in own if (ticks := self._ticks(process)) is not None})

    def gpu(self, own: Iterable[int]) -> float:
        """Share of the GPU that others use; 0 where there is none, or none is to be used."""
        smi = None if self.device == "cpu" else shutil.which("nvidia-smi")
        if smi is None:
            return 0.0
        asked = [f"--query-gpu={_GPU}", f"--query-compute-apps={_APPS}"]
        told = [_told([smi, "-i", _card(self.device), query, "--format=csv,noheader,nounits"]) for query in asked]
        return parse_gpu(told[0], told[1], own)

    def _ticks(self, process: int) -> int | None:
        try:
            return parse_process((self.proc / str(process) / "stat").read_text())
        except (OSError, ValueError):
            return None


def _told(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SMI_WITHIN_S, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout


def _card(device: str) -> str:
    """How nvidia-smi calls the card that torch calls `device`: torch counts those that it is shown."""
    number = int(device.partition(":")[2] or 0)
    shown = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return shown[number] if number < len(shown) else str(number)


@dataclass
class Patience:
    """Waits while others use more than `above` of the cores or of the GPU, at most `most_s` seconds a unit of work.

    `tell` hears why it waits, again whenever that changes, and "" when it goes on.
    """

    above: float
    most_s: float
    tell: Callable[[str], None]
    meter: Meter
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _waited: float = 0.0
    _last: tuple[float, Look] | None = None

    def before(self, own: Callable[[], Iterable[int]], beat: Callable[[], None]) -> None:
        """Before a unit of work: look for a moment, and wait while others are busy.

        `own` are processes that do not count, `beat` is called at least once a second.
        """
        self._waited, self._last = 0.0, None
        if self._never():
            return
        self._wait(own, beat, gpu=True)

    def between(self, own: Callable[[], Iterable[int]], beat: Callable[[], None]) -> None:
        """Between two steps of a unit: wait if others were busy since the last call, which itself costs nothing.

        It looks at the cores alone: a GPU does not tell whose work it does.
        """
        if self._never():
            return
        now, look = self.monotonic(), self.meter.look(own())
        if look is None:
            return
        if self._last is None:
            self._last = (now, look)
        if now - self._last[0] < LOOK_S:
            return
        busy = others_share(self._last[1], look) > self.above
        self._last = (now, look)
        if busy:
            self._wait(own, beat, gpu=False)
            self._last = None

    def _never(self) -> bool:
        return self.above >= 1 or self.most_s <= 0

    def _wait(self, own: Callable[[], Iterable[int]], beat: Callable[[], None], *, gpu: bool) -> None:
        started, waited, told = self.monotonic(), self._waited, ""
        try:
            while self._waited < self.most_s:
                load = self._load(own, beat, gpu=gpu)
                self._waited = waited + self.monotonic() - started
                if load.share <= self.above:
                    break
                if str(load) != told:
                    told = str(load)
                    self.tell(told)
        finally:
            if told:
                self.tell("")

    def _load(self, own: Callable[[], Iterable[int]], beat: Callable[[], None], *, gpu: bool) -> Load:
        """The busier of cores and GPU, over the next seconds."""
        before = self.meter.look(own())
        end = self.monotonic() + LOOK_S
        while (left := end - self.monotonic()) > 0:
            beat()
            self.sleep(min(left, _BEAT_S))
        after = self.meter.look(own())
        cores = Load(others_share(before, after) if before and after else 0.0, "cores")
        card = Load(self.meter.gpu(own()) if gpu else 0.0, "GPU")
        return max(cores, card, key=lambda load: load.share)


def threads_with_room(cores: int | None = None) -> int:
    """As many threads as leave a quarter of the cores, at least one of them, to others; at least one thread."""
    known = cores if cores is not None else len(os.sched_getaffinity(0))
    return max(1, known - max(1, known // 4))


def note_waiting(state: Path, why: str) -> None:
    """Leave word in the state folder of what model work waits for; "" when it does not. Best effort: it is a remark."""
    path = state / _NOTE
    try:
        if why:
            path.write_text(f"{why}\n", encoding="utf-8")
        else:
            path.unlink(missing_ok=True)
    except OSError:
        return


def read_waiting(state: Path) -> str:
    """What model work waits for; "" when it does not."""
    try:
        return (state / _NOTE).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
