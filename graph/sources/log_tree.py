"""A log, or a folder tree of logs: what is there, what changed, what is gone; each file is a unit of its own.

    scandir ─▶ wanted files ─▶ size and times as in the cursor? nothing ─▶ else read_log(...) ─▶ its batches
    a unit with a cursor that is there no more ─▶ a batch without a cursor

A file that cannot be read is told as a problem and keeps the cursor it had; the others go on.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from graph.errors import GraphError, SourceMissingError
from graph.sources.base import Batch, Cursor, Problem
from graph.sources.snapshot import inside
from graph.sources.stamp import unchanged

ReadLog = Callable[[Path, Path, str, Cursor | None], Iterator[Batch]]
"""Reads one file: its path, the folder that it must lie in, its unit, and its cursor."""

_NEVER = frozenset({".git", "node_modules", "__pycache__"})


@dataclass
class _Walk:
    """What a walk met besides the files that it gave: folders that could not be listed, links that lead out."""

    root: Path
    unlisted: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def read_tree(
    path: Path, seen: Mapping[str, Cursor], scope: str, wanted: Callable[[str], bool], read_log: ReadLog
) -> Iterator[Batch]:
    """Batches of every changed log under `path` whose name is `wanted`, or of the file `path` whatever its name.

    Raises:
        SourceMissingError: There is nothing at `path`.
        GraphError: `path` is a file and cannot be read.
    """
    if not path.is_dir():
        if not path.exists():
            raise SourceMissingError(f"{path}: not there; name a file or a folder")
        yield from read_log(path, path.parent, path.name, seen.get(path.name))
        return
    walk = _Walk(path)
    met: set[str] = set()
    for entry in _files(path, walk, wanted):
        unit = os.path.relpath(entry.path, path)
        met.add(unit)
        cursor = seen.get(unit)
        if cursor is not None and _unchanged(entry, cursor):
            continue
        try:
            yield from read_log(Path(entry.path), path, unit, cursor)
        except (GraphError, OSError) as error:
            yield Batch(unit, scope, cursor, problems=(Problem(entry.path, str(error)),))
    yield from _after(walk, seen, met, scope)


def _after(walk: _Walk, seen: Mapping[str, Cursor], met: set[str], scope: str) -> Iterator[Batch]:
    for unit in sorted(seen.keys() - met):
        if unit and not any(unit.startswith(folder) for folder in walk.unlisted):
            yield Batch(unit, scope, None)
    told = {"problems": [[problem.where, problem.what] for problem in walk.problems]}
    if told != seen.get("", {"problems": []}):  # told once, not at every look
        yield Batch("", scope, told, problems=tuple(walk.problems))


def _files(folder: Path, walk: _Walk, wanted: Callable[[str], bool]) -> Iterator[os.DirEntry[str]]:
    """Wanted files below `folder`, in the order of their names; folders behind links are not entered."""
    folders = [str(folder)]
    while folders:
        try:
            with os.scandir(folders.pop()) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            where = str(error.filename)
            walk.problems.append(Problem(where, f"cannot be listed ({error.strerror}); make it readable for this user"))
            below_root = os.path.relpath(where, walk.root)
            walk.unlisted.append("" if below_root == "." else below_root + os.sep)
            continue
        below = []
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if entry.name not in _NEVER:
                    below.append(entry.path)
            elif wanted(entry.name):
                if not entry.is_dir():
                    yield entry
            elif entry.is_symlink() and entry.is_dir():
                _tell_link(entry, walk)
        folders.extend(reversed(below))


def _tell_link(entry: os.DirEntry[str], walk: _Walk) -> None:
    try:
        inside(Path(entry.path), walk.root)
    except GraphError as error:
        walk.problems.append(Problem(entry.path, str(error)))


def _unchanged(entry: os.DirEntry[str], cursor: Cursor) -> bool:
    """Whether size and times are the cursor's, by one look; a link is looked at more closely where it is opened."""
    if entry.is_symlink():
        return False
    try:
        found = entry.stat(follow_symlinks=False)
    except OSError:
        return False
    return unchanged(found, cursor)
