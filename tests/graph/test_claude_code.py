"""A Claude Code transcript says what was asked, proposed and refused: by its structure, never by a quote."""

import json
import os
import random
from collections import Counter
from pathlib import Path

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graph.errors import SourceMissingError
from graph.memory import MemoryGraph
from graph.outcomes import mine_outcomes
from graph.schema import Outcome
from graph.sources import claude_code
from graph.sources.claude_code import ClaudeCodeSource, says_nothing
from graph.sources.claude_records import parse, said, typed
from graph.sources.telling import MAX_TEXT

MUTATIONS = 2000 * int(os.environ.get("REFLEXD_FUZZ", "1"))
"""How many mutated lines the last test tries."""

WROTE = "The tool use was rejected (eg. if it was a file edit, the new_string was NOT written to the file)."
REJECTED = f"The user doesn't want to proceed with this tool use. {WROTE}"
STOP = f"{REJECTED} STOP what you are doing and wait for the user to tell you how to proceed."
NOTE = (
    "\n\nNote: The user's next message may contain a correction or preference. Pay close attention — if they explain "
    "what went wrong or how they'd prefer you to work, consider saving that to memory for future sessions."
)
CLARIFY = (
    "The user wants to clarify these questions.\n    This means they may have additional information, context or"
    ' questions for you.\n\n    Questions asked:\n- "Which port?"\n  (No answer provided)'
)
PLAN_NO = (
    "The agent proposed a plan that was rejected by the user. The user chose to stay in plan mode rather than proceed "
    "with implementation.\n\nRejected plan:\nDrop the table. As the user said:\nnothing"
)
PLAN_YES = "User has approved your plan. You can now start coding. Start with updating your todo list if applicable"
INTERRUPT, INTERRUPT_TOOL = "[Request interrupted by user]", "[Request interrupted by user for tool use]"


def because(reason):
    return f"{REJECTED} To tell you how to proceed, the user said:\n{reason}"


class Log(list):
    """Records of one session, written in the order of keys that the harness uses."""

    def __init__(self, session="s1", side=False):
        super().__init__()
        self.session, self.side, self.minute = session, side, 0

    def record(self, kind, uuid, body, **more):
        self.minute += 1
        stamp = f"2026-02-03T{self.minute // 60:02d}:{self.minute % 60:02d}:00.000Z"
        head = {"parentUuid": None, "isSidechain": self.side, "cwd": "/src/queue", "sessionId": self.session}
        tail = {"uuid": uuid, "timestamp": stamp, **more}
        first = {"type": kind, **body} if kind != "assistant" else {**body, "requestId": "r", "type": kind}
        self.append({**head, **first, **tail})
        return self

    def user(self, uuid, content, **more):
        return self.record("user", uuid, {"message": {"role": "user", "content": content}}, **more)

    def result(self, uuid, call, content, error=None, **more):
        block = {"tool_use_id": call, "type": "tool_result", "content": content}
        return self.user(uuid, [block | ({} if error is None else {"is_error": error})], **more)

    def no(self, uuid, call, content, **more):
        return self.result(uuid, call, content, True, **{"toolUseResult": "User rejected tool use", **more})

    def agent(self, uuid, message, *blocks, model="claude", **more):
        blocks = [{"type": "text", "text": block} if isinstance(block, str) else block for block in blocks]
        body = {"model": model, "id": message, "type": "message", "role": "assistant", "content": blocks, "usage": {}}
        return self.record("assistant", uuid, {"message": body}, **more)

    def quiet(self, kind="progress", **body):
        return self.record(kind, f"q{len(self)}", body)


def call(name, tool="Edit", **arguments):
    return {
        "type": "tool_use",
        "id": name,
        "name": tool,
        "input": arguments or ({"file_path": "queue.go"} if tool == "Edit" else {}),
    }


def lines_of(log, pretty=False):
    """One JSON text a line; `pretty` has spaces after its separators, as other writers put them."""
    return [(json.dumps(record) if pretty else orjson.dumps(record).decode()).encode() + b"\n" for record in log]


def write(path, log, pretty=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(lines_of(log, pretty)))
    return path


class Told:
    """What batches said, taken together."""

    def __init__(self, batches):
        self.batches = batches
        self.nodes = {node["id"]: node for batch in batches for node in batch.nodes}
        self.edges = {(e["source"], e["kind"].value, e["target"]) for batch in batches for e in batch.edges}
        self.unknown = sum((Counter(batch.unknown) for batch in batches), Counter())
        self.problems = [problem for batch in batches for problem in batch.problems]

    def kind(self, kind):
        return {key: node for key, node in self.nodes.items() if node["kind"] == kind}

    def text(self, kind):
        return {key: node["text"] for key, node in self.kind(kind).items()}

    def signals(self):
        return {(node["native_id"], node["signal"]) for node in self.kind("outcome").values()}

    def links(self, kind):
        return {(source, target) for source, edge, target in self.edges if edge == kind}


def read(path, seen=None):
    """Read and keep the cursors in `seen`, as the store would, through JSON."""
    batches = []
    for batch in ClaudeCodeSource().read(path, dict(seen or {})):
        batches.append(batch)
        if seen is not None:
            if batch.cursor is None:
                seen.pop(batch.unit, None)
            else:
                seen[batch.unit] = orjson.loads(orjson.dumps(batch.cursor))
    return Told(batches)


@pytest.fixture
def told(tmp_path):
    """Reads a log once in compact and once in spaced JSON, which must say the same."""

    def tell(log):
        one = read(write(tmp_path / "s1.jsonl", log))
        other = read(write(tmp_path / "s1.jsonl", log, pretty=True))
        assert one.edges == other.edges
        assert one.text("direction") == other.text("direction")
        return one

    return tell


