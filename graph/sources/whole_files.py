"""Sources whose files are rewritten whole: a file, or a folder of files, told apart by content.

Memories of this kind are small (kilobytes), so a change is a full read; what is avoided is reading what did not change.
In a folder each file's ids are its own, but an edge may name a node of another file.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graph.errors import GraphError, SourceMissingError
from graph.records import Problem, Records, identifier, same_content
from graph.sources.base import Batch, Cursor
from graph.sources.snapshot import Snapshot, inside, take, too_large
from graph.sources.stamp import seems_unchanged

Parse = Callable[[bytes, Path], Records]


_Found = tuple[Records | None, Cursor]
"""What a look gave, None where only the times of a file had changed; and the cursor for the next."""


class NotThisFormatError(GraphError):
    """The file is sound, but of another kind: fatal for a named file, a problem to tell in a folder of many."""


@dataclass(frozen=True)
class WholeFormat:
    """A format of rewritten files: what a person calls it, how its files end, how one is understood."""

    kind: str
    suffix: str
    parse: Parse

    def read(self, path: Path, seen: Mapping[str, Cursor], max_bytes: int) -> Iterator[Batch]:
        """A file, or all `*suffix` files of a folder, as one whole batch; nothing when nothing changed.

        Raises:
            SourceMissingError: There is nothing at `path`.
            TornFileError: A file is malformed; nothing of the folder is given, so that what is known stays as it is.
            GraphError: A file is too large, not a regular file, or a link out of its folder.
        """
        cursor = seen.get("")
        found = self._folder(path, cursor, max_bytes) if path.is_dir() else self._file(path, cursor, max_bytes)
        if found is None:
            return
        records, entry = found
        scope = f"{self.kind}:{path.absolute()}"
        if records is None:
            yield Batch("", scope, entry)
        else:
            yield Batch("", scope, entry, records.nodes, records.edges, whole=True, problems=records.problems)

    def _file(self, path: Path, cursor: Cursor | None, max_bytes: int) -> _Found | None:
        if not path.exists():
            raise SourceMissingError(f"{path}: not there; name a file or a folder")
        inside(path, path.parent)
        if seems_unchanged(path, cursor):
            return None
        snapshot = take(path, path.parent, max_bytes)
        if cursor is not None and cursor.get("sha256") == snapshot.entry["sha256"]:
            return None, snapshot.entry
        records = self.parse(snapshot.data, path)
        return Records(tuple(_in_file(records.nodes, path)), records.edges, records.problems), snapshot.entry

    def _folder(self, folder: Path, cursor: Cursor | None, max_bytes: int) -> _Found | None:
        paths = sorted(path for path in folder.iterdir() if path.suffix == self.suffix and path.name[0] != ".")
        for path in paths:
            inside(path, folder)
        paths = [path for path in paths if path.is_file()]
        seen: Mapping[str, Cursor] = cursor.get("files", {}) if cursor else {}
        if (
            cursor is not None
            and seen.keys() == {p.name for p in paths}
            and all(seems_unchanged(path, seen[path.name]) for path in paths)
        ):
            return None
        total = sum(path.stat().st_size for path in paths)
        if total > max_bytes:
            raise too_large(folder, total, max_bytes)
        snapshots = [take(path, folder, max_bytes) for path in paths]
        entries = {snapshot.path.name: snapshot.entry for snapshot in snapshots}
        if cursor is not None and _hashes(seen) == _hashes(entries):
            return None, {"files": entries}
        files, problems = _parse_all(snapshots, self.parse)
        if not paths:
            problems.append(Problem(str(folder), f"no *{self.suffix} file in it"))
        nodes, edges = _merged(files)
        return Records(tuple(nodes), tuple(edges), tuple(problems)), {"files": entries}


def _hashes(entries: Mapping[str, Cursor]) -> dict[str, object]:
    return {name: entry.get("sha256") for name, entry in entries.items()}


def _parse_all(snapshots: Sequence[Snapshot], parse: Parse) -> tuple[dict[Path, Records], list[Problem]]:
    files: dict[Path, Records] = {}
    problems: list[Problem] = []
    for snapshot in snapshots:
        try:
            files[snapshot.path] = parse(snapshot.data, snapshot.path)
            problems.extend(files[snapshot.path].problems)
        except NotThisFormatError as error:
            problems.append(Problem(str(snapshot.path), f"{error}; left out"))
    return files, problems


def _in_file(nodes: Sequence[Any], path: Path) -> list[Any]:
    return [{**node, "file": str(path)} if isinstance(node, Mapping) else node for node in nodes]


def _merged(files: Mapping[Path, Records]) -> tuple[list[Any], list[Any]]:
    """One graph of many files; an id that stands for different things in different files is told apart by its file."""
    clashing = _clashing(files)
    nodes: list[Any] = []
    edges: list[Any] = []
    shared: set[str] = set()
    for path, records in files.items():
        own = {str(node_id) for node in records.nodes if (node_id := _id(node)) in clashing}
        for node in _in_file(records.nodes, path):
            node_id = _id(node)
            if node_id in own and isinstance(node, Mapping):
                nodes.append({**node, "id": f"{path.name}#{node_id}", "native_id": node_id})
            elif node_id is None or node_id not in shared:
                nodes.append(node)
        shared.update(node_id for node in records.nodes if (node_id := _id(node)) is not None and node_id not in own)
        edges.extend(_requalified(edge, own, path.name) for edge in records.edges)
    return nodes, edges


def _id(node: object) -> str | None:
    return identifier(node.get("id")) if isinstance(node, Mapping) else None


def _clashing(files: Mapping[Path, Records]) -> set[str]:
    first: dict[str, tuple[Path, Mapping[str, Any]]] = {}
    clashing: set[str] = set()
    for path, records in files.items():
        for node in records.nodes:
            node_id = _id(node)
            if node_id is None:
                continue
            owner, body = first.setdefault(node_id, (path, node))
            if owner != path and not same_content(body, node):
                clashing.add(node_id)
    return clashing


def _requalified(edge: Any, own: set[str], file: str) -> Any:
    if not isinstance(edge, Mapping):
        return edge
    ends = {end: identifier(edge.get(end)) for end in ("source", "target")}
    return {**edge, **{end: f"{file}#{node_id}" for end, node_id in ends.items() if node_id in own}}
