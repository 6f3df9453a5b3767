"""The evidence graph: what the sources say, as nodes and edges; nothing in it is ever deleted.

    save_graph(rows) ─▶ ids that it touched ─▶ neighbourhood(ids) ─▶ rows for networkx, a few thousand at most

What is told again unchanged is not written. What a source says no more gets `gone_at`; told again, it lives again. An
edge may lead to a node that is not there yet. Nothing here ever reads the whole graph.
"""

import hashlib
import json
import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, cast

import orjson
from sqlalchemy import Connection

_CHUNK = 10_000
"""Ids of one statement, at most; they travel as one JSON text."""

_NODE = "n.id, n.scope, n.native_key, n.native_id, n.kind, n.text, n.ts, n.actor, n.attributes"
_EDGE = "e.src, e.kind, e.dst, e.method, e.method_version, e.weight, e.ts, e.attributes"  # its key first

EdgeKey = tuple[str, str, str, str, str]


@dataclass(frozen=True, slots=True)
class NodeRow:
    """A node. `id` is `node_id(scope, key)`, `native_id` what people know it by; `ts` is UTC ms, 0 when unknown."""

    id: str
    scope: str
    key: str
    native_id: str
    kind: str
    text: str
    ts: int
    actor: str
    attributes: dict[str, Any]


@dataclass(frozen=True, slots=True)
class EdgeRow:
    """An edge from node `src` to node `dst`; `method` and its version tell how it is known, `weight` is in [0, 1]."""

    src: str
    dst: str
    kind: str
    method: str
    method_version: str
    weight: float
    ts: int
    attributes: dict[str, Any]

    @property
    def key(self) -> EdgeKey:
        """What makes it this edge and no other, in the order in which edges are kept."""
        return self.src, self.kind, self.dst, self.method, self.method_version


def node_id(scope: str, key: str) -> str:
    """The id under which the store keeps what `scope` calls `key`: half a sha256, in hexadecimal."""
    return hashlib.sha256(f"{scope}\0{key}".encode()).hexdigest()[:32]


# ---------------------------------------------------------------- writing


def save_graph(
    conn: Connection,
    source_id: int,
    unit: str,
    nodes: Sequence[NodeRow],
    edges: Sequence[EdgeRow],
    now: int,
    whole: bool = False,
) -> set[str]:
    """Store what a unit tells; with `whole`, what else it told before is gone.

    A node that two units tell belongs to the one that told it last in other words. Of two rows with one id the later
    counts.

    Returns:
        The ids it touched: nodes that are new, changed, back or gone, and both ends of such edges.
    """
    told = {node.id: node for node in nodes}
    linked = {edge.key: edge for edge in edges}
    touched = _put_nodes(conn, (source_id, unit), told, now) | _put_edges(conn, (source_id, unit), linked, now)
    if whole:
        touched |= _gone(conn, source_id, unit, told.keys(), linked.keys(), now)
    return touched


def forget_unit(conn: Connection, source_id: int, unit: str, now: int, keep_evidence: bool) -> set[str]:
    """The unit is no more, and its cursor goes; unless `keep_evidence`, what it told is gone. The ids it touched."""
    conn.exec_driver_sql("DELETE FROM source_unit WHERE source_id = ? AND unit = ?", (source_id, unit))
    return set() if keep_evidence else _gone(conn, source_id, unit, (), (), now)


_PUT_NODE = """
INSERT INTO node (id, source_id, unit, scope,
  native_key, native_id, kind, text, ts, actor, attributes, content_hash, seen_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET source_id = excluded.source_id, unit = excluded.unit, scope = excluded.scope,
  native_key = excluded.native_key, native_id = excluded.native_id, kind = excluded.kind, text = excluded.text,
  ts = excluded.ts, actor = excluded.actor, attributes = excluded.attributes, content_hash = excluded.content_hash,
  seen_at = excluded.seen_at, gone_at = NULL
"""


