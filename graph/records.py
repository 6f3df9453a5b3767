"""Raw nodes and edges, as any source yields them, made safe: known kinds, string ids, UTC milliseconds, finite weights.

Nothing here raises for bad data: what cannot be used is left out and told as a `Problem`, for a real memory is written
by many hands over years, and one bad node must not hide the others.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from graph.behaviours.cues import cue_fault, cues_of
from graph.schema import EdgeKind, NodeKind

_MAX_MS = 253_402_300_799_999  # 9999-12-31, the last day that ISO 8601 and datetime agree on
_TALKS = {NodeKind.DIRECTION, NodeKind.RESPONSE, NodeKind.CORRECTION}

_ANSWERS = frozenset({NodeKind.RESPONSE, NodeKind.PROPOSAL})
_OUTCOME = frozenset({NodeKind.OUTCOME})
ENDPOINTS: Mapping[EdgeKind, tuple[frozenset[NodeKind], frozenset[NodeKind]]] = {
    EdgeKind.RESPONDS_TO: (frozenset({NodeKind.RESPONSE}), frozenset({NodeKind.DIRECTION, NodeKind.CORRECTION})),
    EdgeKind.PROPOSES: (frozenset({NodeKind.RESPONSE}), frozenset({NodeKind.PROPOSAL})),
    EdgeKind.ACCEPTED_BY: (_ANSWERS, _OUTCOME),
    EdgeKind.REJECTED_BY: (_ANSWERS, _OUTCOME),
    EdgeKind.INTERRUPTED_BY: (_ANSWERS, _OUTCOME),
    EdgeKind.ANSWERED_BY: (_ANSWERS, _OUTCOME),
    EdgeKind.CORRECTS: (frozenset({NodeKind.CORRECTION}), _ANSWERS),
    EdgeKind.INSTANCE_OF: (_ANSWERS, frozenset({NodeKind.PATTERN})),
    EdgeKind.PART_OF: (frozenset(NodeKind), frozenset({NodeKind.SESSION})),
}


@dataclass(frozen=True)
class Problem:
    """Something that was left out, and where: a node id, an edge, a file."""

    where: str
    what: str


@dataclass(frozen=True)
class Records:
    """Raw nodes and edges of one file, in its order, with what could not be read of it."""

    nodes: tuple[Mapping[str, Any], ...]
    edges: tuple[Mapping[str, Any], ...]
    problems: tuple[Problem, ...] = ()


def plain(value: object) -> str:
    """`value` as text that every encoder takes: lone surrogates become U+FFFD, a missing value the empty text."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else str(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def identifier(value: object) -> str | None:
    """A node id as text, or None if it is not one (networkx allows any hashable; text and integers are readable)."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return plain(value) or None


def milliseconds(value: object) -> int | None:
    """UTC milliseconds of an ISO 8601 text (without a zone: UTC) or of a number of them; None if it is neither."""
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value.strip())
            found = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000
        except (ValueError, OverflowError):
            return None
    elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        found = value
    else:
        return None
    return round(found) if 0 <= found <= _MAX_MS else None


def share(value: object) -> float | None:
    """A weight in [0, 1], or None if `value` is not one (NaN is not)."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        return None
    return float(value)


@dataclass(frozen=True)
class CleanNodes:
    """Usable nodes by id, ids that were skipped (their edges need no complaint of their own), and what was wrong."""

    nodes: Mapping[str, dict[str, Any]]
    skipped: frozenset[str]
    problems: tuple[Problem, ...]


def clean_nodes(raw: Iterable[object]) -> CleanNodes:
    """Nodes with `kind`, `text`, `ts`, `actor`, `native_id` and their other attributes. Of one id, the later wins."""
    nodes: dict[str, dict[str, Any]] = {}
    skipped: set[str] = set()
    problems: list[Problem] = []
    for index, record in enumerate(raw):
        node_id = identifier(record.get("id")) if isinstance(record, Mapping) else None
        if node_id is None or not isinstance(record, Mapping):
            problems.append(Problem(f"node {index}", "has no id (a text or a whole number); left out"))
            continue
        if node_id in nodes:
            problems.append(Problem(node_id, "duplicate id; the later node is kept"))
        node = _clean_node(node_id, record, problems)
        if node is None:
            skipped.add(node_id)
        else:
            nodes[node_id] = node
    return CleanNodes(nodes, frozenset(skipped - nodes.keys()), tuple(problems))