def work():
    """One rejected edit, with a reason, taken up; then thanks."""
    log = Log()
    log.user("h1", "Renew the lease in the worker, not in the store.")
    log.agent("a1", "m1", {"type": "thinking", "thinking": "secret thought", "signature": "x"})
    log.agent("a2", "m1", "I'll add it to the store.")
    log.agent("a3", "m1", call("t1", file_path="store.go", new_string="func Renew"))
    log.quiet("progress", data={"type": "hook_progress"})
    log.no("u1", "t1", because("in the worker, please" + NOTE), toolDenialKind="user-rejected")
    log.agent("a4", "m2", "Right: in the worker.")
    log.agent("a5", "m2", call("t2", file_path="worker.go"))
    log.result("u2", "t2", "updated", toolUseResult={"type": "text", "file": {}})
    log.agent("a6", "m3", "Running the tests.", call("t3", "Bash", command="go test"))
    log.result("u3", "t3", "ok")
    log.agent("a7", "m4", "Done, all tests pass.")
    log.user("h2", "Great, thanks.")
    return log


def test_a_rejection_with_a_reason_and_what_came_of_it(told):
    found = told(work())
    assert found.text("direction") == {"h1": "Renew the lease in the worker, not in the store.", "h2": "Great, thanks."}
    assert found.text("response") == {
        "m1": "I'll add it to the store.",
        "m2": "Right: in the worker.",
        "m4": "Done, all tests pass.",
    }
    assert found.text("proposal") == {"t1": "Edit\nfile_path: store.go\nnew_string: func Renew"}
    assert found.signals() == {("u1", "tool_rejected_with_reason")}
    assert found.text("outcome") == {"u1": "in the worker, please"}
    assert found.text("correction") == {"correction:u1": "in the worker, please"}
    assert found.links("responds_to") == {("m1", "h1"), ("m2", "correction:u1"), ("m4", "h1")}
    assert found.links("proposes") == {("m1", "t1")}
    assert found.links("rejected_by") == {("t1", "u1")}
    assert found.links("corrects") == {("correction:u1", "t1")}
    assert found.links("follows") == {("h2", "m4")}
    assert found.links("part_of") == {(node, "session:s1") for node in ("h1", "h2", "m1", "m2", "m4")}


def test_it_makes_an_episode(told):
    found = told(work())
    edges = [{"source": a, "kind": kind, "target": b} for a, kind, b in sorted(found.edges)]
    memory = MemoryGraph.from_records(found.nodes.values(), edges)
    assert memory.problems == ()
    episode = next(e for e in memory.episodes("claude-code") if e.outcome is Outcome.CORRECTED)
    assert (episode.direction_id, episode.response, episode.words) == (
        "h1", "I'll add it to the store.", "in the worker, please",
    )  # fmt: skip
    assert episode.pairable
    assert episode.session == "s1"


def test_thinking_is_never_kept(told):
    assert "secret" not in json.dumps([list(batch.nodes) for batch in told(work()).batches])


def test_every_node_says_where_it_stands(tmp_path):
    path = write(tmp_path / "s1.jsonl", work())
    data = path.read_bytes()
    for key, node in read(path).nodes.items():
        if node["kind"] != "session":
            record = orjson.loads(data[node["place"] :].split(b"\n", 1)[0])
            assert record["timestamp"] == node["ts"]
            assert node.get("native_id", key) in {record["uuid"], record["message"].get("id"), "t1"}


@pytest.mark.parametrize(
    ("content", "more", "signal", "reason"),
    [
        (STOP, {}, "tool_rejected", ""),
        (STOP + NOTE, {}, "tool_rejected", ""),
        (REJECTED, {"toolDenialKind": "user-rejected"}, "tool_rejected", ""),
        (because("use gRPC"), {}, "tool_rejected_with_reason", "use gRPC"),
        (because("why?\n\nNote: keep it"), {}, "tool_rejected_with_reason", "why?\n\nNote: keep it"),
        (because("x <system-reminder>todo</system-reminder>" + NOTE), {}, "tool_rejected_with_reason", "x"),
        (
            [{"type": "text", "text": because("as drawn")}, {"type": "image"}],
            {},
            "tool_rejected_with_reason",
            "as drawn",
        ),
        (PLAN_NO, {}, "tool_rejected", ""),
    ],
)
def test_rejections_of_every_version(told, content, more, signal, reason):
    log = Log().user("h1", "Do it.").agent("a1", "m1", "Doing it.", call("t1", "Bash", command="make"))
    found = told(log.no("u1", "t1", content, **more).user("h2", "No."))
    assert found.signals() == {("u1", signal)}
    assert found.text("outcome") == {"u1": reason}
    assert found.links("rejected_by") == {("t1", "u1")}
    assert bool(found.kind("correction")) is bool(reason)


