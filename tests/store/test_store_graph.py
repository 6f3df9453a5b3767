"""The evidence graph: told again nothing happens, gone is not deleted, and a neighbourhood is read, never the whole."""

import hashlib
import sqlite3
from contextlib import closing
from dataclasses import replace

import networkx as nx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lifecycle import NOW, rolled_back

from store import graph, sources
from store.errors import CorruptStoreError, StoreError
from store.graph import EdgeRow, NodeRow, chain, edges_of_kind, forget_unit, neighbourhood, node_id, save_graph
from store.sqlite import driver

HUBS = frozenset({"session", "pattern"})


def node(name, kind="response", **changes):
    body = {
        "scope": "claude-code",
        "key": name,
        "native_id": f"uuid-{name}",
        "text": f"text of {name}",
        "ts": 5,
        "actor": "agent",
    }
    return NodeRow(**{"id": name, "kind": kind, "attributes": {}} | body | changes)


def edge(src, dst, kind="responds_to", **changes):
    return EdgeRow(**{"src": src, "dst": dst, "kind": kind, "method": "", "method_version": ""} | _PLAIN | changes)


_PLAIN = {"weight": 1.0, "ts": 5, "attributes": {}}


@pytest.fixture
def conn(store):
    with store.write() as connection:
        sources.add_source(connection, "claude-code", "/projects", NOW)
        yield connection


def tell(conn, nodes=(), edges=(), unit="a.jsonl", whole=False, now=NOW):
    return save_graph(conn, 1, unit, nodes, edges, now, whole)


def near(conn, *ids, hops=9, hubs=HUBS):
    """(ids, (source, target) of edges)."""
    nodes, edges = neighbourhood(conn, ids, hops, hubs)
    return [row.id for row in nodes], [(row.src, row.dst) for row in edges]


def writes(conn):
    return conn.connection.driver_connection.total_changes


# ---------------------------------------------------------------- telling


def test_an_id_is_half_a_sha256_over_scope_and_key():
    assert node_id("claude-code", "ü1") == hashlib.sha256("claude-code\0ü1".encode()).hexdigest()[:32]
    assert node_id("a", "b") != node_id("ab", "")


def test_what_is_new_is_touched_with_both_ends_of_its_edges(conn):
    assert tell(conn, [node("r"), node("d")], [edge("r", "d"), edge("r", "elsewhere", "proposes")]) == {
        "r",
        "d",
        "elsewhere",
    }


def test_what_is_told_again_is_not_written(conn):
    rows = [node("r", attributes={"b": [1, None], "a": {"x": 0.5}}), node("d")], [edge("r", "d", attributes={"p": 1})]
    tell(conn, *rows)
    before = writes(conn)
    again = [node("d"), node("r", attributes={"a": {"x": 0.5}, "b": [1, None]})], rows[1]
    assert tell(conn, *again, unit="another.jsonl", whole=True, now=NOW + 9) == set()
    assert writes(conn) == before


@pytest.mark.parametrize(
    "change",
    [
        {"text": "other words"},
        {"ts": 6},
        {"actor": "human"},
        {"kind": "direction"},
        {"native_id": "other"},
        {"key": "other"},
        {"attributes": {"signal": "undo"}},
    ],
)
def test_a_node_that_changed_is_touched_and_nothing_else_is(conn, change):
    tell(conn, [node("r"), node("d")], [edge("r", "d")])
    changed = replace(node("r"), **change)
    assert tell(conn, [changed, node("d")], [edge("r", "d")]) == {"r"}
    assert graph.nodes_by_id(conn, ["r"]) == [changed]


@pytest.mark.parametrize("change", [{"weight": 0.5}, {"ts": 6}, {"attributes": {"pole": "negative"}}])
def test_an_edge_that_changed_touches_its_ends(conn, change):
    tell(conn, [node("r"), node("d"), node("x")], [edge("r", "d"), edge("x", "d")])
    changed = replace(edge("r", "d"), **change)
    assert tell(conn, edges=[changed, edge("x", "d")]) == {"r", "d"}
    assert neighbourhood(conn, ["r"], 1, ())[1] == [changed]


def test_another_version_of_a_method_is_another_edge(conn):
    tell(conn, [node("r"), node("o")], [edge("r", "o", "rejected_by", method="turns", method_version="1")])
    newer = edge("r", "o", "rejected_by", method="turns", method_version="2", weight=0.5)
    assert tell(conn, edges=[newer]) == {"r", "o"}
    assert [row.method_version for row in neighbourhood(conn, ["r"], 1, ())[1]] == ["1", "2"]


