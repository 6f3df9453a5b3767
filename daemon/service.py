"""The daemon: two ticks over the same plain stage functions, a main thread that waits for signals and says how it is.

SIGTERM, SIGINT   stop: the running stage ends at its next beat, a training goes back to the queue uncharged, exit 0
again             exit at once
SIGHUP            read the configuration again; a bad one changes nothing
"""

import os
import signal
import threading
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import structlog

from daemon import notify
from daemon.busy import Meter, Patience, note_waiting, threads_with_room
from daemon.child import ModelProcess
from daemon.commands.opened import opened_store, work_lock
from daemon.errors import ConfigError
from daemon.hints import Hints
from daemon.home import Home
from daemon.logs import configure_logs
from daemon.pipeline import Context, housekeep, rescue
from daemon.pipeline.once import bring_manifests_in_line, run_stage
from daemon.progress import Remarks
from daemon.protocol import WAITING
from daemon.scheduler import Scheduler, Tick
from daemon.settings import ProcessSettings, Settings, load_settings
from store.clock import SystemClock
from store.engine import Store
from store.reader import open_reader
from store.ticks import tick_failed, tick_ok

LOOKING = ("watch", "mine")
WORKING = ("judge", "extract", "verify", "recheck", "combine", "promote", "train")
_STOP_WITHIN_S = 60.0


@dataclass
class Service:
    """One run of the daemon in one state folder, under the work lock `lock`."""

    home: Home
    settings: Settings
    lock: int
    stop: threading.Event = field(default_factory=threading.Event)
    reload: threading.Event = field(default_factory=threading.Event)
    scheduler: Scheduler | None = None
    evidence_changed: bool = True
    mined_for: object = None
    process: ModelProcess | None = None
    made_for: ProcessSettings | None = None
    waits: bool = False
    log: structlog.stdlib.BoundLogger = field(default_factory=structlog.get_logger)

    def __post_init__(self) -> None:
        self.say = Remarks(self.log.info)

    def look(self) -> None:
        """Read memory sources and bring pairs up to date."""
        self._stages("look", LOOKING)

    def work(self) -> None:
        """Whatever needs the model, in a process that ends when it was idle for a while."""
        self._stages("work", WORKING)

    def _stages(self, tick: str, stages: tuple[str, ...]) -> None:
        def stopping() -> bool:
            """Asked at least once a second during model work: a sign of life for the watchdog, and the way out."""
            if self.scheduler is not None:
                self.scheduler.beat(tick)
            return self.stop.is_set()

        process = self._model_process() if stages == WORKING else ModelProcess(self.home.log)
        with Store.open(self.home.database, upgrade=False) as store:
            context = Context(self.settings, self.home, store, process, say=self.say, stopping=stopping)
            try:
                for name in stages:
                    self._run(context, name)
                if stages == WORKING:
                    housekeep(context)
            except KeyboardInterrupt:
                if not self.stop.is_set():
                    raise

    def _model_process(self) -> ModelProcess:
        """The one that the settings in force ask for."""
        wanted = self.settings.process
        if self.process is None or self.made_for != wanted:
            self.end_model_process()
            self.process = ModelProcess(
                self.home.log,
                nice=wanted.nice,
                device=wanted.device,
                threads=threads_with_room(),
                keep_s=wanted.keep_model_s,
                inherit=(self.lock,),
                patience=Patience(wanted.wait_above, wanted.wait_most_s, self.tell_waiting, Meter(wanted.device)),
            )
            self.made_for = wanted
        return self.process

    def end_model_process(self) -> None:
        """Give the model's memory back now."""
        if self.process is not None:
            self.process.stop()
            self.process = None

    def tell_waiting(self, why: str) -> None:
        """Leave word of what model work waits for, for `reflexd status` and in the log; "" when it goes on."""
        note_waiting(self.home.state, why)
        if why and not self.waits:
            self.say(f"{WAITING}: {why}")
        elif self.waits and not why:
            self.log.info("model work goes on")
        self.waits = bool(why)

    def _run(self, context: Context, name: str) -> None:
        """One stage; mining, which looks at all evidence, only when there is something new to it."""
        if name != "mine":
            if run_stage(context, name) and name in {"watch", "judge"}:
                self.evidence_changed = True  # set, never computed from itself: the two ticks run side by side
            return
        with open_reader(self.home.database) as reader:
            decided = reader.rows(
                "SELECT (SELECT max(changed_at) FROM pair) AS pairs, "
                "(SELECT count(*) FROM behaviour WHERE origin = 'adopted') AS adopted"
            )
        asked = (self.settings.mining, self.settings.behaviours, decided)
        if self.evidence_changed or asked != self.mined_for:
            # Before, so that what comes meanwhile is not missed, and that a look which fails is made again.
            self.evidence_changed, self.mined_for = False, None
            run_stage(context, name)
            self.mined_for = asked

    def prepare(self) -> None:
        """Migrate, put orphaned jobs back, bring the manifests in line: what READY=1 promises."""
        note_waiting(self.home.state, "")
        with opened_store(self.home) as store, ModelProcess(self.home.log) as process:
            context = Context(self.settings, self.home, store, process, say=self.say)
            rescue(context)
            bring_manifests_in_line(context)

    def record(self, name: str, error: BaseException | None) -> None:
        """Keep how a tick ended, for `reflexd status`."""
        with Store.open(self.home.database, upgrade=False) as store, store.write() as conn:
            now = store.clock.wall_ms()
            if error is None:
                tick_ok(conn, name, now)
            else:
                tick_failed(conn, name, f"{type(error).__name__}: {error}", now)
        if error is not None:
            self.log.error("tick failed", tick=name, error=str(error))

    def ticks(self) -> list[Tick]:
        """What is looked at, and how often."""
        schedule = self.settings.schedule
        return [
            Tick("look", self.look, schedule.watch_s, deadline_s=600),
            Tick("work", self.work, schedule.work_s, deadline_s=600),
        ]

    def watched_paths(self) -> list[Path]:
        """Where the memories are."""
        with open_reader(self.home.database) as reader:
            rows = reader.rows("SELECT path FROM source WHERE removed_at IS NULL ORDER BY id")
        return [Path(str(row["path"])) for row in rows]

    def apply_reload(self) -> None:
        """Read the configuration again; a bad one changes nothing."""
        self.reload.clear()
        try:
            self.settings = load_settings(self.home.config)
        except ConfigError as error:
            self.log.error("configuration kept as it was", error=str(error))  # noqa: TRY400 - one line is enough
            notify.send(f"STATUS=configuration refused: {error}")
        else:
            self.log.info("configuration read again")


