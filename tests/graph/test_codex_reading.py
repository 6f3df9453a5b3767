"""However a rollout grows, breaks or repeats, it says what one read of it says."""

import json
import os
import random

import pytest
from codex_logs import MUTATED, NAME, SOURCE, WORK, asked, graph, meta, read
from hypothesis import given
from hypothesis import strategies as st
from logs import write

from graph.errors import SourceMissingError
from graph.sources import codex


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
