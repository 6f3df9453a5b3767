"""A Codex rollout says what was stopped and rolled back; what Codex itself puts into a user's mouth is no direction."""

import json
import os
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graph.episodes import direction_of
from graph.errors import SourceMissingError
from graph.memory import MemoryGraph
from graph.schema import EdgeKind
from graph.sources import codex
from graph.sources.codex import CodexSource

EXAMPLES = 150 * int(os.environ.get("REFLEXD_FUZZ", "1"))
MUTATED = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
SOURCE = CodexSource()
SESSION = "019c2c24-29ad-72c2-83dd-f3edfa6bf161"
NAME = f"rollout-2026-03-02T08-15-00-{SESSION}.jsonl"
CLOCK = iter(range(10**9))


def record(kind, **payload):
    seconds = next(CLOCK)
    ts = f"2026-03-02T{8 + seconds // 3600 % 12:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.000Z"
    return json.dumps({"timestamp": ts, "type": kind, "payload": payload}, separators=(",", ":")) + "\n"


def meta(session=SESSION, **more):
    return record("session_meta", id=session, cwd="/srv/shop", originator="codex_cli_rs", cli_version="0.98.0", **more)


def event(kind, **more):
    return record("event_msg", type=kind, **more)


def item(role, *texts, **more):
    part = "output_text" if role == "assistant" else "input_text"
    content = [{"type": part, "text": text} for text in texts]
    return record("response_item", type="message", role=role, content=content, **more)


SURROUNDINGS = item(
    "user",
    "# AGENTS.md instructions for /srv/shop\n\n<INSTRUCTIONS>\nUse tabs.\n</INSTRUCTIONS>",
    "<environment_context>\n  <cwd>/srv/shop</cwd>\n</environment_context>",
)


def asked(text):
    return (
        event("task_started", turn_id="t")
        + record("turn_context", cwd="/srv/shop", model="gpt-5.2-codex")
        + item("user", text)
        + event("user_message", message=text, images=[])
    )


def answered(text, done=True):
    return (
        event("agent_message", message=text)
        + item("assistant", text)
        + event("token_count", info=None)
        + (event("task_complete", turn_id="t", last_agent_message=text) if done else "")
    )


def called(command, output="ok"):
    return record("response_item", type="function_call", name="shell", arguments=command, call_id="c") + record(
        "response_item", type="function_call_output", call_id="c", output=output
    )


def rolled_back(turns):
    return event("thread_rolled_back", num_turns=turns)


INTERRUPTED = event("turn_aborted", turn_id="t", reason="interrupted", duration_ms=900)
START = meta() + item("developer", "You are Codex.") + SURROUNDINGS

WORK = (
    START
    + asked("paginate the orders endpoint")
    + answered("I'll look at the handler first.", done=False)
    + called("cat orders.go")
    + answered("It loads everything, so I will add a cursor.", done=False)
    + answered("The endpoint pages by cursor now.")
    + asked("by offset, please")
    + answered("Cursors are better, I kept them.")
    + asked("and a test")
    + answered("A test for cursors.")
    + rolled_back(2)
    + asked("page by offset and limit, no cursor")
    + answered("Offset and limit it is.")
    + asked("document it")
    + answered("I'm rewriting the whole README.", done=False)
    + INTERRUPTED
    + item("user", "<turn_aborted>\n  <turn_id>t</turn_id>\n  <reason>interrupted</reason>\n</turn_aborted>")
    + asked("only the endpoint")
    + answered("One paragraph on the endpoint.")
    + asked("good")
    + answered("Anything else?")
    + record("compacted", message="", replacement_history=[])
    + asked("no")
)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def read(path, seen=None):
    """All nodes by id, all edges, and the cursors that an interrupted reader would go on from."""
    nodes, edges, cursors = {}, set(), dict(seen or {})
    for batch in SOURCE.read(path, dict(seen or {})):
        nodes.update({node["id"]: node for node in batch.nodes})
        edges |= {(edge["source"], edge["target"], edge["kind"].value) for edge in batch.edges}
        cursors[batch.unit] = batch.cursor
    return nodes, edges, cursors


def mined(tmp_path, text):
    nodes, edges, _ = read(write(tmp_path / NAME, text))
    return nodes, edges


def texts(nodes, kind):
    return [node["text"] for node in nodes.values() if node["kind"] == kind]


def ends(nodes, edges, kind):
    """(text of the source, text of the target) of all edges of a kind."""
    return {(nodes[s]["text"], nodes[t]["text"]) for s, t, found in edges if found == kind}


def outcomes(nodes, edges):
    """(signal, how, of what text)."""
    return {(nodes[t]["signal"], kind, nodes[s]["text"]) for s, t, kind in edges if nodes[t]["kind"] == "outcome"}


def graph(nodes, edges):
    return MemoryGraph.from_records(
        nodes.values(), [{"source": s, "target": t, "kind": EdgeKind(kind)} for s, t, kind in sorted(edges)]
    )


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


def in_steps(path, whole, steps):
    nodes, edges, seen = {}, set(), {}
    for end in steps:
        write(path, whole[:end])
        more_nodes, more_edges, seen = read(path, seen)
        nodes |= more_nodes
        edges |= more_edges
    return nodes, edges


