"""The store: two engines over one file. The writer begins IMMEDIATE, the reader cannot write.

SQLAlchemy's default SQLite transaction loses updates silently (measured: 150 of 200); a deferred BEGIN fails at once
under contention. BEGIN IMMEDIATE does neither. Every pragma is read back.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import QueuePool

from store.clock import Clock, SystemClock
from store.errors import StoreBusyError, StoreError, StoreFullError, StoreReadOnlyError, translated
from store.migrate import require_current, upgrade_store
from store.sqlite import JournalChoice, can_distrust_schema, driver

_BUSY_MS = 10_000
_CACHE_KIB = 32 * 1024  # at most: with SQLite's own 2 MB a large evidence graph is read from the disk again and again


class Store:
    """An open store. `write()` and `read()` give connections in a transaction; share nothing else."""

    def __init__(self, path: Path, clock: Clock, journal: JournalChoice, writer: Engine, reader: Engine) -> None:
        self.path = path
        self.clock = clock
        self.journal = journal
        self._writer = writer
        self._reader = reader

    @classmethod
    def open(cls, path: Path, clock: Clock | None = None, *, upgrade: bool = True) -> Self:
        """Open the store at `path`; make or upgrade it first unless `upgrade` is False.

        Raises:
            NewerStoreError: It was made by a newer reflexd.
            NotFoundError: `upgrade` is False and there is none.
            StoreReadOnlyError: The folder or file cannot be written.
            ForeignFileError: The file is something else.
        """
        _, journal = driver()
        if upgrade:
            _make_folder(path.parent)
            upgrade_store(path, journal)
        else:
            require_current(path)
        writer, reader = (_engine(path, journal, begin) for begin in ("BEGIN IMMEDIATE", "BEGIN"))
        return cls(path, clock or SystemClock(), journal, writer, reader)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One short write transaction; rolled back on any error."""
        with translated(self.path), self._writer.begin() as conn:
            yield conn

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent look."""
        with translated(self.path), self._reader.begin() as conn:
            yield conn

    def close(self) -> None:
        """Close every connection."""
        self._writer.dispose()
        self._reader.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreReadOnlyError(f"{folder}: cannot be made: {error.strerror}; name another state_dir") from None
    if not os.access(folder, os.W_OK):
        raise StoreReadOnlyError(f"{folder}: cannot be written; check its permissions")
    status = os.statvfs(folder)
    if status.f_bavail == 0:
        raise StoreFullError(f"{folder}: the disk is full; make room")


def _engine(path: Path, journal: JournalChoice, begin: str) -> Engine:
    module, _ = driver()
    engine = create_engine(
        "sqlite://",
        module=module,
        creator=lambda: module.connect(path, timeout=_BUSY_MS / 1000, check_same_thread=False),
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=0,
    )

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _: object) -> None:
        connection.isolation_level = None
        trusted = int(not can_distrust_schema(module))
        set_pragmas(connection, journal, read_only=begin == "BEGIN", trusted_schema=trusted)

    @event.listens_for(engine, "begin")
    def began(conn: Connection) -> None:
        conn.exec_driver_sql(begin)

    return engine


def set_pragmas(connection: Any, journal: JournalChoice, *, read_only: bool = False, trusted_schema: int = 0) -> None:
    """Set what every connection needs, and read back what matters.

    Raises:
        StoreBusyError: Another process keeps the journal as it is.
        StoreError: SQLite did not take a setting.
    """
    wanted = {"foreign_keys": 1, "busy_timeout": _BUSY_MS, "trusted_schema": trusted_schema, "cell_size_check": 1}
    wanted["cache_size"] = -_CACHE_KIB
    synchronous = {"FULL": 2, "EXTRA": 3}[journal.synchronous]
    if not read_only:
        (mode,) = connection.execute(f"PRAGMA journal_mode = {journal.mode}").fetchone()
        if mode != journal.mode.lower():
            raise StoreBusyError(f"the journal stays {mode}, {journal.mode} is needed; stop what else uses the store")
        wanted["synchronous"] = synchronous
    else:
        wanted["query_only"] = 1
    for name, value in wanted.items():
        connection.execute(f"PRAGMA {name} = {value}")
        (found,) = connection.execute(f"PRAGMA {name}").fetchone()
        if found != value:
            raise StoreError(f"SQLite {journal.version} did not take {name} = {value}; it says {found}")