def _clean_node(node_id: str, raw: Mapping[str, Any], problems: list[Problem]) -> dict[str, Any] | None:
    try:
        kind = NodeKind(plain(raw.get("kind")))
    except ValueError:
        problems.append(Problem(node_id, f"unknown node kind {plain(raw.get('kind'))[:40]!r}; left out"))
        return None
    node = {plain(key): value for key, value in raw.items() if key != "id"}
    text = raw.get("text")
    node |= {
        "kind": kind,
        "text": plain(text) if isinstance(text, str) else "",
        "ts": milliseconds(raw.get("ts")) or 0,
        "actor": plain(raw.get("actor")),
        "native_id": plain(raw.get("native_id")) or node_id,
    }
    if kind in _TALKS and not node["text"].strip():
        problems.append(Problem(node_id, f"{kind} without text; no episode comes of it"))
    if raw.get("ts") is not None and milliseconds(raw["ts"]) is None:
        problems.append(Problem(node_id, f"ts {plain(raw['ts'])[:40]!r} is neither ISO 8601 nor milliseconds; ignored"))
    if kind is NodeKind.PATTERN:
        problems.extend(_cue_problems(node_id, node))
    return node


def _cue_problems(node_id: str, node: Mapping[str, Any]) -> Iterable[Problem]:
    for key in ("positive_cues", "negative_cues"):
        for cue in cues_of(node.get(key)):
            fault = cue_fault(cue)
            if fault:
                yield Problem(node_id, f"{key}: {fault}; the pattern's cues are not used")


@dataclass(frozen=True)
class CleanEdge:
    """An edge between two nodes that are there, of a known kind, in the right direction."""

    source: str
    target: str
    attributes: Mapping[str, Any]


def clean_edges(
    raw: Iterable[object], nodes: CleanNodes, open_ends: bool = False
) -> tuple[list[CleanEdge], list[Problem]]:
    """Edges that can be used; dangling ones, unknown kinds and wrong directions are told as problems.

    With `open_ends` an end that is not among `nodes` is no fault: it may be known elsewhere, or come later.
    """
    edges: list[CleanEdge] = []
    problems: list[Problem] = []
    for index, record in enumerate(raw):
        if not isinstance(record, Mapping):
            problems.append(Problem(f"edge {index}", "is not an object; left out"))
            continue
        source, target = identifier(record.get("source")), identifier(record.get("target"))
        where = f"{source} → {target}"
        fault = _edge_fault(source, target, record.get("kind"), nodes, open_ends)
        if fault:
            problems.append(Problem(where, f"{fault}; left out"))
        elif source is not None and target is not None and nodes.skipped.isdisjoint({source, target}):
            edges.append(CleanEdge(source, target, _clean_attributes(where, record, problems)))
    return edges, problems


def _edge_fault(source: str | None, target: str | None, kind: object, nodes: CleanNodes, open_ends: bool) -> str:
    """Why the edge cannot be used, or "" (also when one end was skipped: that node was complained about already)."""
    for end in (source, target):
        if end is None or not (open_ends or end in nodes.nodes or end in nodes.skipped):
            return f"dangling edge: there is no node {end}"
    if source in nodes.skipped or target in nodes.skipped:
        return ""
    try:
        known = EdgeKind(plain(kind))
    except ValueError:
        return f"unknown edge kind {plain(kind)[:40]!r}"
    begin, end_ = (nodes.nodes[str(end)]["kind"] if str(end) in nodes.nodes else None for end in (source, target))
    if not fits(known, begin, end_):
        return f"{known} does not lead from a {begin or 'node'} to a {end_ or 'node'}"
    return ""


_ANY = (frozenset(NodeKind), frozenset(NodeKind))


def fits(kind: EdgeKind, source: NodeKind | None, target: NodeKind | None) -> bool:
    """Whether an edge of `kind` may lead from one kind of node to the other; an unknown end (None) always fits."""
    sources, targets = ENDPOINTS.get(kind, _ANY)
    return (source is None or source in sources) and (target is None or target in targets)


def _clean_attributes(where: str, raw: Mapping[str, Any], problems: list[Problem]) -> dict[str, Any]:
    given = raw.get("weight")
    weight = share(given)
    if given is not None and weight is None:
        problems.append(Problem(where, f"weight {plain(given)[:40]!r} is not between 0 and 1; taken as 1"))
    attributes = {plain(key): value for key, value in raw.items() if key not in {"source", "target", "key", "id"}}
    return attributes | {
        "kind": EdgeKind(plain(raw["kind"])),
        "weight": 1.0 if weight is None else weight,
        "ts": milliseconds(raw.get("ts")) or 0,
    }


def same_content(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two raw nodes say the same."""
    options = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS
    try:
        return orjson.dumps(one, option=options) == orjson.dumps(other, option=options)
    except (orjson.JSONEncodeError, RecursionError):
        return False
