"""A quick look into the store: one read-only connection, rows as dicts, no SQLAlchemy. Needs no daemon."""

import hashlib
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from store.errors import CorruptStoreError, NotFoundError, StoreError, StoreReadOnlyError, explained
from store.sqlite import driver

_OK, _DENY, _ATTACH = 0, 1, 24  # SQLITE_OK, SQLITE_DENY, SQLITE_ATTACH


class Reader:
    """Read-only access to the store at `path`."""

    def __init__(self, path: Path) -> None:
        module, _ = driver()
        self._path = path
        self._errors = (module.Error, module.Warning, Warning)  # a second statement is a Warning, up to Python 3.11
        if not path.is_file():
            raise NotFoundError(f"{path}: no store there; `reflexd init` makes one")
        try:
            self._connection = _connect(module, path)
        except module.Error as error:
            raise explained(str(error), path) from None

    def rows(self, sql: str, params: tuple[object, ...] = ()) -> list[dict[str, Any]]:
        """What `sql` gives.

        Raises:
            StoreError: The statement is wrong, or would write.
        """
        try:
            cursor = self._connection.execute(sql, params)
            names = [column[0] for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor]
        except self._errors as error:
            said = str(error)
            if "readonly" in said or "not authorized" in said:
                raise StoreReadOnlyError(
                    "this look is read-only; write with `sqlite3`, the store guards itself"
                ) from None
            failure = StoreError(f"{self._path}: {said}; `reflexd sql` alone lists views and tables")
            failure.exit_code = 2
            raise failure from None

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()


def _connect(module: Any, path: Path) -> Any:
    """A connection that cannot write.

    SQLite reads a WAL database only where it can make files beside it. In a folder that we cannot write, with no log
    left to read, the file alone is complete: then, and only then, it is read as immutable.
    """
    address = f"{path.absolute().as_uri()}?mode=ro"
    try:
        return _opened(module, address)
    except module.OperationalError as error:
        if "locked" in str(error) or path.with_name(path.name + "-wal").exists():
            raise
        return _opened(module, f"{address}&immutable=1")


def _opened(module: Any, address: str) -> Any:
    connection = module.connect(address, uri=True, timeout=5)
    try:
        connection.execute("PRAGMA query_only = ON")
        # An attached file would be opened for writing, whatever this connection may do.
        connection.set_authorizer(lambda action, *_: _DENY if action == _ATTACH else _OK)
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def open_reader(path: Path) -> Reader:
    """A reader of the store at `path`.

    Raises:
        NotFoundError: There is no store.
        ForeignFileError: The file is something else.
    """
    return Reader(path)


def whole_blob(sha256: str, data: bytes) -> bytes:
    """The bytes of a matrix, if they are still those that `sha256` names.

    Raises:
        CorruptStoreError: They changed.
    """
    if hashlib.sha256(data).hexdigest() != sha256:
        raise CorruptStoreError(f"vector blob {sha256[:12]}: its bytes changed; restore a backup")
    return bytes(data)
