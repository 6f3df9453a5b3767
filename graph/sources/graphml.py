"""GraphML (http://graphml.graphdrawing.org): typed <key>s, <node>s and <edge>s with <data>; lists are JSON in a string.

Read with expat alone, in one pass. A document type is refused: it could define entities that grow without bound.
"""

import xml.parsers.expat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from graph.errors import TornFileError
from graph.records import Problem, Records
from graph.sources.base import DEFAULT_MAX_BYTES, Batch, Cursor
from graph.sources.whole_files import NotThisFormatError, WholeFormat

_WHOLE = {"int", "integer", "long"}
_FRACTION = {"float", "double", "real"}


@dataclass(frozen=True)
class GraphMLSource:
    """GraphML; files larger than `max_bytes` are refused."""

    max_bytes: int = DEFAULT_MAX_BYTES
    kind: str = "graphml"

    def read(self, path: Path, seen: Mapping[str, Cursor]) -> Iterator[Batch]:
        """The memory in `path`, a file or a folder of *.graphml, unless it is what `seen` saw.

        Raises:
            GraphError: See `WholeFormat.read`.
        """
        return WholeFormat(self.kind, ".graphml", parse_graphml).read(path, seen, self.max_bytes)


def parse_graphml(data: bytes, path: Path) -> Records:
    """Raw nodes and edges.

    Raises:
        TornFileError: Not well-formed XML; the message names line and column.
        NotThisFormatError: XML, but not a directed GraphML graph, or with a document type.
    """
    document = _Document(path)
    parser = xml.parsers.expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = document.start
    parser.EndElementHandler = document.end
    parser.CharacterDataHandler = document.characters
    parser.StartDoctypeDeclHandler = document.doctype
    try:
        parser.Parse(data, True)
    except xml.parsers.expat.ExpatError as error:
        what = xml.parsers.expat.errors.messages.get(error.code, "malformed")
        raise TornFileError(
            f"{path}:{error.lineno}:{error.offset + 1}: not XML ({what}); write the file whole, then rename"
        ) from None
    if not document.graphs:
        raise NotThisFormatError(f"{path}: no <graph> in it; write nx.write_graphml(G, file)")
    return Records(tuple(document.nodes), tuple(document.edges), tuple(document.problems))


@dataclass
class _Key:
    name: str
    type: str
    domain: str
    default: str | None = None


@dataclass
class _Document:
    """What was understood so far; expat calls the methods in document order."""

    path: Path
    keys: dict[str, _Key] = field(default_factory=dict)
    nodes: list[dict[str, Any]] = field(default_factory=list)
    edges: list[dict[str, Any]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    graphs: int = 0
    _open: list[dict[str, Any]] = field(default_factory=list)
    _key: _Key | None = None
    _data: str | None = None
    _text: list[str] = field(default_factory=list)

    def doctype(self, name: str, *_: object) -> None:
        raise NotThisFormatError(f"{self.path}: <!DOCTYPE {name[:40]}>: a document type is not read; remove it")

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        self._text.clear()
        begin: dict[str, Callable[[Mapping[str, str]], None]] = {
            "key": self._start_key,
            "graph": self._start_graph,
            "node": self._start_node,
            "edge": self._start_edge,
            "data": self._start_data,
            "hyperedge": self._skip_hyperedge,
        }
        if handle := begin.get(_local(tag)):
            handle(attributes)

    def end(self, tag: str) -> None:
        match _local(tag):
            case "default" if self._key is not None:
                self._key.default = "".join(self._text)
            case "key":
                self._key = None
            case "data":
                self._end_data()
            case "node" | "edge" | "graph" if self._open:
                self._open.pop()
        self._text.clear()

    def characters(self, text: str) -> None:
        self._text.append(text)

    def _start_key(self, attributes: Mapping[str, str]) -> None:
        key_id = attributes.get("id", "")
        self._key = _Key(
            attributes.get("attr.name", key_id), attributes.get("attr.type", "string"), attributes.get("for", "all")
        )
        self.keys[key_id] = self._key

    def _start_graph(self, attributes: Mapping[str, str]) -> None:
        if attributes.get("edgedefault") == "undirected":
            raise NotThisFormatError(
                f"{self.path}: edgedefault: an undirected graph does not say who answered whom; write a MultiDiGraph"
            )
        self.graphs += 1
        self._open.append({})

    def _start_node(self, attributes: Mapping[str, str]) -> None:
        node = {**self._defaults("node"), "id": attributes.get("id")}
        self.nodes.append(node)
        self._open.append(node)

    def _start_edge(self, attributes: Mapping[str, str]) -> None:
        ends = {end: attributes.get(end) for end in ("source", "target")}
        edge = {**self._defaults("edge"), **ends}
        self.edges.append(edge)
        self._open.append(edge)

    def _skip_hyperedge(self, attributes: Mapping[str, str]) -> None:
        self.problems.append(
            Problem(f"{self.path}: hyperedge {attributes.get('id', '')}", "edges have two ends here; left out")
        )

    def _start_data(self, attributes: Mapping[str, str]) -> None:
        self._data = attributes.get("key", "")

    def _end_data(self) -> None:
        key = self.keys.get(self._data or "")
        self._data = None
        if key is not None and self._open and key.name not in {"id", "source", "target"}:
            self._open[-1][key.name] = self._value(key, "".join(self._text))

    def _defaults(self, domain: str) -> dict[str, Any]:
        usable = [key for key in self.keys.values() if key.default is not None and key.domain in {domain, "all"}]
        return {key.name: self._value(key, key.default or "") for key in usable}

    def _value(self, key: _Key, text: str) -> object:
        """The typed value; one that is not of its type is told, and None."""
        try:
            if key.type in _WHOLE:
                return int(text)
            if key.type in _FRACTION:
                return float(text)
        except ValueError:
            self.problems.append(Problem(f"{self.path}: {key.name}", f"{text[:40]!r} is no {key.type}; ignored"))
            return None
        return text.strip().lower() in {"true", "1"} if key.type == "boolean" else text


def _local(tag: str) -> str:
    """The tag without its namespace."""
    return tag.rpartition(" ")[2]
