"""Which SQLite, and which journal: WAL only where the linked version lacks the WAL-reset bug.

SQLite 3.7.0 to 3.51.2 can corrupt a WAL database when two connections write and checkpoint at the same instant
(fixed in 3.51.3, and in 3.50.7 and 3.44.6; sqlite.org/changes.html). There a rollback journal is used, with
synchronous=EXTRA, so that the promise holds across power cuts either way.
"""

from contextlib import closing
from dataclasses import dataclass
from functools import cache
from types import ModuleType

BACKPORTS = ((3, 50, 7), (3, 44, 6))
FIXED = (3, 51, 3)


@dataclass(frozen=True)
class JournalChoice:
    """The SQLite in use and how it writes."""

    source: str
    version: str
    fixed: bool
    mode: str
    synchronous: str
    reason: str


def is_fixed(version: tuple[int, ...]) -> bool:
    """Whether this version is free of the WAL-reset bug."""
    return version >= FIXED or any(version[:2] == port[:2] and version >= port for port in BACKPORTS)


def choose(source: str, version: tuple[int, ...]) -> JournalChoice:
    """The journal for a version."""
    text = ".".join(map(str, version))
    if is_fixed(version):
        return JournalChoice(source, text, True, "WAL", "FULL", "no WAL-reset bug in this version")
    reason = (
        "this version has the WAL-reset bug, so a rollback journal is used; `pip install pysqlite3` brings a newer one"
    )
    return JournalChoice(source, text, False, "DELETE", "EXTRA", reason)


@cache
def can_distrust_schema(module: ModuleType) -> bool:
    """Whether this SQLite runs our triggers and CHECKs with `trusted_schema` off.

    Older ones (3.40.1 among them) call their own JSON functions unsafe there, and would refuse every write.
    """
    with closing(module.connect(":memory:")) as connection:
        connection.execute("CREATE VIEW probe AS SELECT json_valid('{}')")
        connection.execute("PRAGMA trusted_schema = OFF")
        try:
            connection.execute("SELECT * FROM probe").fetchall()
        except module.Error:
            return False
    return True


def driver() -> tuple[ModuleType, JournalChoice]:
    """The better SQLite of the two that may be there: Python's own, or pysqlite3's."""
    import sqlite3

    found: list[tuple[str, ModuleType]] = [("sqlite3", sqlite3)]
    try:
        import pysqlite3

        found.append(("pysqlite3", pysqlite3))
    except ImportError:
        pass
    source, module = max(found, key=lambda each: each[1].sqlite_version_info)
    return module, choose(source, module.sqlite_version_info)
