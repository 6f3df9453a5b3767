"""Everything that can go wrong with the store, as one tree; each error is one line: what, where, what to do.

StoreError                    70  internal fault
├── NotFoundError              2  no such store, version, job, model
├── BadQueryError              2  SQL that a person typed does not run
├── IllegalMoveError           1  the database refused: a state machine, a rule, a constraint
├── FencedError                1  the lease is somebody else's now
├── StoreReadOnlyError        74  the folder or the file cannot be written
├── StoreFullError            74  the disk is full or fails
├── StoreBusyError            75  another process holds the store; try again
├── ForeignFileError          65  the file is no store of reflexd
├── CorruptStoreError         65  the file, or a row in it, is damaged
├── OldStoreError             78  made by an older version, and nobody allowed an upgrade
└── NewerStoreError           78  made by a newer version
"""

import errno
from pathlib import Path


class StoreError(Exception):
    """Base of every error of the store."""

    exit_code = 70


class NotFoundError(StoreError):
    """The thing that was named is not in the store, or there is no store."""

    exit_code = 2


class BadQueryError(StoreError):
    """A person's SQL does not run."""

    exit_code = 2


class IllegalMoveError(StoreError):
    """The database refused a statement; nothing was changed."""

    exit_code = 1


class FencedError(StoreError):
    """The lease lapsed and the job went on without its former holder, who must stop."""

    exit_code = 1


class StoreReadOnlyError(StoreError):
    """The store's file or folder cannot be written."""

    exit_code = 74


class StoreFullError(StoreError):
    """The disk is full, or it fails."""

    exit_code = 74


class StoreBusyError(StoreError):
    """Another process held the store for too long."""

    exit_code = 75


class ForeignFileError(StoreError):
    """The file is something else than a store of reflexd; it was not touched."""

    exit_code = 65


class CorruptStoreError(StoreError):
    """The file, or a row, is damaged."""

    exit_code = 65


class OldStoreError(StoreError):
    """The store was made by an older version and must be upgraded first."""

    exit_code = 78


class NewerStoreError(StoreError):
    """The store was made by a newer version; it was not touched."""

    exit_code = 78


_BY_MESSAGE: tuple[tuple[str, type[StoreError], str], ...] = (
    ("disk is full", StoreFullError, "the disk is full; make room and run it again, nothing was lost"),
    ("disk i/o error", StoreFullError, "reading or writing failed; check the disk, nothing that was committed is lost"),
    ("readonly", StoreReadOnlyError, "cannot be written; check the permissions of the file and of its folder"),
    ("unable to open", StoreReadOnlyError, "cannot be opened; check the permissions of the file and of its folder"),
    ("not a database", ForeignFileError, "this file is no database; name another one, it was not touched"),
    ("malformed", CorruptStoreError, "the file is damaged; put a backup in its place"),
    ("locked", StoreBusyError, "another process holds the store; try again in a moment"),
)

_BY_ERRNO: dict[int | None, tuple[type[StoreError], str]] = {
    errno.ENOSPC: (StoreFullError, "the disk is full; make room and run it again"),
    errno.EDQUOT: (StoreFullError, "the disk quota is used up; make room and run it again"),
    errno.EIO: (StoreFullError, "reading or writing failed; check the disk"),
    errno.EACCES: (StoreReadOnlyError, "cannot be written; check the permissions of the folder"),
    errno.EPERM: (StoreReadOnlyError, "cannot be written; check the permissions of the folder"),
    errno.EROFS: (StoreReadOnlyError, "the file system is mounted read-only; choose another state_dir"),
    errno.ENOTDIR: (StoreReadOnlyError, "a part of this path is a file; choose another state_dir"),
}


def translate(error: BaseException, path: Path) -> StoreError:
    """The error of an SQLite driver, or of the operating system, as one line about `path`."""
    if isinstance(error, OSError):
        kind, advice = _BY_ERRNO.get(error.errno, (StoreError, error.strerror or str(error)))
        return kind(f"{error.filename or path}: {advice}")
    message = " ".join(str(error).split())
    if type(error).__name__ == "IntegrityError":
        return IllegalMoveError(f"{path}: refused by the store: {message}")
    for words, kind, advice in _BY_MESSAGE:
        if words in message.lower():
            return kind(f"{path}: {advice} ({message})")
    return StoreError(f"{path}: {message}")
