"""Looking into the store without SQLAlchemy, so that a command that only reads answers at once. Never writes."""

import os
from pathlib import Path
from types import TracebackType
from typing import Any

from store.connect import set_up_reader, uri
from store.errors import BadQueryError, NotFoundError, StoreError, StoreReadOnlyError, translate
from store.journal import choose_installed, driver


class Reader:
    """One read-only connection; a context manager."""

    def __init__(self, connection: Any, path: Path, error: type[Exception]) -> None:
        self._connection = connection
        self._path = path
        self._error = error

    def rows(self, sql: str, params: tuple[object, ...] = ()) -> list[dict[str, object]]:
        """Every row of one query, as a dict in the order of its columns.

        Raises:
            BadQueryError: The query does not run.
            StoreReadOnlyError: It tries to write.
        """
        try:
            cursor = self._connection.execute(sql, params)
            names = [column[0] for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor]
        except (self._error, UserWarning, Warning) as error:
            raise _about_query(error, self._path) from error

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()


def _about_query(error: Exception, path: Path) -> StoreError:
    known = translate(error, path)
    if isinstance(known, StoreReadOnlyError):
        return StoreReadOnlyError(f"{path}: opened for reading only; the other commands of reflexd change things")
    return known if type(known) is not StoreError else BadQueryError(f"query: {error}")


def open_reader(path: Path) -> Reader:
    """Open the store for reading.

    Raises:
        NotFoundError: There is no store.
        StoreError: It cannot be read.
    """
    if not path.is_file():
        raise NotFoundError(f"{path}: there is no store yet; `reflexd init` makes one")
    module = driver(choose_installed())
    try:
        connection = _connect(module, path)
    except module.Error as error:
        raise translate(error, path) from error
    return Reader(connection, path, module.Error)


def _connect(module: Any, path: Path) -> Any:
    """A read-only connection.

    SQLite reads a WAL database only if it can write beside it. In a folder that we cannot write, with no log left to
    read, the file alone is complete: then, and only then, it is read as immutable.
    """
    try:
        return _opened(module, uri(path, mode="ro"))
    except module.OperationalError:
        if os.access(path.parent, os.W_OK) or path.with_name(path.name + "-wal").exists():
            raise
        return _opened(module, uri(path, mode="ro", immutable="1"))


def _opened(module: Any, address: str) -> Any:
    connection = module.connect(address, uri=True)
    try:
        set_up_reader(connection)
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection
