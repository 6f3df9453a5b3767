"""LangGraph's SQLite databases: rows as its checkpointer and its store write them, read while they are written."""

import hashlib
import os
import pickle
import random
import sqlite3
import sys
import tracemalloc
from contextlib import closing
from pathlib import Path

import orjson
import pytest
from langgraph_rows import (
    NULL_TASK,
    OPTIONS,
    STORE,
    Database,
    ai,
    asks,
    call,
    conversation,
    human,
    interrupt,
    ormsgpack,
    tool,
)

from graph.errors import GraphError, SourceMissingError
from graph.records import clean_edges, clean_nodes
from graph.sources import langgraph as langgraph_module
from graph.sources import langgraph_store
from graph.sources.base import Batch
from graph.sources.langgraph import LangGraphSource
from graph.sources.langgraph_thread import time_of

LATER = 10**19
LOOPS = 300 * int(os.environ.get("REFLEXD_FUZZ", "1"))


@pytest.fixture
def database(tmp_path):
    made = Database(tmp_path / "agent.sqlite")
    yield made
    made.connection.close()


def read(path: Path, seen: dict | None = None, now: int = LATER) -> list[Batch]:
    return list(LangGraphSource(now=lambda: now).read(path, seen or {}))


def union(batches: list[Batch]) -> tuple[dict, set]:
    nodes = {(batch.scope, node["id"]): node for batch in batches for node in batch.nodes}
    edges = {(batch.scope, edge["source"], edge["kind"], edge["target"]) for batch in batches for edge in batch.edges}
    return nodes, edges


def told(batches: list[Batch], kind: str) -> list[str]:
    return [node["text"] for node in union(batches)[0].values() if node["kind"] == kind]


def links(batches: list[Batch], kind: str) -> set[tuple[str, str]]:
    """Edges of a kind as (text, text), outcomes by their signal."""
    nodes, edges = union(batches)
    names = {key: node.get("signal") or node["text"] or node.get("native_id") for key, node in nodes.items()}
    return {(names[scope, begin], names.get((scope, end), end)) for scope, begin, what, end in edges if what == kind}


# ---------------------------------------------------------------- what is told


def test_a_conversation_is_told_with_few_nodes_and_closed_edges(database):
    conversation(database)
    (batch,) = read(database.path)
    assert told([batch], "direction") == ["Clean up the build folder", "No, thanks"]
    assert told([batch], "response") == [
        "I will look what is there first.",
        "I will look what is there first.",  # the call without words of its own
        "Only build/tmp is gone now.",
        "Anything else?",
        "Good.",
    ]
    assert links([batch], "follows") == {("No, thanks", "Anything else?")}
    assert ("Good.", "No, thanks") in links([batch], "responds_to")
    assert [node["native_id"] for node in batch.nodes if node["kind"] == "session"] == ["t1"]
    cleaned = clean_nodes(batch.nodes)
    assert (cleaned.problems, clean_edges(batch.edges, cleaned)[1]) == ((), [])
    assert (batch.problems, batch.unknown) == ((), {})


def test_an_edit_rejects_the_proposal_and_its_arguments_are_the_correction(database):
    conversation(database)
    batches = read(database.path)
    assert links(batches, "rejected_by") == {('shell {"command":"rm -rf build"}', "edited")}
    assert links(batches, "corrects") == {('shell {"command":"rm -rf build/tmp"}', 'shell {"command":"rm -rf build"}')}
    assert ("Only build/tmp is gone now.", 'shell {"command":"rm -rf build/tmp"}') in links(batches, "responds_to")


