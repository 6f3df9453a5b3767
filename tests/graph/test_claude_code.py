"""A Claude Code transcript says what was asked, proposed and refused: by its structure, never by a quote."""

import json

import orjson
import pytest
from claude_logs import (
    CLARIFY,
    INTERRUPT,
    INTERRUPT_TOOL,
    NOTE,
    PLAN_NO,
    PLAN_YES,
    REJECTED,
    STOP,
    WROTE,
    Log,
    because,
    call,
    read,
    work,
    write,
)

from graph.memory import MemoryGraph
from graph.outcomes import mine_outcomes
from graph.schema import Outcome


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
