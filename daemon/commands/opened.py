"""Opening what a command needs: the home, a quick reader, the store, the whole context."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING

import click

from daemon.errors import UnavailableError
from daemon.home import Home, find_home

if TYPE_CHECKING:
    from daemon.child import OnProgress
    from daemon.pipeline.context import Context
    from store.engine import Store
    from store.reader import Reader


def home_of(ctx: click.Context) -> Home:
    """The home that `--config`, the environment or the current folder names."""
    named = ctx.find_root().obj
    return find_home(named)


@contextmanager
def reading(ctx: click.Context) -> Iterator["Reader"]:
    """The store, read-only and without SQLAlchemy."""
    from store.reader import open_reader

    with open_reader(home_of(ctx).database) as reader:
        yield reader


@contextmanager
def opened_store(home: Home) -> Iterator["Store"]:
    """The store, for writing."""
    from store.engine import Store

    with Store.open(home.database) as store:
        yield store


@contextmanager
def work_lock(home: Home, patience_s: float = 10.0) -> Iterator[int]:
    """The right to work in this state folder; yields a descriptor for the model process to inherit.

    A model process outlives a killed reflexd by an instant, so the lock is waited for a little.

    Raises:
        UnavailableError: Another reflexd works here.
    """
    home.work_lock.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(home.work_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        _take(descriptor, home.work_lock, patience_s)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield descriptor
    finally:
        os.close(descriptor)


def _take(descriptor: int, path: Path, patience_s: float) -> None:
    deadline = monotonic() + patience_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if monotonic() > deadline:
                holder = path.read_text().strip() or "?"
                raise UnavailableError(
                    f"{path}: another reflexd (process {holder}) works here; stop it first"
                ) from None
            sleep(0.05)
        else:
            return


def is_working(home: Home) -> bool:
    """Whether a reflexd holds the work lock."""
    if not home.work_lock.exists():
        return False
    descriptor = os.open(home.work_lock, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


@contextmanager
def working(home: Home, on_progress: "OnProgress", say: "object") -> Iterator["Context"]:
    """Everything the stages need, under the work lock."""
    from daemon.child import ModelProcess
    from daemon.pipeline.context import Context
    from daemon.settings import load_settings

    settings = load_settings(home.config)
    assert callable(say)
    with (
        work_lock(home) as lock,
        opened_store(home) as store,
        ModelProcess(
            home.log,
            nice=settings.process.nice,
            device=settings.process.device,
            keep_s=settings.process.keep_model_s,
            inherit=(lock,),
        ) as process,
    ):
        yield Context(settings, home, store, process, on_progress=on_progress, say=say)
