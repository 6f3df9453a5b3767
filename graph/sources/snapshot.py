"""Files as they were at one moment: read whole, unchanged meanwhile, of bounded size, inside their folder."""

import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graph.errors import GraphError, SourceMissingError
from graph.sources.stamp import stamp_of

_TRIES = 3


@dataclass(frozen=True)
class Snapshot:
    """The bytes of a file, and the cursor entry that will recognise them."""

    path: Path
    data: bytes
    entry: dict[str, Any]


def inside(path: Path, folder: Path) -> Path:
    """`path` with links resolved.

    Raises:
        GraphError: It leads out of `folder`, so what is behind it was never offered to be read.
    """
    real = Path(os.path.realpath(path))  # unlike Path.resolve, at ease with links that lead in a circle
    if not real.is_relative_to(folder.resolve()):
        raise GraphError(f"{path}: a symbolic link out of {folder}; name the file it leads to instead")
    return real


def take(path: Path, folder: Path, max_bytes: int, on_read: Callable[[Path], None] = lambda _: None) -> Snapshot:
    """The whole file, read again if it changed meanwhile. `on_read` is called between reading and looking again.

    Raises:
        SourceMissingError: It is not there.
        GraphError: It cannot be opened, is no regular file, too large, behind a link that leads out, or never still.
    """
    real = inside(path, folder)
    for _ in range(_TRIES):
        try:
            before, data = _read(path, real, max_bytes)
            on_read(path)
            after = real.stat()
        except FileNotFoundError:
            raise SourceMissingError(f"{path}: not there; name a file or a folder") from None
        except OSError as error:
            raise GraphError(f"{path}: cannot be read ({error.strerror}); make it readable for this user") from None
        if (stamp_of(before), len(data)) == (stamp_of(after), after.st_size):
            return Snapshot(path, data, {**stamp_of(after), "sha256": hashlib.sha256(data).hexdigest()})
    raise GraphError(f"{path}: changed while it was read, {_TRIES} times; it will be read when it is still")


def _read(path: Path, real: Path, max_bytes: int) -> tuple[os.stat_result, bytes]:
    # O_NONBLOCK: a named pipe must be refused, not waited for. O_NOFOLLOW: what was resolved is what is opened.
    descriptor = os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise GraphError(f"{path}: not a regular file; name a file or a folder of files")
        data = file.read(max_bytes + 1) if found.st_size <= max_bytes else b""
        size = max(found.st_size, len(data))
        if size > max_bytes:
            raise too_large(path, size, max_bytes)
        return found, data


def too_large(path: Path, size: int, max_bytes: int) -> GraphError:
    """The error that names the size and the setting."""
    return GraphError(
        f"{path}: {size:,} bytes, more than max_bytes = {max_bytes:,}; split it, or raise sources.max_bytes"
    )