@pytest.mark.parametrize(
    ("content", "error", "more"),
    [
        pytest.param(STOP, None, {}, id="quoted by cat"),
        pytest.param(because("x"), False, {}, id="quoted, no error"),
        pytest.param(f"Exit code 1\n{STOP}", True, {}, id="quoted by a failed command"),
        pytest.param(f"     1→{STOP}", None, {}, id="quoted by Read"),
        pytest.param(json.dumps({"content": STOP, "is_error": True}), None, {}, id="a transcript within"),
        pytest.param("PreToolUse:Bash hook error: blocked", True, {}, id="hook denial"),
        pytest.param(STOP, True, {"toolDenialKind": "permission-rule"}, id="permission rule"),
        pytest.param(STOP, True, {"toolDenialKind": "automode-blocked"}, id="automode"),
        pytest.param(STOP, True, {"toolDenialKind": "interrupted"}, id="interrupted sibling"),
        pytest.param(STOP, True, {"toolDenialKind": "cancelled"}, id="cancelled"),
        pytest.param(STOP, True, {"toolDenialKind": "user-rejected", "interruptedByShutdown": True}, id="shutdown"),
        pytest.param("Permission to use Bash has been denied.", True, {}, id="rule, older"),
        pytest.param(f"Permission for this tool use was denied. {WROTE}", True, {}, id="a subagent's denial"),
        pytest.param(INTERRUPT_TOOL, True, {}, id="the result beside an interruption"),
        pytest.param(PLAN_YES, None, {}, id="an approval quoted by another tool"),
        pytest.param('User has approved the plan. Please respond with "ok"', None, {}, id="a subagent's plan"),
        pytest.param(PLAN_NO, None, {}, id="a plan's rejection, quoted"),
        pytest.param(None, True, {}, id="no content"),
        pytest.param([{"type": "image"}, 3, None], True, {}, id="odd blocks"),
    ],
)
def test_what_only_looks_like_a_humans_no(told, content, error, more):
    log = Log().user("h1", "Do it.").agent("a1", "m1", "Doing it.", call("t1", "Bash", command="cat log.jsonl"))
    found = told(log.result("u1", "t1", content, error, **more).user("h2", "Go on."))
    assert found.kind("outcome") == {}
    assert found.kind("proposal") == {}
    assert set(found.text("direction")) == {"h1", "h2"}


def test_a_clarification_is_no_rejection(told):
    log = (
        Log()
        .user("h1", "Set it up.")
        .agent("a1", "m1", "A question.", call("t1", "AskUserQuestion", questions=["Which?"]))
    )
    found = told(log.no("u1", "t1", because(CLARIFY + NOTE)))
    assert found.signals() == {("u1", "tool_rejected_with_reason")}
    assert found.links("answered_by") == {("t1", "u1")}
    assert found.links("rejected_by") == set()
    assert found.kind("correction") == {}


def test_an_approved_plan(told):
    log = Log().user("h1", "Plan it.").agent("a1", "m1", "Here is the plan.", call("t1", "ExitPlanMode"))
    log.result("u1", "t1", PLAN_YES, toolUseResult={"plan": "1. Renew.", "isAgent": False})
    log.agent("a2", "m2", "Starting.").user("h2", "Next.").agent(
        "a3", "m3", call("t2", "ExitPlanMode", plan="2. Test.")
    )
    found = told(log.result("u2", "t2", "User has approved exiting plan mode. You can now proceed."))
    assert found.signals() == {("u1", "plan_approved"), ("u2", "plan_approved")}
    assert found.links("accepted_by") == {("t1", "u1"), ("t2", "u2")}
    assert found.text("proposal") == {"t1": "ExitPlanMode\nplan: 1. Renew.", "t2": "ExitPlanMode\nplan: 2. Test."}
    assert found.text("response")["m3"] == "ExitPlanMode\nplan: 2. Test."  # it said nothing of its own


@pytest.mark.parametrize("as_list", [True, False])
def test_interruptions(told, as_list):
    def marker(text):
        return [{"type": "text", "text": text}] if as_list else text

    log = Log().user("h1", "Do it.").agent("a1", "m1", "First I read.", call("t1", "Read"))
    log.user("u1", marker(INTERRUPT_TOOL)).user("h2", "Write instead.").agent("a2", "m2", "Thinking aloud")
    found = told(log.user("u2", marker(INTERRUPT)).user("h3", "Shorter."))
    assert found.signals() == {("u1", "interrupt_tool"), ("u2", "interrupt")}
    assert found.links("interrupted_by") == {("t1", "u1"), ("m2", "u2")}
    assert found.links("follows") == {("h2", "m1"), ("h3", "m2")}


def test_an_interruption_before_anything_was_said_judges_no_response(told):
    log = Log().user("h1", "Do it.").agent("a1", "m1", "Done.").user("h2", "Teh same agian.")
    found = told(log.user("u1", [{"type": "text", "text": INTERRUPT}]).user("h3", "The same again."))
    assert found.signals() == {("u1", "interrupt")}
    assert found.links("interrupted_by") == set()
    assert found.links("follows") == {("h2", "m1"), ("h3", "m1")}


def test_every_marker_is_mined_an_interruption_of_nothing_too(tmp_path):
    log = Log().user("h1", "Do it.").agent("a1", "m1", "Done.").user("h2", "Teh same agian.")
    log.user("u1", [{"type": "text", "text": INTERRUPT}]).user("h3", "The same again.").agent("a2", "m2", "Working.")
    log.user("u2", [{"type": "text", "text": INTERRUPT}])
    found = mine_outcomes("claude-code", write(tmp_path / "s1.jsonl", log))
    marks = {(one.uuid, one.polarity, one.pairable) for one in found if one.signal == "interrupt"}
    assert marks == {("u1", Outcome.NEUTRAL, False), ("u2", Outcome.REJECTED, False)}


def test_a_shutdown_is_no_interruption(told):
    log = Log().user("h1", "Do it.").agent("a1", "m1", "Doing.")
    found = told(log.user("u1", [{"type": "text", "text": INTERRUPT}], interruptedByShutdown=True).user("h2", "Go on."))
    assert found.kind("outcome") == {}
    assert set(found.text("direction")) == {"h1", "h2"}