@pytest.mark.parametrize(
    ("answer", "edge", "signal"),
    [
        ([{"type": "accept", "args": None}], "accepted_by", "human_accept"),
        ({"type": "accept"}, "accepted_by", "human_accept"),
        ([{"type": "ignore", "args": None}], "rejected_by", "ignored"),
        ({"decisions": [{"type": "approve"}]}, "accepted_by", "human_accept"),
        ({"decisions": [{"type": "edit", "edited_action": {"name": "ls", "args": {}}}]}, "rejected_by", "edited"),
        ({"decisions": [{"type": "reject"}]}, "rejected_by", "tool_rejected"),
        ({"decisions": [{"type": "reject", "message": "use git"}]}, "rejected_by", "tool_rejected_with_reason"),
    ],
)
@pytest.mark.parametrize(
    "question", [asks("rm", path="x"), {"action_requests": [{"name": "rm", "args": {"path": "x"}}]}]
)
def test_what_the_human_decided_is_the_outcome(database, answer, edge, signal, question):
    database.says("t", "Tidy up")
    database.does("t", ai("a", "I remove x.", call("rm", path="x")))
    database.reviewed("t", question, answer)
    batches = read(database.path)
    assert links(batches, edge) == {('rm {"path":"x"}', signal)}
    assert links(batches, "proposes") == {("I remove x.", 'rm {"path":"x"}')}
    assert told(batches, "correction") == {"edited": ["ls"], "tool_rejected_with_reason": ["use git"]}.get(signal, [])


@pytest.mark.parametrize(
    "answer",
    [[{"type": "response", "args": "No, keep it"}], {"decisions": [{"type": "respond", "message": "No, keep it"}]}],
)
def test_an_answer_in_words_is_a_human_turn_told_once(database, answer):
    database.says("t", "Tidy up")
    database.does("t", ai("a", "I remove x.", call("rm", path="x")))
    database.reviewed("t", asks("rm", path="x"), answer, human("h", "No, keep it"))
    database.does("t", ai("b", "Kept."))
    batches = read(database.path)
    assert told(batches, "direction") == ["Tidy up", "No, keep it"]
    assert links(batches, "follows") == {("No, keep it", "I remove x.")}
    assert ("Kept.", "No, keep it") in links(batches, "responds_to")
    assert told(batches, "outcome") == []


def test_several_actions_of_one_question_are_decided_one_by_one(database):
    database.says("t", "Tidy up")
    database.does("t", ai("a", "Two steps.", call("rm", path="x"), call("mv", path="y")))
    question = {"action_requests": [{"name": "rm", "args": {"path": "x"}}, {"name": "mv", "args": {"path": "y"}}]}
    database.reviewed("t", question, {"decisions": [{"type": "reject"}, {"type": "approve"}]})
    batches = read(database.path)
    assert links(batches, "rejected_by") == {('rm {"path":"x"}', "tool_rejected")}
    assert links(batches, "accepted_by") == {('mv {"path":"y"}', "human_accept")}


def test_the_second_question_of_a_task_is_not_paired_with_the_first_answer(database):
    database.says("t", "Tidy up")
    database.does("t", ai("a", "Two steps."))
    database.checkpoint("t")
    database.write("t", "__interrupt__", interrupt(asks("first")), task="review", index=-3)
    first = read(database.path)
    database.write("t", "__resume__", {"type": "accept"}, task=NULL_TASK, index=-4, path="")
    # asked again: the question is replaced, and the answers so far are written beside it
    database.write("t", "__interrupt__", interrupt(asks("second")), task="review", index=-3)
    database.write("t", "__resume__", [{"type": "accept"}], task="review", index=-4)
    assert told(read(database.path), "outcome") == told(first, "outcome") == []
    database.answered("t", {"type": "ignore"}, tool("x"))
    assert links(read(database.path), "rejected_by") == {("second", "ignored")}


def test_an_answer_addressed_to_its_task_is_believed_only_for_its_one_question(database):
    database.says("t", "Tidy up")
    database.does("t", ai("a", "I remove x."))
    for index, wanted in ((2, []), (1, ["human_accept"])):
        database.checkpoint("t")
        database.write("t", "__interrupt__", interrupt(asks("rm", n=index)), task="review", index=-3)
        database.write("t", "__resume__", [{"type": "accept"}], task="review", index=-4)
        database.write("t", "messages", [tool("x")], task="review", index=index)
        assert [signal for _, signal in links(read(database.path), "accepted_by")] == wanted