def test_of_two_rows_with_one_id_the_later_counts(conn):
    tell(conn, [node("r"), node("r", text="later")], [edge("r", "d"), edge("r", "d", weight=0.25)])
    tell(conn, [node("d")])
    ((kept, _), (link,)) = neighbourhood(conn, ["d"], 1, ())[0][::-1], neighbourhood(conn, ["d"], 1, ())[1]
    assert (kept.text, link.weight) == ("later", 0.25)


@pytest.mark.parametrize(
    "odd",
    [
        {"text": 'a\0b "quoted"; DROP TABLE node; -- \u2028 🙂'},
        {"attributes": {"tail": "cut \ud83d here", "deep": [{"x": [1.5, None, True]}]}},
        {"attributes": {"huge": 2**80}},
        {"native_id": "", "actor": ""},
    ],
)
def test_a_node_comes_back_as_it_went_in(conn, odd):
    went = replace(node("odd"), **odd)
    tell(conn, [went])
    assert graph.nodes_by_id(conn, ["odd"]) == [went]
    assert tell(conn, [went]) == set()


def test_an_edge_waits_for_an_end_that_is_not_there(conn):
    tell(conn, [node("r")], [edge("r", "d")])
    assert near(conn, "r") == (["r"], [])
    assert tell(conn, [node("d")], unit="b.jsonl") == {"d"}
    assert near(conn, "d") == (["d", "r"], [("r", "d")])


# ---------------------------------------------------------------- gone and back


def test_what_a_whole_unit_says_no_more_is_gone_and_kept(conn):
    tell(conn, [node("r"), node("d"), node("x")], [edge("r", "d"), edge("x", "d")], whole=True)
    assert tell(conn, [node("r"), node("d")], [edge("r", "d")], whole=True, now=NOW + 1) == {"x", "d"}
    assert near(conn, "d") == (["d", "r"], [("r", "d")])
    assert conn.exec_driver_sql("SELECT id, gone_at FROM node WHERE gone_at IS NOT NULL").all() == [("x", NOW + 1)]
    assert conn.exec_driver_sql("SELECT src, gone_at FROM edge WHERE gone_at IS NOT NULL").all() == [("x", NOW + 1)]


def test_an_edge_between_nodes_of_others_goes_with_the_unit_that_told_it(conn):
    tell(conn, [node("r"), node("d")], unit="nodes.json")
    tell(conn, edges=[edge("r", "d"), edge("nobody", "none")], unit="edges.json", whole=True)
    assert tell(conn, unit="edges.json", whole=True) == {"r", "d", "nobody", "none"}
    assert near(conn, "r") == (["r"], [])


def test_what_comes_back_is_touched_even_if_it_is_what_it_was(conn):
    rows = [node("r"), node("d")], [edge("r", "d")]
    tell(conn, *rows, whole=True)
    tell(conn, whole=True)
    assert near(conn, "r", "d") == ([], [])
    assert tell(conn, *rows, whole=True) == {"r", "d"}
    assert near(conn, "r") == (["d", "r"], [("r", "d")])


def test_a_log_says_no_less_when_it_says_more(conn):
    tell(conn, [node("r"), node("d")], [edge("r", "d")])
    assert tell(conn, [node("next")]) == {"next"}
    assert near(conn, "r") == (["d", "r"], [("r", "d")])


def test_what_another_unit_said_stays(conn):
    tell(conn, [node("mine")], unit="a.json", whole=True)
    tell(conn, [node("yours")], unit="b.json", whole=True)
    assert tell(conn, unit="a.json", whole=True) == {"mine"}
    assert near(conn, "mine", "yours") == (["yours"], [])


@pytest.mark.parametrize("keep", [True, False])
def test_a_unit_that_is_no_more_leaves_its_evidence_or_takes_it_along(conn, keep):
    tell(conn, [node("r"), node("d")], [edge("r", "elsewhere")])
    tell(conn, [node("other")], unit="b.jsonl")
    for unit in ("a.jsonl", "b.jsonl"):
        sources.save_unit(conn, 1, unit, {"offset": 7}, NOW, {}, 0, None)
    touched = forget_unit(conn, 1, "a.jsonl", NOW, keep_evidence=keep)
    assert touched == (set() if keep else {"r", "d", "elsewhere"})
    assert near(conn, "r", "d", "other")[0] == (["d", "other", "r"] if keep else ["other"])
    assert list(sources.unit_cursors(conn, 1)) == ["b.jsonl"]


