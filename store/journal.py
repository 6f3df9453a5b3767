"""Which SQLite is used, and which journal it can be trusted with.

SQLite 3.7.0 to 3.51.2 can corrupt a database in WAL mode when two connections write or checkpoint at one instant
(the WAL-reset bug: sqlite.org/changes.html, 3.51.3; also fixed in 3.50.7 and 3.44.6). A fixed library gets
WAL + FULL; an affected one a rollback journal + EXTRA. Both keep every acknowledged commit over a power cut on storage
that honours fsync; synchronous=NORMAL would not.
"""

import importlib
import sqlite3
from dataclasses import dataclass
from types import ModuleType
from typing import Literal

Source = Literal["sqlite3", "pysqlite3"]
Version = tuple[int, int, int]


@dataclass(frozen=True)
class JournalChoice:
    """The library and the journal mode that a store is opened with, and why."""

    version: str
    source: Source
    fixed: bool
    mode: Literal["WAL", "DELETE"]
    synchronous: Literal["FULL", "EXTRA"]
    reason: str


def is_fixed(version: Version) -> bool:
    """Whether this SQLite is free of the WAL-reset bug."""
    return version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51, 0) or (3, 44, 6) <= version < (3, 45, 0)


def choose(linked: Version, bundled: Version | None) -> JournalChoice:
    """The library linked to Python if it is fixed, else that of the pysqlite3 wheel if that is, else a safe journal."""
    if is_fixed(linked):
        return _wal(linked, "sqlite3")
    if bundled is not None and is_fixed(bundled):
        return _wal(bundled, "pysqlite3")
    reason = f"SQLite {_text(linked)} has the WAL-reset bug, so the slower rollback journal is used"
    return JournalChoice(_text(linked), "sqlite3", False, "DELETE", "EXTRA", reason)


def _wal(version: Version, source: Source) -> JournalChoice:
    reason = f"SQLite {_text(version)} is free of the WAL-reset bug"
    return JournalChoice(_text(version), source, True, "WAL", "FULL", reason)


def _text(version: Version) -> str:
    return ".".join(map(str, version))


def choose_installed() -> JournalChoice:
    """The choice for the libraries that are installed here."""
    if is_fixed(sqlite3.sqlite_version_info):
        return choose(sqlite3.sqlite_version_info, None)
    return choose(sqlite3.sqlite_version_info, _bundled_version())


def _bundled_version() -> Version | None:
    try:
        version: Version = importlib.import_module("pysqlite3").sqlite_version_info
    except ImportError:
        return None
    return version


def driver(choice: JournalChoice) -> ModuleType:
    """The DB-API module of the choice."""
    return sqlite3 if choice.source == "sqlite3" else importlib.import_module("pysqlite3.dbapi2")
