"""LangGraph's SQLite databases: rows as its checkpointer and its store write them, read while they are written."""

import pytest
from langgraph_reads import links, read, told
from langgraph_rows import (
    NULL_TASK,
    ai,
    asks,
    call,
    conversation,
    human,
    interrupt,
    tool,
)

from graph.records import clean_edges, clean_nodes
from graph.sources.langgraph_thread import time_of

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