def serve_forever(home: Home) -> int:
    """Run until told to stop. Returns the exit code; ends the process itself when a tick cannot be ended."""
    configure_logs()
    settings = load_settings(home.config)
    with work_lock(home) as lock:
        service = Service(home, settings, lock)
        _listen(service)
        service.prepare()
        scheduler = Scheduler(
            service.ticks(),
            SystemClock(),
            on_ok=lambda name: service.record(name, None),
            on_error=service.record,
        )
        service.scheduler = scheduler
        scheduler.start()
        hints = Hints(service.watched_paths, lambda: scheduler.wake("look"))
        if settings.schedule.inotify:
            hints.start()
        notify.send("READY=1\nSTATUS=looking")
        _wait(service, scheduler)
        notify.send("STOPPING=1")
        hints.stop()
        clean = scheduler.stop(_STOP_WITHIN_S)
        if clean:
            service.end_model_process()
    if not clean:  # a tick hangs; what it had not committed is done again at the next start
        service.log.error("a tick did not end in time", within_s=_STOP_WITHIN_S)
        os._exit(1)
    return 0


def _listen(service: Service) -> None:
    def asked_to_stop(_: int, __: FrameType | None) -> None:
        if service.stop.is_set():
            os._exit(130)
        service.stop.set()

    signal.signal(signal.SIGTERM, asked_to_stop)
    signal.signal(signal.SIGINT, asked_to_stop)
    signal.signal(signal.SIGHUP, lambda *_: service.reload.set())


def _wait(service: Service, scheduler: Scheduler) -> None:
    """Wait for a signal; ping the watchdog only while every tick is younger than its deadline."""
    interval = notify.watchdog_interval() or 10.0
    while not service.stop.wait(min(interval, 1.0)):
        if service.reload.is_set():
            service.apply_reload()
        if scheduler.fatal.is_set():
            service.log.error("a tick asked the process to end")
            return
        if scheduler.healthy():
            notify.send("WATCHDOG=1")