def test_questions_and_answers_of_another_form_are_counted_and_make_no_outcome(database):
    database.says("t", "Tidy up")
    database.reviewed("t", "What is your name?", "Ines")
    database.reviewed("t", asks("rm"), "yes")
    (batch,) = read(database.path)
    assert told([batch], "outcome") == []
    assert batch.unknown == {"interrupt that asks about no action": 1, "answer to an interrupt in another form": 1}


def test_messages_that_are_written_again_are_told_once(database):
    database.says("t", ["user", "First"])
    database.does("t", ai("a", "One."))
    database.says("t", ["user", "Second"])
    database.does(
        "t", human("h1", "First"), ai("a", "One."), human("h2", "Second"), ai("b", "Two."), path="~__pregel_pull, sub"
    )
    database.says("t", human("h3", "First"))
    batches = read(database.path)
    assert told(batches, "direction") == ["First", "Second", "First"]
    assert told(batches, "response") == ["One.", "Two."]


def test_an_input_that_repeats_the_whole_conversation_adds_only_what_is_new(database):
    database.says("t", ["user", "First"])
    database.does("t", ai("a", "One."))
    database.does("t", human("h1", "First"), ai("a", "One."), human("h2", "Second"), path="~__pregel_pull, __start__")
    database.does("t", ai("b", "Two."))
    batches = read(database.path)
    assert told(batches, "direction") == ["First", "Second"]
    assert links(batches, "follows") == {("Second", "One.")}


def test_what_programs_write_in_the_humans_name_is_not_the_humans(database):
    database.says("t", "Write an essay")
    database.does("t", ai("a", "An essay."))
    database.does("t", human("h", "Critique: too short"), path="~__pregel_pull, reflect")
    database.does("t", human("w", "result of worker", name="worker"), path="")
    database.checkpoint("t")
    database.write("t", "__interrupt__", interrupt("How is it?"), task="review", index=-3)
    database.answered("t", "Make it shorter", human("g", "Make it shorter"))
    database.does("t", human("u", "set from outside"), path="~__interrupt__, 0000000000")
    assert told(read(database.path), "direction") == ["Write an essay", "Make it shorter", "set from outside"]


def test_a_fork_follows_what_it_was_made_from_and_not_what_came_before_it_in_time(database):
    database.says("t", "Start")
    database.does("t", ai("a", "Ready."))
    branch = database.checkpoint("t")
    database.says("t", "Use Postgres")
    database.does("t", ai("b", "Postgres it is."))
    database.checkpoint("t", parent=branch)
    database.write("t", "messages", ["Use SQLite"], path="~__pregel_pull, __start__", task="start")
    database.does("t", ai("c", "SQLite it is."))
    batches = read(database.path)
    assert links(batches, "follows") == {("Use Postgres", "Ready."), ("Use SQLite", "Ready.")}
    assert ("SQLite it is.", "Use SQLite") in links(batches, "responds_to")


def test_subgraphs_are_not_read_their_prompts_are_the_agents(database):
    database.says("t", "Start")
    database.says("t", "You are a researcher", ns="sub:1")
    assert told(read(database.path), "direction") == ["Start"]


def test_a_thread_that_kept_no_writes_is_read_from_its_last_checkpoint(database):
    first = database.checkpoint("t", state={"channel_values": {"messages": [human("h", "Start")]}})
    messages = [human("h", "Start"), ai("a", "Ready."), human("i", "Go"), ai("b", "Going.")]
    database.checkpoint("t", state={"channel_values": {"messages": messages}})
    (batch,) = read(database.path)
    assert links([batch], "follows") == {("Go", "Ready.")}
    times = [node["ts"] for node in batch.nodes if node["kind"] != "session"]
    assert times == [time_of(first) + offset for offset in range(4)]


def test_times_come_from_the_checkpoints_ids():
    assert time_of("1f1e8696-4c07-6fe0-bfff-1857da9137ee") == 1795567478474
    assert time_of("not-an-id") is None
    assert time_of("00000000-0000-6000-8000-000000000000") is None


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
