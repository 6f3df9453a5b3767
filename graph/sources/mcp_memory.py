"""The MCP memory server's knowledge graph: `memory.jsonl` (older: `memory.json`, JSON Lines too), or a folder of them.

    {"type": "entity", "name", "entityType", "observations": [text]}      a note, and a preference for each wish in it
    {"type": "relation", "from", "to", "relationType"}                    note ─mentions▶ note, with its relation_type

The server rewrites the whole file for every change, and not atomically: the file is emptied, then filled. So a file
that ends in half a line, or that is shorter than it was, is looked at again after a pause; one that stays torn is an
error, and what was known of it stays. Nothing has an id or a time: a preference is known by its entity's name and its
own words, so that an observation that goes takes only itself away.
"""

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from graph.errors import TornFileError
from graph.records import Problem, plain
from graph.schema import EdgeKind
from graph.sources.base import DEFAULT_MAX_BYTES, Batch, Cursor
from graph.sources.log_tree import read_tree
from graph.sources.preferences import is_person_name, is_rule_name, states_wish
from graph.sources.snapshot import Snapshot, take
from graph.sources.stamp import seems_unchanged
from graph.sources.telling import Telling

_BOM = b"\xef\xbb\xbf"
_TRIES = 4
_PAUSE = 0.1
_NAME = 60
_NAMES = 50


@dataclass(frozen=True)
class McpMemorySource:
    """Files of the MCP memory server. `sleep` takes seconds; it is called between two looks at a half-written file."""

    max_bytes: int = DEFAULT_MAX_BYTES
    kind: str = "mcp-memory"
    sleep: Callable[[float], None] = time.sleep

    def read(self, path: Path, seen: Mapping[str, Cursor]) -> Iterator[Batch]:
        """Each changed memory in `path` as one whole batch: a file, or every *memory.jsonl and memory.json of a folder.

        Raises:
            SourceMissingError: There is nothing at `path`.
            TornFileError: The file is half written, and stays so.
            GraphError: `path` is a file that cannot be read.
        """
        root = Path(os.path.abspath(path))  # noqa: PTH100 - a scope must not depend on `..`, nor on where links lead

        def read_memory(file: Path, folder: Path, unit: str, cursor: Cursor | None) -> Iterator[Batch]:
            if seems_unchanged(file, cursor):
                return
            scope = f"{self.kind}:{file}"
            snapshot, memory = self._still(file, folder, cursor)
            if cursor is not None and cursor.get("sha256") == snapshot.entry["sha256"]:
                yield Batch(unit, scope, snapshot.entry)
                return
            told, open_ends = _tell(memory, file)
            nodes, problems = tuple(told.nodes.values()), (*memory.problems, *open_ends)
            yield Batch(unit, scope, snapshot.entry, nodes, tuple(told.edges), True, problems, memory.unknown)

        return read_tree(root, seen, f"{self.kind}:{root}", _is_memory, read_memory)

    def _still(self, file: Path, folder: Path, cursor: Cursor | None) -> tuple[Snapshot, "_Memory"]:
        """The file when nobody is writing it: whole, and (if it is shorter than it was, or empty) the same twice."""
        before: bytes | None = None
        fault: TornFileError | None = None
        for attempt in range(_TRIES):
            if attempt:
                self.sleep(_PAUSE)
            snapshot = take(file, folder, self.max_bytes)
            try:
                memory = parse_memory(snapshot.data, file)
            except TornFileError as error:
                before, fault = None, error
                continue
            fault = None
            if snapshot.data == before or not _may_be_cut(snapshot.data, cursor):
                return snapshot, memory
            before = snapshot.data
        raise fault or TornFileError(f"{file}: it is being written; it will be read when it is still")


def _is_memory(name: str) -> bool:
    return name.endswith("memory.jsonl") or name == "memory.json"


def _may_be_cut(data: bytes, cursor: Cursor | None) -> bool:
    """Whole lines can be half a file too: the server writes no newline at the end, and begins with an empty file."""
    known = cursor.get("size") if cursor else None
    return data.endswith(b"\n") or not data or (isinstance(known, int) and len(data) < known)


# ---------------------------------------------------------------- the file