def test_a_rejection_and_the_interruption_after_it_are_about_the_same_call(told):
    log = Log().user("h1", "Do it.").agent("a1", "m1", "So.", call("t1")).no("u1", "t1", STOP)
    found = told(log.user("u2", [{"type": "text", "text": INTERRUPT_TOOL}]))
    assert found.links("rejected_by") == {("t1", "u1")}
    assert found.links("interrupted_by") == {("t1", "u2")}


def test_several_results_in_one_record(told):
    log = Log().user("h1", "Do it.").agent("a1", "m1", "Both.", call("t1"), call("t2"), call("t3"))
    blocks = [
        {"type": "tool_result", "tool_use_id": name, "is_error": True, "content": content}
        for name, content in (("t1", "no such file"), ("t2", because("no")), ("t3", because("nor that")))
    ]
    found = told(log.user("u1", blocks).agent("a2", "m2", "Neither, then."))
    assert found.text("outcome") == {"u1": "no", "u1#t3": "nor that"}
    assert {node["native_id"] for node in found.kind("outcome").values()} == {"u1"}
    assert found.links("rejected_by") == {("t2", "u1"), ("t3", "u1#t3")}
    assert found.links("responds_to") >= {("m2", "correction:u1"), ("m2", "correction:u1#t3")}


def test_an_orphan_result_still_counts(told):
    log = Log().no("u0", "gone", because("not that")).user("h1", "Do it.").agent("a1", "m1", "Doing it.")
    found = told(log.no("u1", "never seen", because("nor that")))
    assert found.signals() == {("u0", "tool_rejected_with_reason"), ("u1", "tool_rejected_with_reason")}
    assert found.links("rejected_by") == {("m1", "u1")}
    assert set(found.kind("correction")) == {"correction:u1"}


def test_a_call_without_words_takes_the_nearest_words_before_it(told):
    log = (
        Log().user("h1", "Do it.").agent("a1", "m1", "I begin.").agent("a2", "m2", call("t1")).result("u1", "t1", "ok")
    )
    log.agent("a3", "m3", call("t2", command="rm -r build")).no("u2", "t2", because("not that"))
    found = told(log.agent("a4", "m4", call("t3", command="make clean")).no("u3", "t3", STOP))
    assert found.text("response") == {
        "m1": "I begin.",
        "m3": "I begin.",
        "m4": "Edit\ncommand: make clean",  # nothing was said since the correction
    }
    assert found.links("responds_to") == {("m1", "h1"), ("m3", "h1"), ("m4", "correction:u2")}


def test_few_nodes_are_told_of_a_long_turn(told):
    log = Log().user("h1", "Do it all.")
    for n in range(50):
        log.agent(f"a{n}", f"m{n}", f"Step {n}.", call(f"t{n}")).result(f"u{n}", f"t{n}", "ok")
    found = told(log.user("h2", "Fine."))
    assert set(found.nodes) == {"session:s1", "h1", "m0", "m49", "h2"}


@pytest.mark.parametrize(
    ("content", "more"),
    [
        ("<command-name>/exit</command-name>", {}),
        ("<command-message>review</command-message>\n<command-args>it</command-args>", {"origin": {"kind": "human"}}),
        ("<local-command-stdout>ok</local-command-stdout>", {}),
        ("<bash-input>ls</bash-input>", {"origin": {"kind": "human"}}),
        ("<bash-stdout>a</bash-stdout><bash-stderr></bash-stderr>", {}),
        ("<task-notification>\n<task-id>1</task-id>", {"origin": {"kind": "task-notification"}}),
        ("<task-notification>\n<task-id>1</task-id>", {}),
        ("<some-new-wrapper>x</some-new-wrapper>", {}),
        ("Look at this.", {"origin": {"kind": "coordinator"}}),
        ("Look at this.", {"origin": {"kind": "peer"}}),
        ("Look at this.", {"promptSource": "system"}),
        ("Look at this.", {"isMeta": True}),
        ("This session is being continued from a previous conversation.", {"isCompactSummary": True}),
        ("This session is being continued from a previous conversation.", {}),
        ("Look at this.", {"isVisibleInTranscriptOnly": True}),
        ("Look at this.", {"isSidechain": True}),
        ("Caveat: The messages below were generated by the user while running local commands.", {}),
        ("Operation stopped by hook: no", {}),
        ("Stop hook feedback:\ntests fail", {}),
        ("<system-reminder>Todos.</system-reminder>", {}),
        ("<system-reminder>never closed", {"origin": {"kind": "human"}}),
        ([{"type": "text", "text": "<ide_opened_file>a.go</ide_opened_file>"}], {}),
        ("   \n", {}),
        ("", {}),
        ([], {}),
        (None, {}),
        ([{"type": "text"}, {"type": "text", "text": 4}, 5], {}),
    ],
)  # fmt: skip
def test_what_no_human_typed_is_no_direction(told, content, more):
    log = Log().user("h1", "Do it.").agent("a1", "m1", "Done.").user("u1", content, **more)
    assert set(told(log).kind("direction")) == {"h1"}


