"""One connection, set up and read back. Pragmas belong to a connection, so each one gets them."""

from pathlib import Path
from typing import Any

from store.errors import StoreBusyError, StoreError
from store.journal import JournalChoice

BUSY_TIMEOUT_MS = 5000
_SYNCHRONOUS = {"FULL": 2, "EXTRA": 3}


def uri(path: Path, **parameters: str) -> str:
    """`path` as an SQLite URI, so that no character of it is taken for an option."""
    query = "&".join(f"{name}={value}" for name, value in parameters.items())
    return f"{path.absolute().as_uri()}?{query}"


def set_up_writer(connection: Any, choice: JournalChoice, *, foreign_keys: bool = True) -> None:
    """Journal, durability and checks of a connection that writes; every value is read back.

    Raises:
        StoreError: A setting was not taken.
    """
    expected: dict[str, object] = {
        "busy_timeout": BUSY_TIMEOUT_MS,
        "journal_mode": choice.mode.lower(),
        "synchronous": _SYNCHRONOUS[choice.synchronous],
        "foreign_keys": int(foreign_keys),
        "trusted_schema": 0,
        "cell_size_check": 1,
        "journal_size_limit": 64 * 2**20,
    }
    for name, value in expected.items():
        _set(connection, name, value)


def set_up_reader(connection: Any) -> None:
    """A connection that cannot write, whatever it is asked."""
    for name, value in {"busy_timeout": BUSY_TIMEOUT_MS, "trusted_schema": 0, "query_only": 1}.items():
        _set(connection, name, value)


def _set(connection: Any, name: str, value: object) -> None:
    connection.execute(f"PRAGMA {name}={value}").fetchall()
    (got,) = connection.execute(f"PRAGMA {name}").fetchone()
    if got == value:
        return
    if name == "journal_mode":
        raise StoreBusyError(
            f"journal_mode stays {got}, {value} is needed; stop the other processes that use the store"
        )
    raise StoreError(f"SQLite keeps {name} at {got!r}, {value!r} is needed; install another SQLite")
