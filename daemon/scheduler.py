"""When to look: ticks over APScheduler 3.11, which owns nothing. What is to be done stands in the store.

    start ─▶ each tick at once, then every `interval_s`; never two of one tick; missed ones come together as one
    a tick raises           on_error(name, exception), and the next one comes in its time
    a tick raises SystemExit (or alike)   the same, and `fatal` is set: APScheduler alone would swallow it
    a tick gives no sign for `deadline_s` on_error(name, OverdueError) once, and `healthy()` is False until it ends
    the wall clock jumps    APScheduler plans by it and would fall silent; a monotonic watch wakes the tick

The only module that knows APScheduler, and it can be done without: `for tick in ticks: tick.run()` gives the same rows.
"""

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from apscheduler.events import (
    EVENT_JOB_ERROR,
    EVENT_JOB_EXECUTED,
    EVENT_JOB_MAX_INSTANCES,
    EVENT_JOB_MISSED,
    JobEvent,
)
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.jobstores.memory import MemoryJobStore
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger

from daemon.errors import ReflexdError, UsageError
from store.clock import Clock

_SILENT_INTERVALS = 3.0  # a tick that did not begin for so many intervals was forgotten
_log = logging.getLogger("reflexd.scheduler")
_library_log = logging.getLogger("apscheduler.scheduler")


class OverdueError(ReflexdError):
    """A tick has been running, without a sign of life, for longer than its deadline."""


@dataclass(frozen=True)
class Tick:
    """Something to look at every `interval_s` seconds; `run` does at most one unit of work and commits it."""

    name: str
    run: Callable[[], None]
    interval_s: float
    deadline_s: float


@dataclass
class _Life:
    """What is known of one tick, in monotonic seconds."""

    seen: float  # it began, ended or said that it moves on
    running: bool = False
    again: bool = False  # asked for while it ran
    overdue: bool = False  # its lateness was told already


