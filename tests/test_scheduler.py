"""Ticks run when they are due, whatever APScheduler's defaults, the wall clock or a tick of bad manners do."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, tzinfo

import apscheduler.schedulers.base as library
import pytest

from daemon.errors import UsageError
from daemon.scheduler import OverdueError, Scheduler, Tick
from store.clock import ManualClock, SystemClock


class Ear:
    """Hears what the scheduler tells."""

    def __init__(self) -> None:
        self.ok: list[str] = []
        self.errors: list[tuple[str, BaseException]] = []

    def on_error(self, name: str, error: BaseException) -> None:
        self.errors.append((name, error))


def until(condition: Callable[[], object], within: float = 3.0) -> bool:
    end = time.monotonic() + within
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.005)
    return False


def hanging(release: threading.Event) -> Callable[[], None]:
    def run() -> None:
        release.wait(20)

    return run


class Running:
    """Schedulers that are stopped at the end of the test."""

    def __init__(self) -> None:
        self.started: list[Scheduler] = []

    def __call__(self, ear: Ear, *ticks: Tick) -> Scheduler:
        scheduler = Scheduler(ticks, SystemClock(), on_error=ear.on_error, on_ok=ear.ok.append)
        self.started.append(scheduler)
        scheduler.start()
        return scheduler


@pytest.fixture
def running() -> Iterator[Running]:
    made = Running()
    yield made
    for scheduler in made.started:
        scheduler.stop(2.0)


def test_every_tick_runs_at_once_and_again_after_its_interval(running: Running) -> None:
    ear, count = Ear(), [0]

    def look() -> None:
        count[0] += 1

    running(ear, Tick("look", look, 0.1, 5), Tick("rare", lambda: None, 3600, 5))
    assert until(lambda: count[0] >= 3)
    assert ear.ok.count("rare") == 1
    assert not ear.errors


def test_a_tick_that_is_slower_than_its_interval_never_runs_twice_at_a_time(running: Running) -> None:
    ear, at_once, most = Ear(), [0], [0]

    def slow() -> None:
        at_once[0] += 1
        most[0] = max(most[0], at_once[0])
        time.sleep(0.15)
        at_once[0] -= 1

    running(ear, Tick("slow", slow, 0.02, 5))
    assert until(lambda: len(ear.ok) >= 3)
    assert most == [1]
    assert not ear.errors


def test_a_late_tick_runs_although_the_default_grace_of_a_second_is_over(running: Running) -> None:
    """With APScheduler's defaults a run that is due while the pool was busy for more than 1 s is dropped."""
    ear = Ear()
    scheduler = running(ear, Tick("look", lambda: None, 3600, 5))
    assert until(lambda: len(ear.ok) == 1)
    scheduler._scheduler.modify_job("look", next_run_time=datetime.now().astimezone() - timedelta(minutes=30))
    assert until(lambda: len(ear.ok) == 2)


def test_the_defaults_that_lose_work_are_not_in_force() -> None:
    ear = Ear()
    scheduler = Scheduler([Tick("look", lambda: None, 1, 1)], SystemClock(), on_error=ear.on_error, on_ok=ear.ok.append)
    scheduler.start()
    (job,) = scheduler._scheduler.get_jobs()
    assert (job.coalesce, job.max_instances, job.misfire_grace_time) == (True, 1, None)
    assert str(job.trigger.timezone) == "UTC"
    assert scheduler.stop(1)


def test_an_error_is_told_and_the_next_tick_comes(running: Running) -> None:
    ear = Ear()

    def broken() -> None:
        raise ValueError("torn file")

    scheduler = running(ear, Tick("broken", broken, 0.05, 5))
    assert until(lambda: len(ear.errors) >= 2)
    assert {(name, str(error)) for name, error in ear.errors} == {("broken", "torn file")}
    assert scheduler.healthy()
    assert not ear.ok


@pytest.mark.parametrize("ending", [SystemExit, KeyboardInterrupt, MemoryError])
def test_a_tick_that_asks_the_process_to_end_is_not_swallowed(running: Running, ending: type[BaseException]) -> None:
    ear = Ear()

    def leave() -> None:
        raise ending("enough")

    scheduler = running(ear, Tick("leave", leave, 3600, 5))
    assert until(lambda: ear.errors)
    asked_to_end = not issubclass(ending, Exception)
    assert scheduler.fatal.wait(0.5) is asked_to_end
    assert scheduler.healthy() is not asked_to_end


def test_one_hung_tick_does_not_hold_up_the_others_and_starves_the_watchdog(running: Running) -> None:
    ear, release = Ear(), threading.Event()
    hung, look = Tick("hung", hanging(release), 0.05, 0.3), Tick("look", lambda: None, 0.05, 5)
    scheduler = running(ear, hung, look)
    assert scheduler.healthy()
    assert until(lambda: ear.errors)
    name, error = ear.errors[0]
    assert name == "hung"
    assert isinstance(error, OverdueError)
    assert not scheduler.healthy()
    seen = len(ear.ok)
    assert until(lambda: len(ear.ok) > seen + 2)
    assert len(ear.errors) == 1, "an overdue tick is told once, not with every skip"
    release.set()
    assert until(scheduler.healthy)


def test_a_long_tick_that_says_it_moves_on_is_healthy(running: Running) -> None:
    ear, release = Ear(), threading.Event()
    scheduler = running(ear, Tick("train", hanging(release), 60, 0.25))
    for _ in range(10):
        time.sleep(0.05)
        scheduler.beat("train")
        assert scheduler.healthy()
    release.set()
    assert not ear.errors


