"""A quick look into the store: one read-only connection, rows as dicts, no SQLAlchemy. Works with the daemon stopped."""

from pathlib import Path
from types import TracebackType
from typing import Any, Self

from store.errors import NotFoundError, StoreError, StoreReadOnlyError, explained
from store.sqlite import driver


class Reader:
    """Read-only access to the store at `path`."""

    def __init__(self, path: Path) -> None:
        module, _ = driver()
        self._path = path
        self._error = module.Error
        if not path.is_file():
            raise NotFoundError(f"{path}: no store there; `reflexd init` makes one")
        try:
            self._connection = module.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)
            self._connection.execute("PRAGMA query_only = ON")
            self._connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
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
        except (self._error, Warning) as error:
            said = str(error)
            if "readonly" in said:
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


def open_reader(path: Path) -> Reader:
    """A reader of the store at `path`.

    Raises:
        NotFoundError: There is no store.
        ForeignFileError: The file is something else.
    """
    return Reader(path)
