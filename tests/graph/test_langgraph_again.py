"""Looking again: only what is new is told, whatever happened to the file."""

import sqlite3

import pytest
from langgraph_reads import LATER, links, read, told, union
from langgraph_rows import (
    Database,
    ai,
    asks,
    call,
    conversation,
    interrupt,
)

from graph.records import clean_edges, clean_nodes
from graph.sources import langgraph as langgraph_module
from graph.sources.base import Batch
from graph.sources.langgraph import LangGraphSource

# ---------------------------------------------------------------- looking again


def test_reading_after_every_row_is_the_same_as_reading_once(database, tmp_path):
    statements: list[str] = []
    database.connection.set_trace_callback(statements.append)
    conversation(database)
    database.says("t2", "Elsewhere")
    database.reviewed("t2", asks("rm"), [{"type": "accept"}], ai("x", "Removed."))
    database.says("t2", "Thanks")
    database.connection.set_trace_callback(None)
    other = Database(tmp_path / "steps" / "agent.sqlite") if (tmp_path / "steps").mkdir() is None else database
    seen: dict = {}
    batches: list[Batch] = []
    for statement in statements:
        other.connection.execute(statement)
        for batch in read(other.path, seen):
            seen[batch.unit] = batch.cursor
            batches.append(batch)
    other.connection.close()
    once = union(read(database.path))
    steps = union(batches)
    assert {key[1] for key in steps[0]} == {key[1] for key in once[0]}
    assert {edge[1:] for edge in steps[1]} == {edge[1:] for edge in once[1]}
    strip = [{key[1]: {**node, "file": ""} for key, node in nodes.items()} for nodes in (once[0], steps[0])]
    assert strip[0] == strip[1]


def test_nothing_new_is_nothing_told_and_the_database_is_not_even_opened(database, monkeypatch):
    conversation(database)
    (batch,) = read(database.path)
    monkeypatch.setattr(sqlite3, "connect", None)
    assert read(database.path, {batch.unit: batch.cursor}) == []


def test_a_file_that_changed_within_a_tick_of_the_clock_is_not_trusted(database, monkeypatch):
    conversation(database)
    now = database.path.stat().st_mtime_ns
    (batch,) = read(database.path, now=now)
    assert not batch.cursor["file"]["settled"]
    (again,) = read(database.path, {batch.unit: batch.cursor})
    assert (again.nodes, again.cursor["file"]["settled"]) == ((), True)
    monkeypatch.setattr(
        langgraph_module, "_stamp", lambda *_: batch.cursor["file"]
    )  # within the tick, of the same size
    assert read(database.path, {batch.unit: batch.cursor}) == []
    database.says("t1", "So soon?")
    assert "So soon?" in told(read(database.path, {batch.unit: batch.cursor}), "direction")


def test_commits_that_lie_only_in_the_log_of_a_live_database_are_seen(database):
    conversation(database)
    (batch,) = read(database.path)
    before = database.path.stat()
    database.says("t1", "One more thing")
    assert database.path.stat().st_mtime_ns == before.st_mtime_ns
    assert "One more thing" in told(read(database.path, {batch.unit: batch.cursor}), "direction")


def test_an_answer_that_comes_days_later_to_an_old_checkpoint_is_seen(database):
    database.says("a", "Tidy up")
    database.does("a", ai("a", "I remove x.", call("rm")))
    database.checkpoint("a")
    database.write("a", "__interrupt__", interrupt(asks("rm")), task="review", index=-3)
    conversation(database, "b")
    (batch,) = read(database.path)
    database.answered("a", [{"type": "ignore"}])
    after = read(database.path, {batch.unit: batch.cursor})
    assert links(after, "rejected_by") == {("rm", "ignored")}
    assert {node["native_id"] for node in after[0].nodes if node["kind"] == "session"} == {"a"}


@pytest.mark.parametrize(
    "change", ["DELETE FROM writes WHERE thread_id = 'b'", "VACUUM", "CREATE INDEX i ON writes (task_id)"]
)
def test_when_rows_moved_all_is_read_again_and_nothing_is_told_differently(database, change):
    conversation(database, "a")
    conversation(database, "b")
    first = read(database.path)
    database.connection.execute(change)
    database.says("c", "New")
    again = read(database.path, {batch.unit: batch.cursor for batch in first})
    before, after = union(first)[0], union(again)[0]
    assert told(again, "direction").count("New") == 1
    assert {key: after[key] for key in before.keys() & after.keys()} == {
        key: before[key] for key in before.keys() & after.keys()
    }
    assert len(before.keys() & after.keys()) >= 10


def test_rows_that_were_counted_are_not_counted_again(database):
    database.says("t", "Start")
    database.does("t", {"type": "carrier pigeon", "content": "coo"})
    database.does("t", None, kind="pickle", raw=b"\x80")
    (first,) = read(database.path)
    assert first.unknown == {"message carrier pigeon": 1, "pickle value": 1}
    database.does("t", ai("a", "Ready."))
    (second,) = read(database.path, {first.unit: first.cursor})
    assert (told([second], "response"), second.unknown) == (["Ready."], {})


def test_killed_after_any_batch_the_next_read_goes_on_and_ends_with_the_same(database, monkeypatch):
    monkeypatch.setattr(langgraph_module, "BATCH_NODES", 4)
    for thread in "abc":
        conversation(database, thread)
        database.does(thread, {"type": "pigeon", "content": "coo"})
    whole = read(database.path)
    assert len(whole) > 4
    assert all(len(batch.nodes) < 14 for batch in whole)
    for batch in whole:
        assert not clean_edges(batch.edges, clean_nodes(batch.nodes))[1]
    for stop in range(1, len(whole)):
        seen: dict = {}
        got: list[Batch] = []
        source = LangGraphSource(now=lambda: LATER).read(database.path, seen)
        for batch in [next(source) for _ in range(stop)]:
            seen[batch.unit] = batch.cursor
            got.append(batch)
        rest = read(database.path, seen)
        assert len(rest) < len(whole) or got[-1].cursor["open"]["after"] is None
        assert union(got + rest) == union(whole)
        assert sum(batch.unknown.get("message pigeon", 0) for batch in got + rest) == 3


def test_rows_that_arrive_while_work_is_left_open_are_not_overlooked(database, monkeypatch):
    monkeypatch.setattr(langgraph_module, "BATCH_NODES", 4)
    conversation(database, "a")
    conversation(database, "b")
    source = LangGraphSource(now=lambda: LATER).read(database.path, {})
    first = next(source)
    source.close()
    assert "open" in first.cursor
    database.says("a", "Too late?")
    rest = read(database.path, {first.unit: first.cursor})
    assert "Too late?" in told(rest, "direction")
    assert "open" not in rest[-1].cursor
    assert union([first, *rest])[0] == union(read(database.path))[0]