def _put_nodes(conn: Connection, owner: tuple[int, str], nodes: dict[str, NodeRow], now: int) -> set[str]:
    """Write the nodes that the store does not hold so, alive; their ids."""
    sql = "SELECT n.id, n.content_hash FROM json_each(?) j CROSS JOIN node n ON n.id = j.value WHERE n.gone_at IS NULL"
    known = dict(row for chunk in _chunks(nodes) for row in _rows(conn, sql, chunk))
    rows = []
    for node in nodes.values():
        attributes = _json(node.attributes)
        digest = _digest(node, attributes)
        if known.get(node.id) != digest:
            said = (
                node.scope,
                node.key,
                node.native_id,
                node.kind,
                node.text,
                node.ts,
                node.actor,
                attributes,
                digest,
                now,
            )
            rows.append((node.id, *owner, *said))
    if rows:
        conn.exec_driver_sql(_PUT_NODE, rows)
    return {row[0] for row in rows}


def _digest(node: NodeRow, attributes: str) -> str:
    said = [node.key, node.native_id, node.kind, node.text, node.ts, node.actor, attributes]
    return hashlib.blake2b(orjson.dumps(said), digest_size=16).hexdigest()


_PUT_EDGE = """
INSERT INTO edge (src, dst, kind, method, method_version, weight, ts, attributes, source_id, unit, seen_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (src, kind, dst, method, method_version) DO UPDATE SET weight = excluded.weight, ts = excluded.ts,
  attributes = excluded.attributes, source_id = excluded.source_id, unit = excluded.unit, seen_at = excluded.seen_at,
  gone_at = NULL
"""
_KNOWN_EDGES = f"""
SELECT {_EDGE} FROM json_each(?) j CROSS JOIN edge e ON e.src = json_extract(j.value, '$[0]')
AND e.kind = json_extract(j.value, '$[1]') AND e.dst = json_extract(j.value, '$[2]') WHERE e.gone_at IS NULL
"""


def _put_edges(conn: Connection, owner: tuple[int, str], edges: dict[EdgeKey, EdgeRow], now: int) -> set[str]:
    """Write the edges that the store does not hold so, alive; their ends."""
    known = {
        row[:5]: row[5:]
        for chunk in _chunks({key[:3]: None for key in edges})
        for row in _rows(conn, _KNOWN_EDGES, chunk)
    }
    rows = []
    for key in sorted(edges):  # in the order in which they are kept: neighbours share a page
        edge = edges[key]
        said = (float(edge.weight), edge.ts, _json(edge.attributes))
        if known.get(key) != said:
            rows.append((edge.src, edge.dst, edge.kind, edge.method, edge.method_version, *said, *owner, now))
    if rows:
        conn.exec_driver_sql(_PUT_EDGE, rows)
    return {end for row in rows for end in row[:2]}


def _gone(
    conn: Connection, source_id: int, unit: str, nodes: Collection[str], edges: Collection[EdgeKey], now: int
) -> set[str]:
    """What the unit told before and that is not among these is gone; the ids of nodes and of ends."""
    live = "WHERE source_id = ? AND unit = ? AND gone_at IS NULL"
    columns = "src, kind, dst, method, method_version"
    lost = [each for (each,) in _rows(conn, f"SELECT id FROM node {live}", source_id, unit) if each not in nodes]
    cut = [each for each in _rows(conn, f"SELECT {columns} FROM edge {live}", source_id, unit) if each not in edges]
    if lost:
        conn.exec_driver_sql("UPDATE node SET gone_at = ? WHERE id = ?", [(now, each) for each in lost])
    if cut:
        conn.exec_driver_sql(
            f"UPDATE edge SET gone_at = ? WHERE ({columns}) = (?, ?, ?, ?, ?)", [(now, *each) for each in cut]
        )
    return {*lost, *(end for each in cut for end in (each[0], each[2]))}


# ---------------------------------------------------------------- looking


def neighbourhood(
    conn: Connection, ids: Iterable[str], hops: int, hubs: Collection[str]
) -> tuple[list[NodeRow], list[EdgeRow]]:
    """Live nodes within `hops` live edges, either way, of any of `ids`, and all live edges among them, both by id.

    A node whose kind is in `hubs` is included where a way ends, but no way leads on from it, be it one of `ids`. One of
    `ids` that is gone is not included; what it was linked to is.
    """
    seen = set(ids)
    layer = nodes_by_id(conn, seen)
    found = {node.id: node for node in layer}
    ways = _gone_ways(conn, seen, hubs)
    for _ in range(hops):
        ways += [node.id for node in layer if node.kind not in hubs]
        ends = _ends(conn, ways) - seen
        seen |= ends
        layer, ways = nodes_by_id(conn, ends), []
        found |= {node.id: node for node in layer}
    nodes = [found[each] for each in sorted(found)]
    return nodes, _edges_among(conn, nodes, hubs)