ROWS = st.tuples(
    st.sampled_from(["a", "b"]),
    st.booleans(),
    st.dictionaries(st.sampled_from("nopq"), st.integers(0, 1), max_size=4),
    st.dictionaries(st.tuples(*[st.sampled_from("nopq")] * 2), st.sampled_from([0.5, 1.0]), max_size=4),
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(ROWS, max_size=8))
def test_any_telling_is_what_a_plain_dictionary_makes_of_it(store, steps):
    """The oracle: {key: (owner, content)} of what lives."""
    known: dict[object, tuple[str, object]] = {}
    with rolled_back(store) as conn:
        sources.add_source(conn, "claude-code", "/projects", NOW)
        for unit, whole, nodes, edges in steps:
            told = {**nodes, **edges}
            moved = {key for key, said in told.items() if known.get(key, ("", None))[1] != said}
            lost = {key for key, (owner, _) in known.items() if whole and owner == unit and key not in told} - moved
            touched = {end for key in moved | lost for end in key}
            known = {k: v for k, v in known.items() if k not in lost} | {key: (unit, told[key]) for key in moved}
            rows = [node(name, ts=ts) for name, ts in nodes.items()]
            assert tell(conn, rows, [edge(*ends, weight=w) for ends, w in edges.items()], unit, whole) == touched
        alive = {n.id: n.ts for n in graph.nodes_by_id(conn, "nopq")}
        links = {(e.src, e.dst): e.weight for e in edges_of_kind(conn, "responds_to", None, 99)}
        assert {**alive, **links} == {key: said for key, (_, said) in known.items()}


# ---------------------------------------------------------------- neighbourhoods


def test_a_way_ends_at_a_hub(conn):
    """Two turns of one session: they are neighbours through what follows, never through the session."""
    turns = [node("d1", "direction"), node("r1"), node("d2", "direction"), node("r2"), node("s", "session")]
    parts = [edge(n.id, "s", "part_of") for n in turns[:4]]
    tell(conn, turns, [edge("r1", "d1"), edge("r2", "d2"), *parts])
    assert near(conn, "r1") == (["d1", "r1", "s"], [("d1", "s"), ("r1", "s"), ("r1", "d1")])
    assert near(conn, "r1", hubs=())[0] == ["d1", "d2", "r1", "r2", "s"]
    assert near(conn, "s") == (["s"], [])
    assert near(conn, "r1", hops=0) == (["r1"], [])


def test_edges_of_hubs_are_found_from_either_side(conn):
    nodes = [node("r"), node("s", "session"), node("p", "pattern"), node("x")]
    links = [edge("r", "s", "part_of"), edge("p", "r", "evidence_for"), edge("s", "p", "mentions")]
    tell(conn, nodes, [*links, edge("p", "s", "mentions"), edge("p", "x"), edge("s", "x"), edge("s", "p", "prefers")])
    found, edges = near(conn, "r")
    assert found == ["p", "r", "s"]
    assert edges == [("p", "r"), ("p", "s"), ("r", "s"), ("s", "p"), ("s", "p")]


def test_what_is_gone_is_no_way_but_a_beginning(conn):
    """A response must hear that its outcome went, though an edge to it is still told."""
    tell(conn, [node("d", "direction"), node("r")], [edge("r", "d"), edge("r", "o", "rejected_by")])
    tell(conn, [node("o", "outcome")], [edge("o", "far", "mentions")], unit="b.json", whole=True)
    tell(conn, [node("far")])
    touched = tell(conn, edges=[edge("o", "far", "mentions")], unit="b.json", whole=True)
    assert touched == {"o"}
    assert near(conn, "o", hops=1) == (["far", "r"], [])
    assert near(conn, "r")[0] == ["d", "r"]
    assert near(conn, "never told") == ([], [])


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(graph, "_CHUNK", 3)


