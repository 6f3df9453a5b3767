"""The store of a LangGraph database, and what must never happen while reading one."""

import hashlib
import os
import pickle
import random
import sqlite3
import sys
import tracemalloc
from contextlib import closing

import orjson
import pytest
from langgraph_reads import LATER, LOOPS, links, read, told
from langgraph_rows import (
    OPTIONS,
    STORE,
    Database,
    ai,
    conversation,
    ormsgpack,
    tool,
)

from graph.errors import GraphError, SourceMissingError
from graph.sources import langgraph as langgraph_module
from graph.sources import langgraph_store
from graph.sources.langgraph import LangGraphSource

# ---------------------------------------------------------------- the store


def remember(database: Database, prefix: str, key: str, value: object) -> None:
    row = (prefix, key, orjson.dumps(value))
    database.connection.execute("INSERT OR REPLACE INTO store (prefix, key, value) VALUES (?, ?, ?)", row)


def test_remembered_wishes_are_preferences_and_other_memories_notes(database):
    database.connection.executescript(STORE)
    remember(database, "memories.ines", "1", {"kind": "Memory", "content": {"content": "Prefers short answers"}})
    remember(database, "memories.ines", "2", {"text": "Met Rui in Porto"})
    remember(database, "team.preferences", "3", {"content": "Tabs"})
    remember(database, "config", "4", {"retries": 3})
    (batch,) = read(database.path)[:1]
    assert (batch.unit, batch.whole) == ("agent.sqlite#store", True)
    assert sorted(told([batch], "preference")) == ["Prefers short answers", "Tabs"]
    assert sorted(told([batch], "note")) == ["Met Rui in Porto", '{"retries":3}']


def test_a_memory_that_was_changed_or_deleted_is_told_so(database):
    database.connection.executescript(STORE)
    remember(database, "m", "1", {"text": "Likes tea"})
    remember(database, "m", "2", {"text": "Likes jam"})
    seen = {batch.unit: batch.cursor for batch in read(database.path)}
    remember(database, "m", "1", {"text": "Likes coffee"})
    database.connection.execute("DELETE FROM store WHERE key = '2'")
    store, _ = read(database.path, seen)
    assert told([store], "preference") == ["Likes coffee"]
    conversation(database)
    assert [batch.unit for batch in read(database.path, seen | {store.unit: store.cursor})] == ["agent.sqlite"]


def test_a_store_of_too_many_rows_keeps_the_latest_and_says_so(database, monkeypatch):
    monkeypatch.setattr(langgraph_store.read_store, "__defaults__", (2,))
    database.connection.executescript(STORE)
    for number in range(5):
        remember(database, "m", str(number), {"text": f"Likes {number}"})
    remember(database, "m", "broken", {})
    database.connection.execute("UPDATE store SET value = '{' WHERE key = 'broken'")
    store = read(database.path)[0]
    assert told([store], "preference") == ["Likes 4"]
    assert [problem.what for problem in store.problems] == [
        "its value is no JSON; left out",
        "store: 6 rows, of which the latest 2 are read",
    ]


# ---------------------------------------------------------------- safety


class Bomb:
    def __reduce__(self) -> tuple:
        return (exec, ("import sys; sys.exploded = True",))


def test_pickles_are_counted_and_never_opened_and_no_class_is_ever_called(database):
    database.says("t", "Start")
    database.does("t", None, kind="pickle", raw=pickle.dumps(Bomb()))
    calls = [
        ormsgpack.Ext(code, ormsgpack.packb(["builtins", "exec", argument, "eval"], option=OPTIONS))
        for code, argument in (
            (0, "import sys; sys.exploded = True"),
            (1, ["import sys; sys.exploded = True"]),
            (3, "1/0"),
        )
    ]
    database.does("t", *calls, ormsgpack.Ext(42, b"?"), ai("a", "Still here."))
    (batch,) = read(database.path)
    assert not hasattr(sys, "exploded")
    assert batch.unknown["pickle value"] == 1
    assert batch.unknown["ext 42"] == 1
    assert told([batch], "response") == ["Still here."]


def test_the_database_is_only_read_and_its_writer_is_never_kept_waiting(tmp_path, monkeypatch):
    monkeypatch.setattr(langgraph_module, "BATCH_NODES", 2)
    database = Database(tmp_path / "agent.sqlite", wal=False)
    conversation(database, "a")
    conversation(database, "b")
    digest = hashlib.sha256(database.path.read_bytes()).hexdigest()
    source = LangGraphSource(now=lambda: LATER).read(database.path, {})
    next(source)
    assert hashlib.sha256(database.path.read_bytes()).hexdigest() == digest
    database.says("c", "Written between two batches, without waiting")  # the writer's timeout is 0
    list(source)
    database.connection.close()


