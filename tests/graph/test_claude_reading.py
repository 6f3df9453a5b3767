"""However a transcript grows, breaks or repeats, it says what one read of it says."""

import json
import os
import random
from collections import Counter
from pathlib import Path

import orjson
import pytest
from claude_logs import (
    INTERRUPT,
    INTERRUPT_TOOL,
    MUTATIONS,
    PLAN_YES,
    STOP,
    Log,
    Told,
    because,
    call,
    lines_of,
    read,
    work,
    write,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graph.errors import SourceMissingError
from graph.memory import MemoryGraph
from graph.sources import claude_code
from graph.sources.claude_code import ClaudeCodeSource, says_nothing
from graph.sources.claude_records import parse, said, typed

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
