"""networkx node-link JSON: {"directed", "multigraph", "graph", "nodes": [{"id"}], "edges": [{"source", "target"}]}.

networkx 3.6 writes "edges", older versions wrote "links"; both are read. A file or a folder of *.json.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from graph.errors import TornFileError
from graph.records import Problem, Records
from graph.sources.base import DEFAULT_MAX_BYTES, Batch, Cursor
from graph.sources.whole_files import NotThisFormatError, WholeFormat

_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class NodeLinkSource:
    """Node-link JSON; files larger than `max_bytes` are refused."""

    max_bytes: int = DEFAULT_MAX_BYTES
    kind: str = "node-link"

    def read(self, path: Path, seen: Mapping[str, Cursor]) -> Iterator[Batch]:
        """The memory in `path`, a file or a folder of *.json, unless it is what `seen` saw.

        Raises:
            GraphError: See `WholeFormat.read`.
        """
        return WholeFormat(self.kind, ".json", parse_node_link).read(path, seen, self.max_bytes)


def parse_node_link(data: bytes, path: Path) -> Records:
    """Raw nodes and edges.

    Raises:
        TornFileError: Not JSON; the message names line and column.
        NotThisFormatError: JSON, but not a directed node-link graph.
    """
    value, problems = _load(data.removeprefix(_BOM), path)
    if not isinstance(value, dict):
        raise NotThisFormatError(f"{path}: not a node-link graph (no object at the top); write nx.node_link_data(G)")
    if value.get("directed") is False:
        raise NotThisFormatError(
            f"{path}: directed: an undirected graph does not say who answered whom; write a MultiDiGraph"
        )
    nodes, edges = value.get("nodes"), value.get("edges", value.get("links"))
    for key, found in (("nodes", nodes), ("edges", edges)):
        if not isinstance(found, list):
            raise NotThisFormatError(f"{path}: {key}: no list of that name; write nx.node_link_data(G)")
    return Records(tuple(nodes or ()), tuple(edges or ()), problems)


def _load(data: bytes, path: Path) -> tuple[Any, tuple[Problem, ...]]:
    try:
        return orjson.loads(data), ()
    except orjson.JSONDecodeError:
        return _load_tolerantly(data, path)


def _load_tolerantly(data: bytes, path: Path) -> tuple[Any, tuple[Problem, ...]]:
    """What Python's own json writes but JSON forbids: NaN, Infinity (both become null) and lone surrogates."""
    odd: list[str] = []
    try:
        value = json.loads(data.decode(), parse_constant=odd.append)
    except json.JSONDecodeError as error:
        torn = "the file is empty" if not data.strip() else f"not JSON ({error.msg})"
        raise TornFileError(
            f"{path}:{error.lineno}:{error.colno}: {torn}; write it to a temporary file, then rename"
        ) from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise TornFileError(f"{path}:{line}:{column}: not UTF-8; write the file as UTF-8") from None
    except (RecursionError, ValueError) as error:
        raise TornFileError(f"{path}:1:1: cannot be read ({error}); write nx.node_link_data(G)") from None
    return value, (
        Problem(str(path), f"{len(odd)} values are {' or '.join(sorted(set(odd)))}; ignored"),
    ) if odd else ()
