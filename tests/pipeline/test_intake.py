"""Whatever a memory says, it goes into the store whole or is told as a problem, and what comes back is what went in."""

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from daemon.pipeline.intake import Rows, memory_of, take_in
from graph.memory import MemoryGraph
from graph.sources.base import Batch
from graph.turns.judge import TURNS_VERSION
from store.engine import Store
from store.graph import neighbourhood
from store.sources import add_source

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner), max_leaves=4
)
IDS = st.sampled_from(["d", "r", "o", "c", "s", "x", 7])
KINDS = st.sampled_from(["direction", "response", "outcome", "correction", "session", "pattern", "proposal"])
EDGES = st.sampled_from(
    [
        "responds_to",
        "rejected_by",
        "accepted_by",
        "answered_by",
        "corrects",
        "follows",
        "supersedes",
        "part_of",
        "proposes",
    ]
)
VERSIONS = st.sampled_from([TURNS_VERSION, "human-turns 0", "1"]) | JSON
NODE = st.fixed_dictionaries(
    {"id": IDS},
    optional={"kind": KINDS | JSON, "text": st.text(max_size=20) | JSON, "ts": JSON, "file": JSON, "native_id": JSON,
              "signal": JSON, "actor": JSON, "place": JSON, "line": JSON, "name": JSON, "positive_cues": JSON},
)  # fmt: skip
EDGE = st.fixed_dictionaries(
    {"source": IDS, "target": IDS},
    optional={"kind": EDGES | JSON, "weight": JSON, "ts": JSON, "method": st.sampled_from(["rule", "model"]) | JSON,
              "method_version": VERSIONS, "turn": IDS | JSON, "at": JSON, "signal": JSON, "pole": JSON},
)  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with Store.open(tmp_path_factory.mktemp("intake") / "reflexd.db") as store:
        yield store


@example([{"id": "d", "kind": "direction", "place": float("inf"), "line": 2**70}], [], True)
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(NODE | JSON, max_size=8), st.lists(EDGE | JSON, max_size=10), st.booleans())
def test_any_records_are_taken_in(store, nodes, edges, whole):
    batch = Batch("u", "test", {"n": 1}, tuple(nodes), tuple(edges), whole=whole)
    with store.write() as conn:
        source = add_source(conn, "node-link", "/m", 0)
        take_in(conn, source, [batch], 5)
        change, _ = take_in(conn, source, [batch], 6)
        assert (change.added, change.gone) == (0, 0)
        ids = [row[0] for row in conn.exec_driver_sql("SELECT id FROM node WHERE gone_at IS NULL")]
        found = memory_of(Rows(*(tuple(rows) for rows in neighbourhood(conn, ids, 0, ()))))
        told = MemoryGraph.from_records(nodes, edges)
        assert {found.node(n)["native_id"] for n in found.graph} >= {told.node(n)["native_id"] for n in told.graph}
        assert conn.exec_driver_sql("SELECT count(*) FROM source_unit").scalar_one() == 1
        conn.rollback()  # each example begins in an empty store