class Scheduler:
    """Runs `ticks` on threads of its own. `on_ok` and `on_error` are called on these threads, after each tick."""

    def __init__(
        self,
        ticks: Iterable[Tick],
        clock: Clock,
        on_error: Callable[[str, BaseException], None],
        on_ok: Callable[[str], None],
    ) -> None:
        self._ticks = {tick.name: tick for tick in ticks}
        self._clock = clock
        self._on_error = on_error
        self._on_ok = on_ok
        self._lives = {name: _Life(clock.monotonic()) for name in self._ticks}
        self._quiet = threading.Condition()  # guards _lives; notified when a tick ends
        self._stopping = threading.Event()
        self._supervisor = threading.Thread(target=self._supervise, name="tick-supervisor", daemon=True)
        self._scheduler = _bare_scheduler(len(self._ticks))
        self.fatal = threading.Event()  # a tick asked the process to end

    def start(self) -> None:
        """Look at everything now, and from now on."""
        for life in self._lives.values():
            life.seen = self._clock.monotonic()
        for tick in self._ticks.values():
            self._scheduler.add_job(
                self._look,
                IntervalTrigger(seconds=tick.interval_s, timezone=UTC),
                args=(tick,),
                id=tick.name,
                name=tick.name,
                next_run_time=self._now(),
            )
        heard = EVENT_JOB_EXECUTED | EVENT_JOB_ERROR | EVENT_JOB_MISSED | EVENT_JOB_MAX_INSTANCES
        self._scheduler.add_listener(self._hear, heard)
        _library_log.setLevel(logging.ERROR)  # it warns of every skip while a long tick runs; deadlines are our watch
        self._scheduler.start()
        self._supervisor.start()

    def wake(self, name: str) -> None:
        """Look at `name` now; if it is running, again as soon as it ends.

        Raises:
            UsageError: There is no such tick.
        """
        if name not in self._ticks:
            raise UsageError(f"{name}: no such tick; there are {', '.join(self._ticks)}")
        with self._quiet:
            if self._lives[name].running:
                self._lives[name].again = True
                return
        self._plan_now(name)

    def beat(self, name: str) -> None:
        """A long tick says that it moves on: its deadline counts from here. Callable from any thread."""
        with self._quiet:
            life = self._lives[name]
            life.seen, life.overdue = self._clock.monotonic(), False

    def healthy(self, now: float | None = None) -> bool:
        """Whether every tick is younger than its deadline at monotonic time `now`: what WATCHDOG=1 may claim.

        A running tick is as old as its last sign of life; an idle one may rest for its interval on top of that.
        """
        moment = self._clock.monotonic() if now is None else now
        with self._quiet:
            return not self.fatal.is_set() and not any(self._late(name, moment) for name in self._ticks)

    def stop(self, timeout: float) -> bool:
        """Begin nothing new and wait at most `timeout` seconds for running ticks; whether all have ended.

        After False a thread still runs and would hold up the interpreter's exit: flush, then `os._exit`.
        """
        self._stopping.set()
        _library_log.setLevel(logging.CRITICAL)  # a submission that races with the shutdown fails: benign from here on
        if self._scheduler.running:
            self._scheduler.pause()
        with self._quiet:
            clean = self._quiet.wait_for(lambda: not any(life.running for life in self._lives.values()), timeout)
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)
        if self._supervisor.is_alive():
            self._supervisor.join(1.0)
        return clean

    def _look(self, tick: Tick) -> None:
        with self._quiet:
            if self._stopping.is_set():
                return
            life = self._lives[tick.name]
            life.seen, life.running, life.again = self._clock.monotonic(), True, False
        try:
            tick.run()
        except Exception as error:  # noqa: BLE001 - a tick's fault is told, and the next tick comes in its time
            self._tell(self._on_error, tick.name, error)
        except BaseException as error:
            self.fatal.set()
            self._tell(self._on_error, tick.name, error)
            raise
        else:
            self._tell(self._on_ok, tick.name)
        finally:
            with self._quiet:
                life.seen, life.running, life.overdue = self._clock.monotonic(), False, False
                self._quiet.notify_all()

    def _tell(self, listener: Callable[..., None], *words: object) -> None:
        """A listener that fails (a full disk, say) must not end the schedule; the log is what is left then."""
        try:
            listener(*words)
        except Exception:  # noqa: BLE001 - telling a fault must not end the watch
            _log.exception("cannot record how tick %s ended", words[0])

    def _hear(self, event: JobEvent) -> None:
        """APScheduler's own words. A job can only be planned again once it has ended for APScheduler too."""
        name = event.job_id
        if event.code == EVENT_JOB_MISSED:  # cannot be with misfire_grace_time None; if it is, it must not be silent
            self._tell(self._on_error, name, OverdueError(f"tick {name}: missed its time; it is looked at again"))
        skipped = event.code == EVENT_JOB_MAX_INSTANCES
        with self._quiet:
            life = self._lives[name]
            # A skip although nothing runs: it was woken in the instant between our end and APScheduler's.
            due = not life.running and (skipped or life.again)
        if due:
            self._plan_now(name)

    def _supervise(self) -> None:
        step = min((tick.interval_s for tick in self._ticks.values()), default=1.0)
        while not self._stopping.wait(min(step, 1.0)):
            self._tell(self._watch, "supervisor")

    def _watch(self, _: str) -> None:
        moment = self._clock.monotonic()
        for name, tick in self._ticks.items():
            with self._quiet:
                life = self._lives[name]
                silent = not life.running and moment - life.seen > _SILENT_INTERVALS * tick.interval_s
                told = life.overdue
                life.overdue = life.running and self._late(name, moment)
                overdue = life.overdue and not told
                age = moment - life.seen
            if silent:
                _log.warning("tick %s was due %.0f s ago: the clock jumped; looking now", name, age - tick.interval_s)
                self._plan_now(name)
            if overdue:
                reason = f"tick {name}: no sign of life for {age:.0f} s (deadline {tick.deadline_s:g} s); still running"
                self._tell(self._on_error, name, OverdueError(reason))

    def _late(self, name: str, moment: float) -> bool:
        tick, life = self._ticks[name], self._lives[name]
        return moment - life.seen > tick.deadline_s + (0.0 if life.running else tick.interval_s)

    def _plan_now(self, name: str) -> None:
        try:
            self._scheduler.modify_job(name, next_run_time=self._now())
        except JobLookupError:
            if not self._stopping.is_set():  # a shutdown that is under way has removed the jobs
                raise

    def _now(self) -> datetime:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=self._clock.wall_ms())


def _bare_scheduler(n_ticks: int) -> Any:
    """One thread a tick, jobs in memory, and none of the defaults that lose work."""
    logging.getLogger("apscheduler.executors").setLevel(logging.CRITICAL)  # a tick's errors go to `on_error`
    return BackgroundScheduler(
        timezone=UTC,
        jobstores={"default": MemoryJobStore()},
        executors={"default": ThreadPoolExecutor(max(n_ticks, 1))},
        # By default a job that comes a second late never runs, and missed runs come in a burst.
        job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
    )