def nodes_by_id(conn: Connection, ids: Iterable[str]) -> list[NodeRow]:
    """Those of `ids` that are live, by id."""
    sql = f"SELECT {_NODE} FROM json_each(?) j CROSS JOIN node n ON n.id = j.value WHERE n.gone_at IS NULL"
    return [_node(row) for chunk in _chunks(sorted(set(ids))) for row in _rows(conn, sql, chunk)]


def chain(conn: Connection, ids: Iterable[str], kind: str) -> tuple[list[NodeRow], list[EdgeRow]]:
    """Live nodes to which edges of one kind lead from any of `ids`, one after the other, and these edges."""
    reached, edges, frontier = set[str](), dict[EdgeKey, EdgeRow](), set(ids)
    links = f"SELECT {_EDGE} FROM json_each(?) j CROSS JOIN edge e ON e.src = j.value AND e.kind = ?"
    sql = f"{links} WHERE e.gone_at IS NULL"
    while frontier:
        rows = [row for chunk in _chunks(sorted(frontier)) for row in _rows(conn, sql, chunk, kind)]
        edges |= {edge.key: edge for edge in map(_edge, rows)}
        frontier = {row[2] for row in rows} - reached
        reached |= frontier
    return nodes_by_id(conn, reached), [edges[key] for key in sorted(edges)]


def edges_of_kind(conn: Connection, kind: str, after: EdgeKey | None, limit: int) -> list[EdgeRow]:
    """The next `limit` live edges of a kind after the one with key `after`, in the order in which they are kept.

    There is no index on the kind alone: all pages together read the edges once.
    """
    sql = (
        f"SELECT {_EDGE} FROM edge e WHERE (e.src, e.kind, e.dst, e.method, e.method_version) > (?, ?, ?, ?, ?) "
        "AND e.kind = ? AND e.gone_at IS NULL ORDER BY e.src, e.kind, e.dst, e.method, e.method_version LIMIT ?"
    )
    return [_edge(row) for row in _rows(conn, sql, *(after or ("",) * 5), kind, limit)]


def unjudged(conn: Connection, kind: str, method: str, version: str, model: str, limit: int) -> list[EdgeRow]:
    """Some live edges of a kind whose source no live edge of `method`, its version and `model` speaks of (`turn`)."""
    sql = (
        f"SELECT {_EDGE} FROM edge e WHERE e.kind = ? AND e.gone_at IS NULL AND NOT EXISTS ("
        "SELECT 1 FROM edge j WHERE j.src = e.dst AND j.method = ? AND j.method_version = ? AND j.gone_at IS NULL "
        "AND j.attributes ->> '$.turn' = e.src AND j.attributes ->> '$.model' = ?) "
        "AND EXISTS (SELECT 1 FROM edge r "
        "WHERE r.src = e.dst AND r.method = 'rule' AND r.attributes ->> '$.turn' = e.src) "
        "ORDER BY e.src, e.dst LIMIT ?"
    )
    return [_edge(row) for row in _rows(conn, sql, kind, method, version, model, limit)]


def owners(conn: Connection, ids: Iterable[str]) -> dict[str, tuple[int, str]]:
    """Which source and unit told each of `ids` last."""
    sql = "SELECT n.id, n.source_id, n.unit FROM json_each(?) j CROSS JOIN node n ON n.id = j.value"
    return {row[0]: (row[1], row[2]) for chunk in _chunks(sorted(set(ids))) for row in _rows(conn, sql, chunk)}


def _gone_ways(conn: Connection, ids: Collection[str], hubs: Collection[str]) -> list[str]:
    """Those of `ids` that are gone and were no hubs."""
    sql = "SELECT n.id, n.kind FROM json_each(?) j CROSS JOIN node n ON n.id = j.value WHERE n.gone_at IS NOT NULL"
    rows = (row for chunk in _chunks(sorted(ids)) for row in _rows(conn, sql, chunk))
    return [row[0] for row in rows if row[1] not in hubs]


