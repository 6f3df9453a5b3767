"""Files that survive a power cut: written beside their place, fsynced, renamed, and the folder fsynced.

A reader sees the old file or the new one, whole. Nothing here ever writes into a file that somebody may be reading.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from daemon.errors import FullError

PARTIAL = ".partial"


@contextmanager
def faults_named(path: Path) -> Iterator[None]:
    """Turn an operating-system error into one line that names the file."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise FullError(f"{path}: cannot be written ({reason}); free space or make the folder writable") from error


def fsync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's entries, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_file(path: Path, write: Callable[[Path], None]) -> None:
    """Make `path` what `write` writes to the path it is given; on any fault the old file stays.

    Raises:
        FullError: the disk is full or the folder cannot be written.
    """
    partial = path.with_name(path.name + PARTIAL)
    with faults_named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(partial)
            fsync(partial)
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        fsync(path.parent)


def write_bytes(path: Path, content: bytes) -> None:
    """`write_file` for bytes in hand."""
    write_file(path, lambda partial: _write_all(partial, content))


def _write_all(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def write_folder(path: Path, fill: Callable[[Path], None]) -> None:
    """Make folder `path` what `fill` puts into the folder it is given; an earlier one goes only when all is there.

    Raises:
        FullError: the disk is full or the folder cannot be written.
    """
    partial = path.with_name(path.name + PARTIAL)
    with faults_named(path):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            fill(partial)
            for entry in sorted(partial.rglob("*")):
                fsync(entry)
            fsync(partial)
            _swap(partial, path)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        fsync(path.parent)


def _swap(partial: Path, path: Path) -> None:
    """Rename `partial` to `path`. No rename replaces a full folder, so the old one steps aside first."""
    if not path.exists():
        partial.rename(path)
        return
    aside = path.with_name(path.name + ".old")
    shutil.rmtree(aside, ignore_errors=True)
    path.rename(aside)
    try:
        partial.rename(path)
    except OSError:
        aside.rename(path)
        raise
    shutil.rmtree(aside, ignore_errors=True)