@pytest.mark.parametrize(
    ("content", "more", "words"),
    [
        ("Use gRPC.", {"origin": {"kind": "human"}, "promptSource": "typed"}, "Use gRPC."),
        ("Use gRPC.", {"permissionMode": "plan", "todos": []}, "Use gRPC."),
        ([{"type": "text", "text": "Use"}, {"type": "text", "text": "gRPC."}], {}, "Use\ngRPC."),
        ("Use gRPC.\n<system-reminder>Todos: <b>\n</system-reminder>", {}, "Use gRPC."),
        (
            [{"type": "text", "text": "<system-reminder>x</system-reminder>"}, {"type": "text", "text": "gRPC"}],
            {},
            "gRPC",
        ),
        ([{"type": "text", "text": "<ide_selection>x</ide_selection>"}, {"type": "text", "text": "gRPC"}], {}, "gRPC"),
        ([{"type": "text", "text": "As in [Image #1]"}, {"type": "image", "source": {}}], {}, "As in [Image #1]"),
        ([{"type": "image", "source": {}}], {}, "[image]"),
        ("<div> is not closed, why?", {"origin": {"kind": "human"}}, "<div> is not closed, why?"),
        ("What does [Request interrupted by user] mean?", {}, "What does [Request interrupted by user] mean?"),
        (f"It says: {STOP}", {}, f"It says: {STOP}"),
    ],
)
def test_what_a_human_typed(told, content, more, words):
    found = told(Log().user("h1", "Do it.").agent("a1", "m1", "Done.").user("h2", content, **more))
    assert found.text("direction")["h2"] == words
    assert found.links("follows") == {("h2", "m1")}
    assert found.kind("outcome") == {}


def test_words_typed_while_a_tool_ran_are_a_turn_of_their_own(told):
    """The harness hands them over with the tool's result."""
    log = Log().user("h1", "Do it.").agent("a1", "m1", "Editing.", call("t1"))
    log.user(
        "u1",
        [
            {"type": "tool_result", "tool_use_id": "t1", "content": "ok"},
            {"type": "text", "text": "Is there no library?"},
        ],
    )
    found = told(log.agent("a2", "m2", "There is.").user("h2", "Use it."))
    assert found.text("direction")["u1"] == "Is there no library?"
    assert found.links("follows") == {("u1", "m1"), ("h2", "m2")}
    assert ("m2", "u1") in found.links("responds_to")


def test_a_rejection_and_words_in_one_record_have_ids_of_their_own(told):
    log = Log().user("h1", "Do it.").agent("a1", "m1", "Editing.", call("t1"))
    no = {"type": "tool_result", "tool_use_id": "t1", "is_error": True, "content": STOP}
    found = told(log.user("u1", [no, {"type": "text", "text": "Ask first."}]))
    assert found.nodes["u1"]["kind"] == "outcome"
    assert (found.nodes["u1#words"]["text"], found.nodes["u1#words"]["native_id"]) == ("Ask first.", "u1")


def test_a_call_refused_after_words_came_with_another_result_is_still_known(told):
    log = Log().user("h1", "Do it.").agent("a1", "m1", "Both.", call("t1")).agent("a2", "m1", call("t2"))
    log.user("u1", [{"type": "tool_result", "tool_use_id": "t1", "content": "ok"}, {"type": "text", "text": "Wait."}])
    assert told(log.no("u2", "t2", STOP)).links("rejected_by") == {("t2", "u2")}


@pytest.mark.parametrize("more", [{"isApiErrorMessage": True}, {"model": "<synthetic>"}, {"isSidechain": True}])
def test_what_the_harness_says_for_the_agent_is_no_response(told, more):
    log = Log().user("h1", "Do it.").agent("a1", "m1", "Done.").agent("a2", "m2", "API Error: overloaded", **more)
    assert told(log.user("h2", "Go on.")).links("follows") == {("h2", "m1")}


def test_a_message_split_over_records_is_one(told):
    log = Log().user("h1", "Do it.").agent("a1", "m1", "One.").quiet().agent("a2", "m1", call("t1"))
    found = told(log.result("u1", "t1", "ok").agent("a3", "m1", "Two.").user("h2", "Ok."))
    assert found.text("response") == {"m1": "One.\n\nTwo."}


def test_a_message_that_goes_on_after_a_prompt_does_not_answer_two_prompts(told):
    log = Log().user("h1", "Do it.").agent("a1", "m1", "One.").user("h2", "Stop.").agent("a2", "m1", "Two.")
    found = told(log)
    assert found.text("response") == {"m1": "One.", "a2": "Two."}
    assert found.links("responds_to") == {("m1", "h1"), ("a2", "h2")}


def test_responses_without_message_id_have_the_records(told):
    found = told(Log().user("h1", "Do it.").agent("a1", None, "One.").user("h2", "Ok."))
    assert found.text("response") == {"a1": "One."}


def test_side_chains_say_nothing(tmp_path):
    side = Log(side=True).user("p1", "You are a subagent. Never ask.").agent("a1", "m1", "Reading.", call("t1"))
    side.no("u1", "t1", because("no")).user("u2", [{"type": "text", "text": INTERRUPT}])
    side.no("u3", "t1", f"Permission for this tool use was denied. {WROTE} The user said:\nno")
    write(tmp_path / "p" / "s1.jsonl", work())
    write(tmp_path / "p" / "s1" / "subagents" / "agent-1.jsonl", side)
    seen = {}
    found = read(tmp_path, seen)
    assert found.signals() == {("u1", "tool_rejected_with_reason")}
    assert set(found.text("direction")) == {"h1", "h2"}
    assert seen["p/s1/subagents/agent-1.jsonl"]["offset"] == len(b"".join(lines_of(side)))
    inline = Log()
    inline.extend([*work(), *side])
    assert read(write(tmp_path / "inline.jsonl", inline)).edges == found.edges


def test_a_side_chain_is_known_wherever_the_flag_stands(told):
    """The search that spares parsing looks for it at the front only."""
    log = Log().user("h1", "Do it.").agent("a1", "m1", "Doing it.", call("t1"))
    side = Log().user("p1", "You are a subagent.").agent("a2", "m2", "Reading.").no("u1", "t1", STOP)
    for record in side:
        del record["isSidechain"]
        record["isSidechain"] = True
        assert not says_nothing(orjson.dumps(record))
    log.extend(side)
    assert set(told(log).nodes) == {"session:s1", "h1", "m1"}