def test_an_idle_tick_may_rest_for_its_interval_on_top_of_its_deadline() -> None:
    clock = ManualClock()
    scheduler = Scheduler([Tick("look", lambda: None, 30, 10)], clock, on_error=Ear().on_error, on_ok=Ear().ok.append)
    assert scheduler.healthy(clock.monotonic() + 39)
    assert not scheduler.healthy(clock.monotonic() + 41)


def test_wake_looks_now(running: Running) -> None:
    ear = Ear()
    scheduler = running(ear, Tick("look", lambda: None, 3600, 5))
    for wanted in range(1, 6):
        assert until(lambda: len(ear.ok) >= wanted)  # noqa: B023 - called at once
        scheduler.wake("look")
    assert until(lambda: len(ear.ok) == 6)


def test_a_wake_during_a_run_is_not_lost_and_many_are_one(running: Running) -> None:
    ear, release, begun = Ear(), threading.Event(), threading.Event()

    def look() -> None:
        begun.set()
        release.wait(3)

    scheduler = running(ear, Tick("look", look, 3600, 5))
    assert begun.wait(2)
    for _ in range(5):
        scheduler.wake("look")
    time.sleep(0.05)
    release.set()
    assert until(lambda: len(ear.ok) == 2)
    time.sleep(0.1)
    assert len(ear.ok) == 2


def test_waking_an_unknown_tick_names_those_there_are(running: Running) -> None:
    scheduler = running(Ear(), Tick("look", lambda: None, 3600, 5))
    with pytest.raises(UsageError, match="lok: no such tick; there are look"):
        scheduler.wake("lok")


def _set_wall_clock_back(monkeypatch: pytest.MonkeyPatch) -> None:
    class Earlier(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) - timedelta(hours=1)

    monkeypatch.setattr(library, "datetime", Earlier)


class ShiftedClock(SystemClock):
    """The machine's clock, its wall time set back by an hour once told so."""

    back_ms = 0

    def wall_ms(self) -> int:
        return super().wall_ms() - self.back_ms


@pytest.mark.parametrize("supervised", [True, False])
def test_a_wall_clock_set_back_by_an_hour_does_not_silence_the_ticks(
    monkeypatch: pytest.MonkeyPatch, supervised: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Without the monotonic watch (`supervised` false) the schedule falls silent: the trap is real."""
    ear, clock = Ear(), ShiftedClock()
    scheduler = Scheduler([Tick("look", lambda: None, 0.05, 5)], clock, on_error=ear.on_error, on_ok=ear.ok.append)
    if not supervised:
        monkeypatch.setattr(scheduler, "_watch", lambda _: None)
    scheduler.start()
    assert until(lambda: len(ear.ok) >= 2)
    _set_wall_clock_back(monkeypatch)
    clock.back_ms = 3_600_000
    time.sleep(0.2)
    before = len(ear.ok)
    with caplog.at_level(logging.WARNING, "reflexd.scheduler"):
        assert until(lambda: len(ear.ok) >= before + 3, within=1.0) is supervised
    assert ("the clock jumped" in caplog.text) is supervised
    assert scheduler.stop(1)


def test_stop_waits_for_the_running_tick_and_begins_nothing_new() -> None:
    ear, begun = Ear(), threading.Event()

    def slow() -> None:
        begun.set()
        time.sleep(0.2)

    scheduler = Scheduler([Tick("slow", slow, 0.01, 5)], SystemClock(), on_error=ear.on_error, on_ok=ear.ok.append)
    scheduler.start()
    assert begun.wait(2)
    assert scheduler.stop(3)
    ended = len(ear.ok)
    assert ended >= 1
    time.sleep(0.1)
    assert len(ear.ok) == ended


def test_stop_gives_up_after_its_time() -> None:
    ear, begun, release = Ear(), threading.Event(), threading.Event()

    def hung() -> None:
        begun.set()
        release.wait(20)

    scheduler = Scheduler([Tick("hung", hung, 1, 5)], SystemClock(), on_error=ear.on_error, on_ok=ear.ok.append)
    scheduler.start()
    assert begun.wait(2)
    assert scheduler.stop(0.2) is False  # told while the tick still hangs: it waits for `release`, 20 s
    release.set()


def test_stopping_amid_many_ticks_logs_no_false_alarm(caplog: pytest.LogCaptureFixture) -> None:
    """APScheduler's shutdown races with its own submissions: "cannot schedule new futures after shutdown"."""
    for _ in range(20):
        ear = Ear()
        ticks = [Tick(f"t{i}", lambda: None, 0.001, 5) for i in range(4)]
        scheduler = Scheduler(ticks, SystemClock(), on_error=ear.on_error, on_ok=ear.ok.append)
        scheduler.start()
        time.sleep(0.01)
        assert scheduler.stop(2)
        assert not ear.errors
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_a_listener_that_fails_does_not_end_the_schedule(running: Running, caplog: pytest.LogCaptureFixture) -> None:
    count = [0]

    def look() -> None:
        count[0] += 1

    def full_disk(_: str) -> None:
        raise OSError(28, "No space left on device")

    scheduler = Scheduler([Tick("look", look, 0.05, 5)], SystemClock(), on_error=Ear().on_error, on_ok=full_disk)
    running.started.append(scheduler)
    scheduler.start()
    assert until(lambda: count[0] >= 3)
    assert "No space left" in caplog.text
