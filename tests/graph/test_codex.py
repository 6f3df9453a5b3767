"""A Codex rollout says what was stopped and rolled back; what Codex itself puts into a user's mouth is no direction."""

import pytest
from codex_logs import (
    INTERRUPTED,
    NAME,
    SESSION,
    SOURCE,
    START,
    WORK,
    answered,
    asked,
    ends,
    event,
    graph,
    item,
    meta,
    mined,
    outcomes,
    read,
    record,
    rolled_back,
    texts,
)
from logs import write

from graph.episodes import direction_of


def test_a_turn_is_a_direction_its_answers_and_the_turn_after_it(tmp_path):
    nodes, edges = mined(tmp_path, WORK)
    assert texts(nodes, "direction") == [
        "paginate the orders endpoint",
        "by offset, please",
        "and a test",
        "page by offset and limit, no cursor",
        "document it",
        "only the endpoint",
        "good",
        "no",
    ]
    assert ("by offset, please", "The endpoint pages by cursor now.") in ends(nodes, edges, "follows")
    assert ("Offset and limit it is.", "page by offset and limit, no cursor") in ends(nodes, edges, "responds_to")
    first = next(node for node in nodes.values() if node["kind"] == "direction")
    assert WORK.encode()[first["place"] :].startswith(b'{"timestamp"')
    assert graph(nodes, edges).problems == ()


def test_of_the_answers_in_a_turn_the_first_and_the_last_are_told_once(tmp_path):
    nodes, _ = mined(tmp_path, WORK)
    assert texts(nodes, "response")[:2] == ["I'll look at the handler first.", "The endpoint pages by cursor now."]


@pytest.mark.parametrize("twice", [event, item])
def test_an_answer_is_one_whether_it_is_told_as_event_item_or_both(tmp_path, twice):
    once = {event: event("agent_message", message="Done."), item: item("assistant", "Done.")}[twice]
    one, _ = mined(tmp_path / "a", START + asked("go") + once + event("task_complete"))
    both, _ = mined(tmp_path / "b", START + asked("go") + answered("Done."))
    swapped = item("assistant", "Done.") + event("agent_message", message="Done.") + event("task_complete")
    other, _ = mined(tmp_path / "c", START + asked("go") + swapped)
    assert texts(one, "response") == texts(both, "response") == texts(other, "response") == ["Done."]
    assert one.keys() == both.keys() == other.keys()


def test_an_interruption_hangs_on_the_last_answer_before_it(tmp_path):
    nodes, edges = mined(tmp_path, WORK)
    assert ("interrupt", "interrupted_by", "I'm rewriting the whole README.") in outcomes(nodes, edges)


@pytest.mark.parametrize("reason", ["budget_exceeded", "budget_limited", "replaced", "review_ended", None])
def test_a_turn_that_ended_for_another_reason_is_no_humans_no(tmp_path, reason):
    aborted = event("turn_aborted", turn_id="t", reason=reason)
    nodes, edges = mined(tmp_path, START + asked("go") + answered("Going.", done=False) + aborted + asked("so?"))
    assert outcomes(nodes, edges) == set()


def test_an_interruption_before_any_answer_has_nothing_to_hang_on(tmp_path):
    nodes, edges = mined(tmp_path, START + asked("go") + INTERRUPTED + asked("wait") + answered("Waiting."))
    assert outcomes(nodes, edges) == set()
    assert texts(nodes, "direction") == ["go", "wait"]


def test_a_rollback_rejects_the_last_answer_of_each_turn_that_it_takes_back(tmp_path):
    nodes, edges = mined(tmp_path, WORK)
    assert {end for end in outcomes(nodes, edges) if end[0] == "rolled_back"} == {
        ("rolled_back", "rejected_by", "Cursors are better, I kept them."),
        ("rolled_back", "rejected_by", "A test for cursors."),
    }


def test_what_is_asked_after_a_rollback_says_again_what_was_asked_first_and_corrects_the_answers(tmp_path):
    nodes, edges = mined(tmp_path, WORK)
    again = "page by offset and limit, no cursor"
    assert ends(nodes, edges, "supersedes") == {(again, "by offset, please")}
    assert ends(nodes, edges, "corrects") == {
        (again, "Cursors are better, I kept them."),
        (again, "A test for cursors."),
    }
    response = next(node["id"] for node in nodes.values() if node["text"] == "Offset and limit it is.")
    assert nodes[direction_of(graph(nodes, edges), response)]["text"] == "by offset, please"


def test_a_second_rollback_counts_from_what_is_left(tmp_path):
    turns = "".join(asked(f"ask {n}") + answered(f"answer {n}") for n in range(4))
    text = START + turns + rolled_back(1) + rolled_back(1) + asked("ask 4") + answered("answer 4") + rolled_back(2)
    nodes, edges = mined(tmp_path, text + asked("ask 5") + answered("answer 5"))
    assert {end[2] for end in outcomes(nodes, edges)} == {"answer 3", "answer 2", "answer 4", "answer 1"}
    assert ends(nodes, edges, "supersedes") == {("ask 4", "ask 2"), ("ask 5", "ask 1")}


def test_a_turn_without_words_or_without_an_answer_counts_too(tmp_path):
    picture = event("task_started") + event("user_message", message="", images=["data:image/png;base64,AA"])
    text = START + asked("one") + answered("first") + picture + answered("a cat") + asked("two") + rolled_back(3)
    nodes, edges = mined(tmp_path, text + asked("three") + answered("third"))
    assert {end[2] for end in outcomes(nodes, edges)} == {"first", "a cat"}
    assert ends(nodes, edges, "supersedes") == {("three", "one")}