_ENDS = """
SELECT e.dst FROM json_each(?1) j CROSS JOIN edge e ON e.src = j.value WHERE e.gone_at IS NULL
UNION ALL SELECT e.src FROM json_each(?1) j CROSS JOIN edge e ON e.dst = j.value WHERE e.gone_at IS NULL
"""


def _ends(conn: Connection, ids: Sequence[str]) -> set[str]:
    """The other ends of live edges from and to `ids`."""
    return {row[0] for chunk in _chunks(ids) for row in _rows(conn, _ENDS, chunk)}


_AMONG = f"""
SELECT {_EDGE} FROM json_each(?1) j CROSS JOIN edge e ON e.src = j.value
WHERE e.gone_at IS NULL AND e.dst IN (SELECT value FROM json_each(?2))
"""
_FROM_HUBS = f"""
SELECT {_EDGE} FROM json_each(?1) j CROSS JOIN edge b ON b.dst = j.value CROSS JOIN edge e
ON (e.src, e.kind, e.dst, e.method, e.method_version) = (b.src, b.kind, b.dst, b.method, b.method_version)
WHERE b.gone_at IS NULL AND b.src IN (SELECT value FROM json_each(?2))
"""  # edge_back alone says whether an edge is asked for, so that no other is looked up
_BETWEEN_HUBS = f"""
WITH RECURSIVE kinds (src, kind) AS (
  SELECT h.value, (SELECT min(e.kind) FROM edge e WHERE e.src = h.value) FROM json_each(?1) h
  UNION ALL SELECT k.src, (SELECT min(e.kind) FROM edge e WHERE e.src = k.src AND e.kind > k.kind) FROM kinds k
  WHERE k.kind IS NOT NULL)
SELECT {_EDGE} FROM kinds k CROSS JOIN json_each(?1) h CROSS JOIN edge e
ON e.src = k.src AND e.kind = k.kind AND e.dst = h.value WHERE e.gone_at IS NULL
"""


def _edges_among(conn: Connection, nodes: Sequence[NodeRow], hubs: Collection[str]) -> list[EdgeRow]:
    """Live edges with both ends among `nodes`; the many edges of a hub are never listed, only looked up."""
    every = _text([node.id for node in nodes])
    ends = _text([node.id for node in nodes if node.kind in hubs])
    rows = _rows(conn, _BETWEEN_HUBS, ends)
    for chunk in _chunks(node.id for node in nodes if node.kind not in hubs):
        rows += _rows(conn, _AMONG, chunk, every)
        rows += _rows(conn, _FROM_HUBS, chunk, ends)
    return [_edge(row) for row in sorted(rows)]


# ---------------------------------------------------------------- as text and back


def _rows(conn: Connection, sql: str, *values: object) -> list[tuple[Any, ...]]:
    """What the query gives, fetched at once from the driver: through SQLAlchemy it costs twice as much a row."""
    return cast("list[tuple[Any, ...]]", conn.exec_driver_sql(sql, values).cursor.fetchall())


def _node(row: tuple[Any, ...]) -> NodeRow:
    row_id, scope, key, native_id, kind, text, ts, actor, attributes = row
    return NodeRow(row_id, scope, key, native_id, kind, text, ts, actor, _read(attributes))


def _edge(row: tuple[Any, ...]) -> EdgeRow:
    src, kind, dst, method, version, weight, ts, attributes = row
    return EdgeRow(src, dst, kind, method, version, weight, ts, _read(attributes))


def _chunks(ids: Iterable[object]) -> Iterator[str]:
    """JSON lists of the ids, `_CHUNK` in each."""
    left = iter(ids)
    while chunk := list(islice(left, _CHUNK)):
        yield _text(chunk)


def _text(value: object) -> str:
    return orjson.dumps(value).decode()


def _json(attributes: dict[str, Any]) -> str:
    """Canonical; what orjson does not take (a lone surrogate, an integer of 65 bits) is written as json does.

    What is no finite number is null, either way: JSON has no word for it.
    """
    if not attributes:
        return "{}"
    try:
        return orjson.dumps(attributes, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS).decode()
    except orjson.JSONEncodeError:
        return json.dumps(_finite(attributes), sort_keys=True, default=str)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _read(text: str) -> dict[str, Any]:
    if text == "{}":
        return {}
    try:
        return dict(orjson.loads(text))
    except orjson.JSONDecodeError:
        return dict(json.loads(text))