@pytest.mark.parametrize("text", [WORK, WORK.replace('"user_message"', '"user_massage"')])
def test_read_line_by_line_as_it_grows_it_says_what_one_read_says(tmp_path, text):
    whole = text.encode()
    path = write(tmp_path / NAME, whole)
    once = read(path)[:2]
    steps = [i + 1 for i, byte in enumerate(whole) if byte == 10]
    assert in_steps(path, whole, steps) == once
    chance = random.Random(7)
    for _ in range(20):
        assert in_steps(path, whole, [*sorted(chance.sample(range(len(whole)), 4)), len(whole)]) == once


def test_killed_between_two_batches_it_goes_on_where_it_was(tmp_path, monkeypatch):
    path = write(tmp_path / NAME, WORK)
    once = read(path)[:2]
    monkeypatch.setattr(codex, "BATCH_NODES", 3)
    nodes, edges, seen, reads = {}, set(), {}, 0
    while (batch := next(SOURCE.read(path, seen), None)) is not None:
        nodes.update({node["id"]: node for node in batch.nodes})
        edges |= {(edge["source"], edge["target"], edge["kind"].value) for edge in batch.edges}
        seen = {batch.unit: batch.cursor}
        reads += 1
    assert reads > 4
    assert (nodes, edges) == once


def test_every_batch_holds_what_its_edges_name_but_what_was_rolled_back(tmp_path, monkeypatch):
    monkeypatch.setattr(codex, "BATCH_NODES", 3)
    path = write(tmp_path / NAME, WORK.replace("thread_rolled_back", "thread_goal_updated"))
    for batch in SOURCE.read(path, {}):
        told = {node["id"] for node in batch.nodes}
        assert {end for edge in batch.edges for end in (edge["source"], edge["target"])} <= told


def test_an_unchanged_rollout_is_not_read_and_half_a_line_is_waited_for(tmp_path):
    path = write(tmp_path / NAME, WORK + asked("half of this")[:-9])
    _, _, seen = read(path)
    assert list(SOURCE.read(path, seen)) == []
    assert "half of this" not in str(read(path)[0])


def test_another_rollout_in_its_place_is_read_from_the_start(tmp_path):
    path = write(tmp_path / NAME, WORK)
    _, _, seen = read(path)
    for text in (WORK.replace("orders", "errors"), WORK[: len(WORK) // 2]):
        write(path, text)
        fresh = read(path)[:2]
        assert read(path, seen)[:2] == fresh


def test_in_the_tree_each_rollout_is_a_unit_and_a_bad_one_does_not_stop_the_others(tmp_path):
    outside = write(tmp_path / "elsewhere.jsonl", WORK)
    root = tmp_path / "sessions"
    write(root / "2026" / "03" / "02" / NAME, WORK)
    write(root / "2026" / "03" / "02" / "history.jsonl", WORK)
    (root / "2026" / "03" / "03").mkdir()
    (root / "2026" / "03" / "03" / NAME).symlink_to(outside)
    batches = list(SOURCE.read(root, {}))
    assert [batch.unit for batch in batches if batch.nodes] == [f"2026/03/02/{NAME}"]
    [bad] = [batch for batch in batches if batch.problems]
    assert "symbolic link out of" in bad.problems[0].what
    (root / "2026" / "03" / "02" / NAME).unlink()
    gone = [batch for batch in SOURCE.read(root, {f"2026/03/02/{NAME}": batches[0].cursor}) if not batch.problems]
    assert [(batch.unit, batch.cursor) for batch in gone] == [(f"2026/03/02/{NAME}", None)]


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(SourceMissingError, match="not there"):
        list(SOURCE.read(tmp_path / "none.jsonl", {}))


def never(*_, **__):
    raise AssertionError("opened")


def test_a_thousand_unchanged_rollouts_are_not_opened(tmp_path, monkeypatch):
    for n in range(1000):
        write(tmp_path / "2026" / f"{n % 12:02}" / f"rollout-{n}.jsonl", meta(f"s{n}") + asked("go"))
    _, _, seen = read(tmp_path)
    monkeypatch.setattr(os, "open", never)
    assert list(SOURCE.read(tmp_path, seen)) == []


LINES = [line.encode() for line in WORK.splitlines(keepends=True)]
VALUES = [b"null", b"1", b"[]", b"{}", b'""', b"true", b"1e999", b'"\\ud800"', b"99999999999999999999"]


@MUTATED
@given(seed=st.integers(0, 2**32), garbage=st.binary(max_size=30))
def test_mutated_rollouts_never_crash_and_give_no_row_from_garbage(tmp_path_factory, seed, garbage):
    chance = random.Random(seed)
    lines = chance.sample(LINES, 30) if seed % 2 else list(LINES)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(lines))
        line = lines[at]
        cut = chance.randrange(len(line) + 1)
        part = chance.choice([b'"interrupted"', b'"message"', b"[", b'"2', b'"user"'])
        lines[at] = chance.choice(
            [line[:cut] + garbage + line[cut:], line[:cut], line.replace(part, chance.choice(VALUES) + b"", 1), garbage]
        )
    path = write(tmp_path_factory.mktemp("m") / NAME, b"".join(lines))
    nodes, edges, _ = read(path)
    assert [p for p in graph(nodes, edges).problems if not ("no episode" in p.what or p.what.startswith("ts "))] == []
    data = path.read_bytes()
    for node in nodes.values():
        if node["kind"] != "session":
            assert isinstance(json.loads(data[node["place"] :].partition(b"\n")[0].decode(errors="replace")), dict)
    path.unlink()
    path.parent.rmdir()