@pytest.mark.parametrize("count", [0, -1, True, "2", None, 2.0])
def test_a_rollback_of_no_number_of_turns_is_a_problem(tmp_path, count):
    path = write(
        tmp_path / NAME, START + asked("a") + answered("b") + event("thread_rolled_back", num_turns=count) + asked("c")
    )
    [batch] = SOURCE.read(path, {})
    assert [problem.what for problem in batch.problems] == ["thread_rolled_back without a number of turns; left out"]
    assert not any(node["kind"] == "outcome" for node in batch.nodes)


@pytest.mark.parametrize(
    "injected",
    [
        "<environment_context>\n<cwd>/srv</cwd>\n</environment_context>",
        "<user_instructions>\nBe brief.\n</user_instructions>",
        "# AGENTS.md instructions for /srv/shop\n\nUse tabs.",
        "<turn_aborted>\nThe user interrupted the previous turn on purpose.\n</turn_aborted>",
        "<skill>\n<name>review</name>\n</skill>",
        "<user_shell_command>\nls\n</user_shell_command>",
        "<something_of_next_year>\nx\n</something_of_next_year>",
        "Another language model started to solve this problem and produced a summary of its thinking process.",
    ],
)
@pytest.mark.parametrize("events", [True, False])
def test_what_codex_puts_into_a_users_role_is_no_direction(tmp_path, injected, events):
    human = (lambda text: asked(text)) if events else (lambda text: item("user", text))
    text = (
        START + human("ship it") + answered("Shipped.") + item("user", injected) + answered("Noted.") + human("thanks")
    )
    nodes, _ = mined(tmp_path, text + answered("Welcome."))
    assert texts(nodes, "direction") == ["ship it", "thanks"]


def test_a_rollout_without_events_is_read_by_its_items(tmp_path):
    text = START + item("user", "rename it") + item("assistant", "Renamed.") + item("user", "back, please")
    nodes, edges = mined(tmp_path, text + rolled_back(2) + item("user", "keep the name") + item("assistant", "Kept."))
    assert texts(nodes, "direction") == ["rename it", "back, please", "keep the name"]
    assert outcomes(nodes, edges) == {("rolled_back", "rejected_by", "Renamed.")}


def test_once_there_are_events_an_item_of_the_user_is_not_a_human(tmp_path):
    text = START + asked("ship it") + answered("Shipped.") + item("user", "Remember to be brief.") + answered("Yes.")
    assert texts(mined(tmp_path, text + asked("thanks"))[0], "direction") == ["ship it", "thanks"]


def test_what_an_editor_puts_before_a_request_is_cut_off(tmp_path):
    wrapped = "# Context from my IDE setup:\n\n## Active file: api.go\n\n## My request for Codex:\nfix the timeout\n"
    nodes, _ = mined(tmp_path, START + asked(wrapped) + answered("Fixed."))
    assert texts(nodes, "direction") == ["fix the timeout"]


@pytest.mark.parametrize(
    "of", [{"thread_source": "subagent"}, {"source": {"subagent": {"thread_spawn": {"depth": 1}}}}]
)
def test_nobody_speaks_for_a_human_in_a_subagents_rollout(tmp_path, of):
    path = write(tmp_path / NAME, meta(**of) + WORK.partition("\n")[2])
    nodes, _, seen = read(path)
    assert nodes == {}
    assert seen[NAME]["offset"] == path.stat().st_size


def test_a_fork_is_the_session_of_its_own_first_line(tmp_path):
    fork = meta("019e0000-0000-7000-8000-000000000001", forked_from_id=SESSION) + WORK
    nodes, _ = mined(tmp_path, fork)
    assert [n["native_id"] for n in nodes.values() if n["kind"] == "session"] == [
        "019e0000-0000-7000-8000-000000000001"
    ]


def test_without_its_first_line_a_rollout_is_known_by_its_name(tmp_path):
    nodes, _ = mined(tmp_path, asked("go") + answered("Gone."))
    assert [node["native_id"] for node in nodes.values() if node["kind"] == "session"] == [SESSION]


def test_types_that_nobody_knows_are_counted_and_only_once(tmp_path):
    new = event("mind_read", x=1) + record("world_state", y=2) + record("response_item", type="dream") * 2
    first = START + asked("a") + new + answered("b")
    path = write(tmp_path / NAME, first)
    [batch] = SOURCE.read(path, {})
    assert batch.unknown == {}
    more = asked("c") + event("later")
    path = write(path, first + more)
    [grown] = SOURCE.read(path, {batch.unit: batch.cursor})
    assert grown.unknown == {"event_msg/mind_read": 1, "world_state": 1, "response_item/dream": 2}
    path = write(path, first + more + asked("d"))
    [last] = SOURCE.read(path, {grown.unit: grown.cursor})
    assert last.unknown == {"event_msg/later": 1}


def test_names_of_unknown_types_are_short_and_few(tmp_path):
    many = "".join(event(f"{n:03}{'x' * 90}") for n in range(80))
    [batch] = SOURCE.read(write(tmp_path / NAME, START + many + asked("a")), {})
    assert len(batch.unknown) == 50
    assert max(map(len, batch.unknown)) == 60


@pytest.mark.parametrize(
    "line", ["{", "[]", "null", '{"type":"event_msg"}', '{"type":1,"payload":{}}', "\x00", '"\\ud800"']
)
def test_a_malformed_line_is_a_problem_with_its_place(tmp_path, line):
    text = START + asked("a") + answered("b")
    path = write(tmp_path / NAME, text + line + "\n" + asked("c"))
    [batch] = SOURCE.read(path, {})
    assert [problem.where for problem in batch.problems] == [f"{path}:{len(text.encode())}"]
    assert texts({node["id"]: node for node in batch.nodes}, "direction") == ["a", "c"]
