"""Files that survive a power cut: written beside their place, fsynced, renamed over it, the folder fsynced.

A reader sees the old file or the new one, whole; nothing here writes into a file that somebody may be reading. Without
the last fsync the rename itself may be lost, so a caller may only then say that the file is there.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from daemon.errors import FullError

_ADVICE = {
    errno.ENOSPC: "make room on the disk and try again",
    errno.EDQUOT: "the quota is used up: make room and try again",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "check the permissions of the folder",
    errno.EPERM: "check the permissions of the folder",
}


@contextmanager
def storage_faults(path: Path) -> Iterator[None]:
    """Turn an operating-system error inside the block into one line that names `path` and says what to do.

    Raises:
        FullError: Something could not be written; the old content of `path` is untouched.
    """
    try:
        yield
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0, "check the disk and the folder")
        raise FullError(f"{path}: cannot be written: {error.strerror or error}; {advice}") from error


def write_durably(path: Path, data: bytes) -> None:
    """Make `data` the whole content of `path`; when this returns, that survives a power cut. Parents are made.

    Raises:
        FullError: It could not be written; the old file, if any, is untouched.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with storage_faults(path):
        make_folder(path.parent)
        try:
            _write_synced(partial, data)
            replace(partial, path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


def make_folder(folder: Path) -> None:
    """Make `folder` and its parents where they are missing; a new one's name is on the disk when this returns."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    fsync(folder.parent)


def replace(source: Path, target: Path) -> None:
    """Rename `source`, whose content is fsynced already, over `target` in the same folder, and fsync that folder."""
    source.replace(target)
    fsync(target.parent)


def fsync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's entries, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_tree(folder: Path) -> None:
    """`fsync` for every file and folder under `folder`, and for itself last."""
    for entry in sorted(folder.rglob("*")):
        fsync(entry)
    fsync(folder)


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