def test_a_compaction_does_not_end_a_turn(told):
    log = Log().user("h1", "Do it.").agent("a1", "m1", "Beginning.")
    log.quiet("system", subtype="compact_boundary", content="Conversation compacted")
    log.user(
        "c1", "This session is being continued from a previous conversation. The user said: no!", isCompactSummary=True
    )
    found = told(log.agent("a2", "m2", "Going on.").user("h2", "Good."))
    assert set(found.text("direction")) == {"h1", "h2"}
    assert found.links("responds_to") == {("m1", "h1"), ("m2", "h1")}


def test_a_checkpoint_that_repeats_an_earlier_one_doubles_nothing(tmp_path):
    log = work()
    write(tmp_path / "0" / "full.jsonl", log[:8])
    write(tmp_path / "1" / "full.jsonl", log)
    assert read(tmp_path).edges == read(tmp_path / "1").edges


def test_a_log_that_repeats_itself_doubles_nothing(tmp_path):
    log = work()
    twice = write(tmp_path / "twice.jsonl", [*log, *log])
    once = write(tmp_path / "once.jsonl", log)
    assert read(twice).edges - read(once).edges == set()
    assert set(read(twice).nodes) == set(read(once).nodes)


def test_half_an_emoji_does_not_hide_a_rejection(tmp_path):
    """JavaScript cuts strings between surrogates and escapes what is left."""
    path = tmp_path / "s1.jsonl"
    lines = lines_of(work())
    broken = lines[5].replace(b"in the worker, please", b"in the worker \\ud83e")
    path.write_bytes(b"".join([*lines[:5], broken, *lines[6:]]))
    found = read(path)
    assert found.signals() == {("u1", "tool_rejected_with_reason")}
    assert found.problems == []


def test_unknown_records_and_bad_lines_are_told_once_and_hide_nothing(tmp_path):
    path = tmp_path / "s1.jsonl"
    lines = lines_of(work())
    odd = [
        b'{"type":"hologram","x":1}\n', b'{"type":"' + b"n" * 90 + b'"}\n', b'{"no":"type"}\n', b'{"type":[1]}\n',
        b"[1,2]\n", b"nonsense\n", b"\xff\xfe\n", b"\n", b'{"type":"user","message":{"content":"no uuid"}}\n',
        b'{"type":"user","uuid":"x1"}\n', b'{"type":"user","uuid":"x2","message":[]}\n', lines[2][:60] + b"\n",
        b'{"type":"user","uuid":3,"message":{"content":"Hi"}}\n',
        b'{"type":"assistant","uuid":"x","message":{"content":7}}\n',
    ]  # fmt: skip
    path.write_bytes(b"".join([*lines[:9], *odd, *lines[9:-1]]))
    seen = {}
    first = read(path, seen)
    assert (first.unknown, first.problems) == (Counter(), [])  # the turn is open: they will be met again
    with path.open("ab") as file:
        file.write(lines[-1])
    second = read(path, seen)
    assert second.unknown == {"hologram": 1, "n" * 60: 1, "(no type)": 2, "user without message": 2}
    assert len(second.problems) == 6
    at = len(b"".join([*lines[:9], *odd[:5]]))
    assert (f"{path}:{at}", "not JSON; left out") in {(p.where, p.what) for p in second.problems}
    assert second.edges == read(write(tmp_path / "clean.jsonl", work())).edges
    with path.open("ab") as file:
        file.write(b"".join(lines_of(Log().user("h9", "More."))))
    third = read(path, seen)
    assert (third.unknown, third.problems) == (Counter(), [])


def test_a_flood_of_bad_lines_is_counted_not_kept(tmp_path):
    path = tmp_path / "s1.jsonl"
    names = b"".join(b'{"type":"kind%d"}\n' % n for n in range(200))
    path.write_bytes(b"bad\n" * 5_000 + names + b"".join(lines_of(Log().user("h1", "Do it."))))
    found = read(path)
    assert len(found.problems) == 101
    assert found.problems[-1].what == "4,900 more lines; left out"
    assert len(found.unknown) == 50
    assert sum(found.unknown.values()) == 200


def test_long_texts_and_long_calls_are_cut(told):
    log = Log().user("h1", "x" * 50_000).agent("a1", "m1", "y" * 50_000, call("t1", new="z" * 50_000))
    found = told(log.no("u1", "t1", STOP))
    assert {len(found.nodes[key]["text"]) for key in ("h1", "m1", "t1")} <= {MAX_TEXT, MAX_TEXT - 1}


# --- reading in steps


def evidence(nodes, edges):
    return {key: orjson.dumps(node) for key, node in nodes.items()}, edges


def in_steps(path, data, cuts):
    """What is told when the file grows from cut to cut, the cursors kept between; of a node the later word counts."""
    seen, nodes, edges = {}, {}, set()
    unknown, problems = Counter(), []
    path.write_bytes(b"")
    for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        with path.open("ab") as file:
            file.write(data[begin:end])
        found = read(path, seen)
        nodes.update(found.nodes)
        edges |= found.edges
        unknown += found.unknown
        problems += found.problems
    return evidence(nodes, edges), unknown, problems


