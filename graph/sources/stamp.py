"""What a file looks like from outside: the cheap question that most looks end with."""

import os
from collections.abc import Mapping
from pathlib import Path


def stamp_of(found: os.stat_result) -> dict[str, int]:
    """Size, times, inode and device. ctime changes with the content even where a tool sets mtime back (rsync)."""
    return {
        "size": found.st_size,
        "mtime_ns": found.st_mtime_ns,
        "ctime_ns": found.st_ctime_ns,
        "inode": found.st_ino,
        "device": found.st_dev,
    }


def unchanged(found: os.stat_result, cursor: Mapping[str, object] | None) -> bool:
    """Whether a file looks as it did when `cursor` was made."""
    return cursor is not None and stamp_of(found).items() <= cursor.items()


def seems_unchanged(path: Path, cursor: Mapping[str, object] | None) -> bool:
    """The same, of a path; what cannot be looked at is left to whoever opens it."""
    try:
        return cursor is not None and unchanged(path.stat(), cursor)
    except OSError:
        return False