GRAPHS = st.tuples(
    st.lists(st.sampled_from(["response", "direction", "session", "pattern"]), min_size=1, max_size=9),
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.sampled_from(["follows", "part_of"])), max_size=22),
    st.sets(st.integers(0, 10), min_size=1, max_size=3),
    st.integers(0, 4),
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(GRAPHS)
def test_a_neighbourhood_is_what_networkx_finds(small_chunks, store, drawn):
    """The oracle: breadth first over all of it, in memory."""
    kinds, links, starts, hops = drawn
    whole = nx.MultiDiGraph()
    whole.add_nodes_from((f"n{i}", {"kind": kind}) for i, kind in enumerate(kinds))
    links = {(f"n{a}", f"n{b}", kind) for a, b, kind in links}
    whole.add_edges_from((a, b, kind) for a, b, kind in links if a in whole and b in whole)
    reached = {f"n{i}" for i in starts} & set(whole)
    layer = reached
    for _ in range(hops):
        ways = [n for n in layer if whole.nodes[n]["kind"] not in HUBS]
        layer = {m for n in ways for m in nx.all_neighbors(whole, n)} - reached
        reached = reached | layer
    wanted = sorted((a, kind, b) for a, b, kind in whole.subgraph(reached).edges(keys=True))
    with rolled_back(store) as conn:
        sources.add_source(conn, "claude-code", "/projects", NOW)
        rows = [node(name, body["kind"]) for name, body in whole.nodes(data=True)]
        tell(conn, rows, [edge(a, b, kind) for a, b, kind in links])
        nodes, edges = neighbourhood(conn, [f"n{i}" for i in starts], hops, HUBS)
        assert nodes == sorted((row for row in rows if row.id in reached), key=lambda row: row.id)
        assert [(row.src, row.kind, row.dst) for row in edges] == wanted


PLANS = [graph._ENDS, graph._AMONG, graph._FROM_HUBS, graph._BETWEEN_HUBS, graph._KNOWN_EDGES]


def scans(conn):
    """Whether any look goes over all nodes or edges."""
    told = []
    for sql in PLANS:
        asked = ("[]", "[]") if "?2" in sql else ("[]",)
        told += [row[3] for row in conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", asked)]
    assert any("edge_back" in step or "PRIMARY KEY" in step for step in told)
    return [step for step in told if step.split()[:2] in (["SCAN", "e"], ["SCAN", "b"])]


def test_no_look_reads_the_whole_graph(conn):
    assert scans(conn) == []


def test_without_the_way_back_it_would(conn):
    conn.exec_driver_sql("DROP INDEX edge_back")
    assert scans(conn)


def test_a_damaged_page_under_a_look_is_one_line(store):
    with store.write() as conn:
        sources.add_source(conn, "claude-code", "/projects", NOW)
        tell(conn, [node(f"n{i}") for i in range(200)], [edge(f"n{i}", f"n{i + 1}") for i in range(200)])
    store.close()
    with closing(sqlite3.connect(store.path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'edge'").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    content = bytearray(store.path.read_bytes())
    content[(page - 1) * size :] = bytes(0xFF for _ in content[(page - 1) * size :])
    store.path.write_bytes(content)
    with pytest.raises(StoreError) as caught, store.read() as conn:
        neighbourhood(conn, ["n5"], 3, HUBS)
    assert "\n" not in str(caught.value)


def test_what_the_driver_says_while_rows_are_fetched_is_translated(store):
    module, _ = driver()
    with pytest.raises(CorruptStoreError, match="restore the last backup"), store.read():
        raise module.DatabaseError("database disk image is malformed")


# ---------------------------------------------------------------- owners, chains and pages


def test_a_node_belongs_to_the_unit_that_told_it_last_in_other_words(conn):
    tell(conn, [node("r"), node("d")], unit="a.jsonl")
    tell(conn, [node("r"), node("d", text="other words")], unit="b.jsonl")
    assert graph.owners(conn, ["d", "r", "missing"]) == {"r": (1, "a.jsonl"), "d": (1, "b.jsonl")}


def test_a_chain_is_followed_to_its_end_and_a_ring_once(conn):
    tell(conn, [node(n, "direction") for n in "abcx"], [edge("a", "b", "supersedes"), edge("b", "c", "supersedes")])
    tell(conn, edges=[edge("a", "x", "mentions"), edge("c", "a", "supersedes"), edge("c", "missing", "supersedes")])
    nodes, edges = chain(conn, ["b"], "supersedes")
    assert [row.id for row in nodes] == ["a", "b", "c"]
    assert [(row.src, row.dst) for row in edges] == [("a", "b"), ("b", "c"), ("c", "a"), ("c", "missing")]
    assert chain(conn, ["x"], "supersedes") == ([], [])


def test_pages_hold_each_live_edge_of_a_kind_once(conn):
    links = [edge(f"d{i}", f"r{i % 3}", "follows", method_version=str(i % 2)) for i in range(9)]
    tell(conn, edges=[*links, edge("d1", "r1", "part_of"), edge("d1", "a", "zzz")])
    tell(conn, edges=[edge("d99", "r1", "follows")], unit="b.json", whole=True)
    tell(conn, unit="b.json", whole=True)
    found, after = [], None
    while page := edges_of_kind(conn, "follows", after, 2):
        assert len(page) <= 2
        found += page
        after = page[-1].key
    assert found == links