def long_work():
    """Everything that can happen, in one session."""
    log = work()
    log.quiet("attachment", attachment={"type": "session_context"}).quiet("hologram").user("u10", "<command-name>/x")
    log.agent("b1", "n1", "Next I drop the cache.").agent("b2", "n1", call("t10", "Bash", command="rm"))
    log.agent("b3", "n1", call("t11")).no("u11", "t10", because("keep it?")).no("u12", "t11", STOP)
    log.user("u13", [{"type": "text", "text": INTERRUPT_TOOL}]).user("h3", "Keep the cache.").user(
        "h4", "And its test."
    )
    log.agent("b4", "n2", call("t12")).user("u14", [
        {"type": "tool_result", "tool_use_id": "t12", "content": "ok"}, {"type": "text", "text": "Faster, please."},
    ])  # fmt: skip
    log.agent("b5", "n3", "Faster it is.").agent("b6", "n3", call("t13", "ExitPlanMode", plan="p"))
    log.result("u15", "t13", PLAN_YES).agent("b7", "n4", "Planned.").user("h5", "Stop.").agent("b8", "n4", "More.")
    log.user("u16", [{"type": "text", "text": INTERRUPT}]).user("h6", "Enough.").user("c9", "Caveat: x", isMeta=True)
    return log


def test_read_in_steps_is_read_at_once_whatever_the_steps(tmp_path):
    data = b"".join(lines_of(long_work())).replace(b'"Caveat', b"Caveat", 1)  # the last line is torn
    whole = write(tmp_path / "whole" / "s1.jsonl", [])
    once = in_steps(whole, data, [])
    ends = [n + 1 for n, byte in enumerate(data) if byte == 10]
    assert in_steps(whole, data, ends[:-1]) == once
    assert in_steps(whole, data, list(range(100, len(data), 97))) == once
    for end in ends[:-1]:
        assert in_steps(whole, data, [end]) == once


STEPS = ("human", "say", "call", "no", "because", "interrupt", "stop", "words", "same", "quiet", "plan", "odd")


def any_log(steps):
    """A session in which the harness does one thing after another; `same` goes on with the message before."""
    log, message, last = Log(), 0, "t0"
    for n, step in enumerate(steps):
        uuid = f"r{n}"
        message += step not in {"same", "call"}
        if step == "human":
            log.user(uuid, f"Words {n}.")
        elif step in {"say", "same"}:
            log.agent(uuid, f"m{message}", f"Said {n}.")
        elif step in {"call", "plan"}:
            last = f"t{n}"
            log.agent(uuid, f"m{message}", call(last, "ExitPlanMode" if step == "plan" else "Edit"))
        elif step in {"no", "because"}:
            log.no(uuid, last, STOP if step == "no" else because(f"Reason {n}."))
        elif step in {"interrupt", "stop"}:
            log.user(uuid, INTERRUPT if step == "interrupt" else INTERRUPT_TOOL)
        elif step == "words":
            block = {"type": "tool_result", "tool_use_id": last, "content": PLAN_YES}
            log.user(uuid, [block, {"type": "text", "text": f"Meanwhile {n}."}])
        else:
            log.quiet("progress" if step == "quiet" else "hologram")
    return log


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data(), st.lists(st.sampled_from(STEPS), min_size=1, max_size=40), st.integers(1, 12))
def test_any_conversation_read_in_any_steps_and_batches_is_the_same(tmp_path_factory, monkeypatch, data, steps, size):
    content = b"".join(lines_of(any_log(steps)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=6)))
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    once = in_steps(path, content, [])
    monkeypatch.setattr(claude_code, "BATCH_NODES", size)
    assert in_steps(path, content, cuts) == once
    monkeypatch.undo()


def test_small_batches_say_the_same_and_each_can_be_gone_on_from(tmp_path, monkeypatch):
    path = write(tmp_path / "s1.jsonl", long_work())
    once = read(path)
    monkeypatch.setattr(claude_code, "BATCH_NODES", 1)
    batches = list(ClaudeCodeSource().read(path, {}))
    assert len(batches) > 4
    assert evidence(Told(batches).nodes, Told(batches).edges) == evidence(once.nodes, once.edges)
    for number, batch in enumerate(batches):  # killed after this one
        rest = Told([*batches[: number + 1], *ClaudeCodeSource().read(path, {"s1.jsonl": batch.cursor})])
        assert evidence(rest.nodes, rest.edges) == evidence(once.nodes, once.edges)
        assert rest.unknown == once.unknown


def test_each_batch_holds_what_its_turns_follow_and_answer(tmp_path, monkeypatch):
    path = write(tmp_path / "s1.jsonl", work())
    monkeypatch.setattr(claude_code, "BATCH_NODES", 1)
    for batch in ClaudeCodeSource().read(path, {}):
        told = {node["id"] for node in batch.nodes}
        assert all({edge["source"], edge["target"]} <= told for edge in batch.edges)


def test_an_idle_look_is_no_batch_and_a_small_change_a_small_one(tmp_path):
    seen = {}
    for n in range(3):
        write(tmp_path / f"s{n}.jsonl", work())
    read(tmp_path, seen)
    assert read(tmp_path, seen).batches == []
    with (tmp_path / "s1.jsonl").open("ab") as file:
        file.write(b"".join(lines_of(Log().user("h9", "And now?"))))
    found = read(tmp_path, seen)
    assert [batch.unit for batch in found.batches] == ["s1.jsonl"]
    assert set(found.text("direction")) == {"h2", "h9"}


def test_a_replaced_transcript_is_read_from_the_start(tmp_path):
    path, seen = write(tmp_path / "s1.jsonl", work()), {}
    read(path, seen)
    write(path, Log("s2").user("k1", "Another session."))
    assert read(path, seen).text("direction") == {"k1": "Another session."}


