"""Bringing a store to this version's schema: under a lock, after a backup copy, refused when the store is newer.

Tables change by Alembic revisions (migrations/versions). Triggers and views are never migrated: they are dropped before
and made again after, in the same transaction, from store/sql.
"""

import fcntl
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

from store.errors import (
    CorruptStoreError,
    ForeignFileError,
    NewerStoreError,
    NotFoundError,
    StoreError,
    StoreReadOnlyError,
    explained,
    translated,
)
from store.sqlite import JournalChoice, driver

APPLICATION_ID = 0x52464C58  # "RFLX", in the file's header: file(1) and other programs can tell
HEAD = "0005"
_KNOWN = ("0001", "0002", "0003", "0004", "0005")


def sql(name: str) -> str:
    """The text of store/sql/<name>.sql."""
    return (files("store") / "sql" / f"{name}.sql").read_text(encoding="utf-8")


def upgrade_store(path: Path, journal: JournalChoice) -> None:
    """Make the store at `path`, or bring it to this version. Cheap when there is nothing to do.

    Raises:
        NewerStoreError: It was made by a newer reflexd.
        ForeignFileError: The file is no reflexd store.
        CorruptStoreError: It is damaged.
    """
    module, _ = driver()
    try:
        if _revision(path) == HEAD and _definitions_current(path):
            return
        with _migration_lock(path):
            before = _revision(path)
            if before is not None and before != HEAD:
                _back_up(path, before)
            with translated(path):
                _migrate(path, journal)
    except module.Error as error:
        raise explained(str(error), path) from None


def require_current(path: Path) -> None:
    """Refuse a store that is not there, or not of this version; change nothing.

    Raises:
        NotFoundError: There is no store.
        NewerStoreError: It was made by a newer reflexd.
        StoreError: It was made by an older one.
    """
    module, _ = driver()
    try:
        revision = _revision(path)
    except module.Error as error:
        raise explained(str(error), path) from None
    if revision is None:
        raise NotFoundError(f"{path}: no store there; `reflexd init` makes one")
    if revision != HEAD:
        raise StoreError(f"{path}: made by an older reflexd (revision {revision}); `reflexd init` upgrades it")


def _revision(path: Path) -> str | None:
    """The revision of the store, None when there is none yet."""
    if not path.exists() or path.stat().st_size == 0:
        return None
    module, _ = driver()
    with closing(module.connect(path, timeout=10)) as connection:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if "alembic_version" not in tables:
            if tables or application not in (0, APPLICATION_ID):
                raise ForeignFileError(f"{path}: an SQLite file, but no reflexd store; name another state_dir")
            return None
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    revision = str(row[0]) if row else None
    if revision is not None and revision not in _KNOWN:
        raise NewerStoreError(
            f"{path}: made by a newer reflexd (revision {revision}); upgrade reflexd, nothing was changed"
        )
    return revision


def _definitions_current(path: Path) -> bool:
    """Whether every trigger and view is there as this version writes it."""
    module, _ = driver()
    with closing(module.connect(path, timeout=10)) as connection:
        found = dict(
            connection.execute("SELECT name, sql FROM sqlite_master WHERE type IN ('trigger', 'view')").fetchall()
        )
    with closing(module.connect(":memory:")) as fresh:
        fresh.executescript(sql("tables") + sql("triggers") + sql("views"))
        wanted = dict(fresh.execute("SELECT name, sql FROM sqlite_master WHERE type IN ('trigger', 'view')").fetchall())
    return bool(found == wanted)


@contextmanager
def _migration_lock(path: Path) -> Iterator[None]:
    lock = path.with_name(path.name + ".migration-lock")
    try:
        with lock.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise StoreReadOnlyError(f"{lock}: {error.strerror}; check the folder's permissions and room") from None


def _back_up(path: Path, revision: str) -> Path:
    """A consistent copy beside the store, named after the revision it has."""
    module, _ = driver()
    copy = path.with_name(f"{path.name}.before-{revision}")
    with closing(module.connect(path)) as source, closing(module.connect(copy)) as target:
        source.backup(target)
        (verdict,) = target.execute("PRAGMA integrity_check").fetchone()
    if verdict != "ok":
        raise CorruptStoreError(f"{path}: damaged ({verdict}); restore a backup")
    return copy


def _migrate(path: Path, journal: JournalChoice) -> None:
    """Everything in one transaction: drop triggers and views, run revisions, make them again, check."""
    from sqlalchemy import create_engine, event
    from sqlalchemy.pool import NullPool

    module, _ = driver()

    def connect() -> Any:
        connection = module.connect(path, timeout=10)
        connection.isolation_level = None
        connection.execute(f"PRAGMA journal_mode = {journal.mode}")
        connection.execute(f"PRAGMA synchronous = {journal.synchronous}")
        connection.execute("PRAGMA foreign_keys = OFF")  # a revision may rebuild a table; checked below
        return connection

    engine = create_engine("sqlite://", module=module, creator=connect, poolclass=NullPool)
    event.listen(engine, "begin", lambda conn: conn.exec_driver_sql("BEGIN EXCLUSIVE"))
    with engine.begin() as conn:
        run_migrations(conn, HEAD)
        orphans = conn.exec_driver_sql("PRAGMA foreign_key_check").all()
        if orphans:
            raise StoreError(
                f"{path}: the migration would leave {len(orphans)} rows without their parent; nothing was changed"
            )
    engine.dispose()


def run_migrations(conn: Any, target: str, *, down: bool = False) -> None:
    """Move the tables to revision `target` on an open transaction; triggers and views are made for the newest only.

    Raises:
        StoreError: A revision failed; the transaction must be rolled back.
    """
    from alembic import command
    from alembic.config import Config

    drop_definitions(conn)
    config = Config()
    config.set_main_option("script_location", str(files("migrations")))
    config.attributes["connection"] = conn
    (command.downgrade if down else command.upgrade)(config, target)
    if target == HEAD:
        create_definitions(conn)
    conn.exec_driver_sql(f"PRAGMA application_id = {APPLICATION_ID}")


def drop_definitions(conn: Any) -> None:
    """Drop every trigger and view."""
    rows = conn.exec_driver_sql("SELECT type, name FROM sqlite_master WHERE type IN ('trigger', 'view')").all()
    for kind, name in rows:
        conn.exec_driver_sql(f'DROP {kind} "{name}"')


def create_definitions(conn: Any) -> None:
    """Make every trigger and view of this version."""
    for statement in statements(sql("triggers") + sql("views")):
        conn.exec_driver_sql(statement)


def statements(script: str) -> list[str]:
    """The script's statements, whole, comments kept: SQLite itself says where one ends."""
    import sqlite3

    found: list[str] = []
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            found.append(pending.strip())
            pending = ""
    return found