@dataclass
class _Memory:
    """What a file says, in its order: types and observations by entity name, relation types by (from, to)."""

    types: dict[str, str] = field(default_factory=dict)
    observations: dict[str, dict[str, None]] = field(default_factory=dict)
    relations: dict[tuple[str, str], dict[str, None]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    unknown: dict[str, int] = field(default_factory=dict)


def parse_memory(data: bytes, file: Path) -> _Memory:
    """Entities and relations; an entity that stands twice is one with the observations of both.

    Raises:
        TornFileError: A line is no JSON; the message names it.
    """
    memory = _Memory()
    for where, record in _records(data.removeprefix(_BOM), file):
        if not isinstance(record, dict):
            memory.problems.append(Problem(where, "is not an object; left out"))
            continue
        match record.get("type"):
            case "entity":
                _take_entity(memory, record, where)
            case "relation":
                _take_relation(memory, record, where)
            case other:
                _count(memory.unknown, plain(other) or "no type")
    return memory


def _records(data: bytes, file: Path) -> Iterator[tuple[str, Any]]:
    """Each record and where it stands, `FILE:OFFSET`. Also the answer of `read_graph`, saved as it is: one object."""
    offset = 0
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.strip():
            try:
                record = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                if number == 1 and (whole := _graph_object(data)) is not None:
                    yield from whole
                    return
                raise TornFileError(
                    f"{file}:{number}: half a line, or no JSON ({error}); let the server write it again"
                ) from None
            if isinstance(record, dict) and "type" not in record and (whole := _graph_object(line)) is not None:
                yield from whole
            else:
                yield f"{file}:{offset}", record
        offset += len(line) + 1


def _graph_object(data: bytes) -> list[tuple[str, Any]] | None:
    try:
        graph = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(graph, dict) or not isinstance(graph.get("entities"), list):
        return None
    relations = graph.get("relations")
    return [
        (f"{key} {index}", {**record, "type": kind} if isinstance(record, dict) else record)
        for key, kind, records in (("entities", "entity", graph["entities"]), ("relations", "relation", relations))
        for index, record in enumerate(records if isinstance(records, list) else ())
    ]


def _take_entity(memory: _Memory, record: Mapping[str, Any], where: str) -> None:
    name = _text(record.get("name"))
    if not name:
        memory.problems.append(Problem(where, "an entity without a name; left out"))
        return
    given = record.get("observations", [])
    said = [_observation(one) for one in given] if isinstance(given, list) else [""]
    if not all(said):
        memory.problems.append(Problem(where, f"{name[:_NAME]}: observations that are no texts; left out"))
    memory.types[name] = _text(record.get("entityType")) or memory.types.get(name, "")
    memory.observations.setdefault(name, {}).update(dict.fromkeys(one for one in said if one))


def _take_relation(memory: _Memory, record: Mapping[str, Any], where: str) -> None:
    begin, end, kind = (_text(record.get(key)) for key in ("from", "to", "relationType"))
    if begin and end:
        memory.relations.setdefault((begin, end), {})[kind] = None
    else:
        memory.problems.append(Problem(where, "a relation without both ends; left out"))


def _observation(value: object) -> str:
    return _text(value.get("content") if isinstance(value, dict) else value)


def _text(value: object) -> str:
    return plain(value).strip() if isinstance(value, str) else ""


def _count(unknown: dict[str, int], name: str) -> None:
    name = name[:_NAME] if name[:_NAME] in unknown or len(unknown) < _NAMES else "…"
    unknown[name] = unknown.get(name, 0) + 1


# ---------------------------------------------------------------- its words in the memory


def _tell(memory: _Memory, file: Path) -> tuple[Telling, list[Problem]]:
    told = Telling(str(file))
    for name, observations in memory.observations.items():
        kind = memory.types[name]
        text = "\n".join([f"{name} ({kind})" if kind else name, *observations])
        entity = told.note(f"entity:{name}", text, None, None, native_id=name, entity_type=kind)
        for observation in _wishes(kind, observations):
            own = hashlib.sha256(f"{name}\0{observation}".encode()).hexdigest()[:32]
            wish = told.preference(f"preference:{own}", observation, None, None, native_id=own, about=name)
            told.edge(wish, entity, EdgeKind.MENTIONS, relation_type="about")
    open_ends = []
    for (begin, end), kinds in memory.relations.items():
        told.edge(f"entity:{begin}", f"entity:{end}", EdgeKind.MENTIONS, relation_type="; ".join(kinds))
        where = f"{file}: {begin} → {end}"
        open_ends += [
            Problem(where, f"dangling relation: there is no entity {missing}; kept with an open end")
            for missing in dict.fromkeys((begin, end))
            if missing not in memory.observations
        ]
    return told, open_ends


def _wishes(kind: str, observations: Iterable[str]) -> Iterator[str]:
    of_rules, of_person = is_rule_name(kind), is_person_name(kind)
    return (one for one in observations if of_rules or states_wish(one, of_person))