def test_a_vanished_file_a_bad_one_and_a_link_out_do_not_stop_the_others(tmp_path):
    tree, seen = tmp_path / "projects", {}
    for name in ("a", "b", "c"):
        write(tree / name / "s1.jsonl", work())
    outside = write(tmp_path / "outside" / "s9.jsonl", Log().user("z1", "Secret."))
    (tree / "d").symlink_to(outside.parent)
    (tree / "b" / "link.jsonl").symlink_to(outside)
    os.mkfifo(tree / "b" / "pipe.jsonl")
    first = read(tree, seen)
    assert "z1" not in first.nodes
    assert {Path(p.where).name for p in first.problems} == {"d", "link.jsonl", "pipe.jsonl"}
    (tree / "a" / "s1.jsonl").unlink()
    known = set(seen)
    gone = [batch for batch in read(tree, seen).batches if batch.unit in known]
    assert [(batch.unit, batch.cursor, batch.whole) for batch in gone] == [("a/s1.jsonl", None, False)]
    assert set(seen) == known - {"a/s1.jsonl"}
    with pytest.raises(SourceMissingError):
        read(tmp_path / "nothing", {})


# --- the search that spares parsing


def tells(line):
    record = parse(line)
    if record["type"] == "assistant":
        return said(record, "x") is not None
    found = typed(record) if record["type"] == "user" else None
    return found is not None and bool(found.markers or found.words)


def test_what_is_passed_over_unparsed_says_nothing_and_most_is_passed_over():
    log = long_work()
    log.result("r1", "t1", "cut: " + json.dumps(work()[5]), toolUseResult={"type": "text", "is_error": True})
    log.result("r2", "t1", "fine", False).result("r3", "t1", "bad", True).result("r4", "t1", [{"type": "image"}])
    log.quiet("progress", data={"message": {"type": "user", "content": because("x")}}).quiet("file-history-snapshot")
    passed = set()
    for line in (line.strip() for pretty in (False, True) for line in lines_of(log, pretty)):
        if says_nothing(line):
            passed.add(orjson.loads(line)["uuid"])
            assert not tells(line)
    assert {"u2", "u3", "r1", "r2", "r4"} <= passed
    assert passed.isdisjoint({"u1", "u11", "u14", "u15", "h1", "a1"})


@pytest.mark.parametrize(
    "line",
    [
        b'{"message":{"type":"progress"},"type":"user"}',
        b'{"a":{"type":"progress"}}',
        b'["type","progress"]',
        b'{"type":"progress"',
        b'{"note":"\\"type\\":\\"progress\\"","type":"user","message":{"role":"user","content":"Hi"}}',
        b'{"type":"user","message":{"role":"user","content":"[\\"tool_result\\"]"}}',
        b'{"type":"user","extra":{"content":["tool_result"]},"message":{"role":"user","content":"Hi"}}',
        b'{"type":"user","toolUseResult":{"content":["tool_result"]},"message":{"role":"user","content":"Hi"}}',
        b'{"type":"user","message":{"role":"user","content":[{"type":"tool_result","is_error": true}]}}',
        b'{"type":"user","message":{"role":"user","content":[{"type":"tool_result"},{"type":"text","text":"Hi"}]}}',
        b'{"isSidechain":false,"type":"user","message":{"isSidechain":true,"content":"Hi"}}',
        b'{"isSidechain":"true","type":"user","message":{"content":"Hi"}}',
    ],
)  # fmt: skip
def test_in_doubt_a_line_is_parsed(line):
    assert not says_nothing(line)


# --- garbage

LINES = lines_of(long_work())


def mutated(rng):
    """A line with a few bytes changed, taken out or put in, or with values of other types."""
    line = bytearray(rng.choice(LINES).rstrip(b"\n"))
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(line) + 1)
        way = rng.choice(("change", "cut", "add", "swap"))
        if way == "change":
            line[at : at + 1] = rng.randbytes(1)
        elif way == "cut":
            del line[at : at + rng.randint(1, 40)]
        elif way == "add":
            line[at:at] = rng.choice((b'"', b"{", b"}", b"[", b"null", b"1e999", b"\\ud800", b"\x00", b',"a":1'))
        else:
            other = rng.choice((b"null", b"3", b"[]", b"{}", b"true", b'""', b'"type"', b"-1"))
            begin = line.find(b":", at)
            end = line.find(b",", begin)
            line[begin + 1 : max(begin + 1, end)] = other
    return bytes(line).replace(b"\n", b" ")


@settings(max_examples=max(1, MUTATIONS // 20), deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**64))
def test_mutated_lines_never_crash_and_give_no_row_from_garbage(tmp_path_factory, seed):
    rng = random.Random(seed)
    lines = [mutated(rng) for _ in range(20)]
    path = tmp_path_factory.getbasetemp() / "mutated.jsonl"
    path.write_bytes(b"\n".join([LINES[0].strip(), *lines, LINES[-2].strip(), b""]))
    found = read(path)
    whole = set()
    for line in lines:
        try:
            whole |= {str(json.loads(line.decode()))}
        except ValueError:
            continue
    memory = MemoryGraph.from_records(found.nodes.values(), [
        {"source": a, "kind": kind, "target": b} for a, kind, b in found.edges
    ])  # fmt: skip
    memory.episodes("claude-code")
    content = path.read_bytes()
    for key, node in found.nodes.items():
        assert isinstance(key, str)
        assert key
        assert node["kind"] == "session" or json.loads(content[node["place"] :].split(b"\n", 1)[0])
        assert isinstance(node["text"], str)
        if node["kind"] != "session" and node["place"] not in (0, path.stat().st_size - len(LINES[-2])):
            text = str(node.get("native_id", key)).removeprefix("correction:")
            assert any(repr(text)[1:-1] in line for line in whole), (key, node)
