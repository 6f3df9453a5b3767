"""Files that only grow, read from where the last read ended: whole lines, in bounded memory.

    entry: {"offset", "head", "tail", "size", "mtime_ns", "ctime_ns", "inode", "device"}

    size, times and inode as before          nothing to read
    head and tail hashes as before           from `offset`
    shorter, or a hash differs               another file has taken its place: from the start

`head` is the sha256 of the first 4 KiB (or of all before `offset`, if less), `tail` of the last 256 bytes before
`offset`: size and times alone lie (git checkout, rsync, file systems with whole seconds). What follows the last newline
is half a line, and is waited for.
"""

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple

from graph.errors import GraphError, SourceMissingError
from graph.sources.base import Cursor, Problem
from graph.sources.snapshot import inside
from graph.sources.stamp import stamp_of, unchanged

_HEAD = 4096
_TAIL = 256
_CHUNK = 1 << 20


class Line(NamedTuple):
    """One line without its newline, and where it begins (bytes from the start of the file)."""

    offset: int
    data: bytes


@dataclass
class Appended:
    """The new lines of one file. Iterate `lines()`, then ask for `entry(offset)`: all before `offset` is done with.

    Attributes:
        path: The file, as it was named.
        start: Where reading begins: 0 for a file that is new or has been replaced.
        replaced: Another file has taken the place of the one that was read before.
        problems: Lines that were left out for their length; `where` is `path:offset`.
    """

    path: Path
    start: int
    replaced: bool
    _file: FileIO
    _stat: os.stat_result
    problems: list[Problem] = field(default_factory=list)
    _max_line: int = 64 * 2**20
    _at_end: bool = False

    def lines(self) -> Iterator[Line]:
        """Whole lines from `start` to the size the file had when it was opened; too long a line is left out."""
        self._file.seek(self.start)
        offset = self.start
        pieces: list[bytes] = []  # of a line that began in an earlier chunk
        held = 0
        left = self._stat.st_size - self.start
        while left > 0 and (chunk := self._file.read(min(_CHUNK, left))):
            left -= len(chunk)
            begin = 0
            while (end := chunk.find(b"\n", begin)) >= 0:
                data, length = chunk[begin:end], held + end - begin
                if length > self._max_line:
                    self.problems.append(
                        Problem(f"{self.path}:{offset}", f"a line of more than {self._max_line:,} bytes; left out")
                    )
                else:
                    yield Line(offset, b"".join((*pieces, data)) if pieces else data)
                offset += length + 1
                begin, pieces, held = end + 1, [], 0
            held += len(chunk) - begin
            if held > self._max_line:
                pieces = []  # its end is waited for, its bytes are not kept
            elif begin < len(chunk):
                pieces.append(chunk[begin:])
        self._at_end = True

    def entry(self, offset: int) -> dict[str, Any]:
        """The cursor that says: everything before `offset` is done with.

        Asked for before `lines()` has ended, it is the cursor of a file that has more to read.
        """
        return {
            "offset": offset,
            "head": _hash_at(self._file, 0, min(offset, _HEAD)),
            "tail": _hash_at(self._file, max(0, offset - _TAIL), offset),
            **stamp_of(self._stat),
            "size": self._stat.st_size if self._at_end else offset,
        }

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def open_appended(path: Path, folder: Path, entry: Cursor | None, max_line: int = 64 * 2**20) -> Appended | None:
    """The file if it has something new, else None. A hash of `entry` that differs means another file: from the start.

    Raises:
        SourceMissingError: It is not there.
        GraphError: It is a link out of `folder`, no regular file, or cannot be opened.
    """
    real = inside(path, folder)
    try:
        if unchanged(os.stat(real), entry):  # noqa: PTH116 - the hot path of an idle tick
            return None
        # O_NONBLOCK: a named pipe must be refused, not waited for. O_NOFOLLOW: what was resolved is what is opened.
        descriptor = os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        raise SourceMissingError(f"{path}: not there; name a file or a folder") from None
    except OSError as error:
        raise GraphError(f"{path}: cannot be read ({error.strerror}); make it readable for this user") from None
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise GraphError(f"{path}: not a regular file; name a file or a folder of files")
    file = FileIO(descriptor, "rb")
    try:
        start, replaced = _go_on_from(file, found, entry)
    except OSError as error:
        file.close()
        raise GraphError(f"{path}: cannot be read ({error.strerror}); check the disk it lies on") from None
    return Appended(path, start, replaced, file, found, _max_line=max_line)


def _go_on_from(file: FileIO, found: os.stat_result, entry: Cursor | None) -> tuple[int, bool]:
    if entry is None:
        return 0, False
    offset = entry.get("offset")
    if not isinstance(offset, int) or not 0 <= offset <= found.st_size:
        return 0, True
    same = _hash_at(file, 0, min(offset, _HEAD)) == entry.get("head") and _hash_at(
        file, max(0, offset - _TAIL), offset
    ) == entry.get("tail")
    return (offset, False) if same else (0, True)


def _hash_at(file: FileIO, begin: int, end: int) -> str:
    return hashlib.sha256(os.pread(file.fileno(), end - begin, begin)).hexdigest()
