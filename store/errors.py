"""What can go wrong with the store; each error is one line: what, where, what to do.

StoreError             70
├── NotFoundError       2  no such version, job or store
├── IllegalMoveError    1  the state machine forbids it
├── FencedError        75  somebody else holds the job now
├── StoreBusyError     75  another process has been writing for too long
├── ForeignFileError   65  the file is no reflexd store
├── CorruptStoreError  65  the file is damaged
├── StoreFullError     74  the disk is full
├── StoreReadOnlyError 74  the folder or file cannot be written
└── NewerStoreError    78  made by a newer reflexd
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from store.sqlite import driver


class StoreError(Exception):
    """Base; `exit_code` is that of sysexits(3)."""

    exit_code = 70


class NotFoundError(StoreError):
    """There is no such thing."""

    exit_code = 2


class IllegalMoveError(StoreError):
    """The state machine forbids the move."""

    exit_code = 1


class FencedError(StoreError):
    """Somebody else holds the job now; this worker's results are not adopted."""

    exit_code = 75


class StoreBusyError(StoreError):
    """Another process has been writing for too long."""

    exit_code = 75


class ForeignFileError(StoreError):
    """The file is no reflexd store."""

    exit_code = 65


class CorruptStoreError(StoreError):
    """The file is damaged."""

    exit_code = 65


class StoreFullError(StoreError):
    """The disk is full."""

    exit_code = 74


class StoreReadOnlyError(StoreError):
    """The folder or file cannot be written."""

    exit_code = 74


class NewerStoreError(StoreError):
    """The store was made by a newer reflexd."""

    exit_code = 78


_KNOWN: tuple[tuple[str, type[StoreError], str], ...] = (
    ("disk is full", StoreFullError, "make room and run the command again; what was committed is safe"),
    ("readonly", StoreReadOnlyError, "check the permissions of the file and its folder"),
    ("unable to open", StoreReadOnlyError, "check that the folder is there and can be written"),
    ("is locked", StoreBusyError, "another process is writing; try again"),
    ("not a database", ForeignFileError, "it is no SQLite file; name another state_dir"),
    ("malformed", CorruptStoreError, "restore the last backup"),
    ("disk i/o error", StoreFullError, "check the disk"),
)


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn what SQLite says inside the block into one line that names `path` and what to do.

    Raises:
        StoreError: The database refused; the transaction was rolled back.
    """
    from sqlalchemy.exc import DBAPIError

    module, _ = driver()
    try:
        yield
    except DBAPIError as error:
        raise explained(str(error.orig), path) from error
    except module.Error as error:  # of a cursor that was read without SQLAlchemy
        raise explained(str(error), path) from error


def explained(said: str, path: Path) -> StoreError:
    """The error for what SQLite `said`."""
    for words, kind, advice in _KNOWN:
        if words in said.lower():
            return kind(f"{path}: {said}; {advice}")
    if said.startswith(("no such", "near ", "incomplete")):
        return StoreError(f"{path}: {said}; install reflexd again, or report it")
    return IllegalMoveError(f"{path}: refused: {said}")
