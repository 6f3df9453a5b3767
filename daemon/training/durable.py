"""Large files and whole folders that survive a power cut, written by a callback instead of from bytes in hand.

Built on `daemon.durable`: beside their place, fsynced, renamed, the folder fsynced. On any fault the old ones stay.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

from daemon.durable import fsync, fsync_tree, make_folder, replace, storage_faults


def write_file(path: Path, write: Callable[[Path], object]) -> None:
    """Make `path` what `write` writes to the path it is given.

    Raises:
        FullError: the disk is full or the folder cannot be written; the old file is untouched.
    """
    partial = path.with_name(path.name + ".partial")
    with storage_faults(path):
        make_folder(path.parent)
        try:
            write(partial)
            fsync(partial)
            replace(partial, path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


def write_folder(path: Path, fill: Callable[[Path], object]) -> None:
    """Make folder `path` what `fill` puts into the folder it is given.

    Raises:
        FullError: the disk is full or the folder cannot be written; the old folder is untouched.
    """
    partial = path.with_name(path.name + ".partial")
    with storage_faults(path):
        make_folder(path.parent)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            fill(partial)
            fsync_tree(partial)
            _swap(partial, path)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


def _swap(partial: Path, path: Path) -> None:
    """Rename `partial` to `path`. No rename replaces a full folder, so an old one steps aside first."""
    if not path.exists():
        replace(partial, path)
        return
    aside = path.with_name(path.name + ".old")
    shutil.rmtree(aside, ignore_errors=True)
    path.rename(aside)
    try:
        replace(partial, path)
    except OSError:
        if not path.exists():
            aside.rename(path)
        raise
    shutil.rmtree(aside, ignore_errors=True)