def test_memory_stays_bounded_however_much_was_written(database):
    database.says("t", "Start")
    for index in range(300):
        database.does("t", ai(f"m{index}", "x" * 200_000), tool("y" * 50_000))
    tracemalloc.start()
    try:
        assert len(read(database.path)[0].nodes) == 3
        assert tracemalloc.get_traced_memory()[1] < 40 * 2**20
    finally:
        tracemalloc.stop()


def test_a_value_that_is_too_large_is_a_problem_with_its_row(database):
    database.says("t", "Start")
    database.does("t", ai("a", "x" * 10_000))
    database.does("t", ai("b", "Small."))
    (batch,) = LangGraphSource(max_bytes=5_000, now=lambda: LATER).read(database.path, {})
    assert told([batch], "response") == ["Small."]
    assert [problem.where.rpartition(": ")[2] for problem in batch.problems] == ["row 2 of writes"]


def test_without_the_extra_the_error_says_what_to_install(database, monkeypatch):
    monkeypatch.setitem(sys.modules, "ormsgpack", None)
    with pytest.raises(GraphError, match=r"pip install 'reflexd\[langgraph\]'"):
        read(database.path)


def test_databases_without_task_path_and_with_json_values_are_older_ones(tmp_path):
    database = Database(tmp_path / "old.sqlite", path_column=False)
    database.says("t", ["user", "Start"])
    said = {
        "lc": 1,
        "type": "constructor",
        "id": ["langchain", "schema", "messages", "AIMessage"],
        "kwargs": {"content": "Ok", "id": "a"},
    }
    database.does("t", kind="json", raw=orjson.dumps([said]))
    batches = read(database.path)
    database.connection.close()
    assert links(batches, "responds_to") == {("Ok", "Start")}


# ---------------------------------------------------------------- folders, and what is no database


def test_a_folder_of_databases_and_what_vanishes_from_it(database):
    conversation(database)
    database.connection.executescript(STORE)
    with closing(sqlite3.connect(database.path.parent / "app.db")) as other:
        other.execute("CREATE TABLE users (name)")
    (database.path.parent / "broken.sqlite").write_bytes(b"not a database" * 100)
    batches = read(database.path.parent)
    units = {batch.unit: batch for batch in batches}
    assert set(units) == {"agent.sqlite", "agent.sqlite#store", "app.db", "broken.sqlite"}
    assert "no tables of LangGraph" in units["app.db"].problems[0].what
    assert "file is not a database" in units["broken.sqlite"].problems[0].what
    seen = {batch.unit: batch.cursor for batch in batches if batch.cursor}
    assert [batch.unit for batch in read(database.path.parent, seen)] == ["broken.sqlite"]
    database.connection.close()
    for left in database.path.parent.glob("agent.sqlite*"):
        left.unlink()
    gone = [(batch.unit, batch.cursor) for batch in read(database.path.parent, seen) if not batch.problems]
    assert gone == [("agent.sqlite", None), ("agent.sqlite#store", None)]


def test_what_cannot_be_read_is_one_line_that_says_why(tmp_path):
    with pytest.raises(SourceMissingError):
        read(tmp_path / "none.sqlite")
    (tmp_path / "torn.sqlite").write_bytes(b"SQLite format 3\0" + b"\xff" * 500)
    with pytest.raises(GraphError, match=r"torn\.sqlite: SQLite cannot read it"):
        read(tmp_path / "torn.sqlite")
    os.mkfifo(tmp_path / "pipe.sqlite")
    with pytest.raises(GraphError, match="not a regular file"):
        read(tmp_path / "pipe.sqlite")


def test_a_link_out_of_the_folder_is_a_problem(database, tmp_path_factory):
    conversation(database)
    folder = tmp_path_factory.mktemp("offered")
    (folder / "agent.sqlite").symlink_to(database.path)
    (batch,) = read(folder)
    assert batch.nodes == ()
    assert "a symbolic link out of" in batch.problems[0].what


def test_a_database_with_flipped_bytes_is_refused_or_read_and_never_more(database, tmp_path):
    database.connection.executescript(STORE)
    conversation(database)
    database.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    sound = database.path.read_bytes()
    known = {node["text"] for batch in read(database.path) for node in batch.nodes}
    chance = random.Random(7)
    torn = tmp_path / "torn.sqlite"
    for _ in range(LOOPS // 3):
        data = bytearray(sound)
        for _ in range(chance.choice((1, 3, 40))):
            data[chance.randrange(len(data))] = chance.randrange(256)
        torn.write_bytes(data)
        try:
            batches = read(torn)
        except GraphError:
            continue
        texts = told(batches, "direction") + told(batches, "preference")
        assert all(text in known or text.encode() in bytes(data) for text in texts)
