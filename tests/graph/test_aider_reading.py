"""However a history grows, breaks or repeats, it says what one read of it says."""

import os
import random

import pytest
from aider_logs import (
    FENCE,
    MUTATED,
    QUOTED,
    SOURCE,
    WORK,
    header,
    line_of,
    of_kind,
    outcomes,
    read,
    said,
    texts,
    tool,
    typed,
)
from hypothesis import given
from hypothesis import strategies as st
from logs import write

from graph.errors import SourceMissingError
from graph.memory import MemoryGraph
from graph.schema import EdgeKind, NodeKind
from graph.sources import aider
from graph.sources.aider import HISTORY


def in_steps(path, whole, ends):
    nodes, edges, seen = {}, set(), {}
    for end in ends:
        write(path, whole[:end])
        more_nodes, more_edges, seen = read(path, seen)
        nodes |= more_nodes
        edges |= more_edges
    return nodes, edges


def test_read_line_by_line_as_it_grows_it_says_what_one_read_says(tmp_path):
    whole = WORK.encode()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == 10]
    once = read(write(tmp_path / "once" / HISTORY, WORK))[:2]
    assert same_but_file(in_steps(tmp_path / HISTORY, whole, ends), once)


def same_but_file(one, other):
    bare = [{key: {**node, "file": ""} for key, node in nodes.items()} for nodes, _ in (one, other)]
    assert bare[0] == bare[1]
    assert one[1] == other[1]
    return True


def test_read_at_any_bytes_as_it_grows_it_says_what_one_read_says(tmp_path):
    whole = (WORK + WORK.replace("2026-03-02", "2026-03-03")).encode()
    once = read(write(tmp_path / "once" / HISTORY, whole))[:2]
    chance = random.Random(5)
    for _ in range(25):
        ends = [*sorted(chance.sample(range(len(whole)), 4)), len(whole)]
        assert same_but_file(in_steps(tmp_path / HISTORY, whole, ends), once)


def test_a_quoted_transcript_is_not_heard_however_its_answer_arrives(tmp_path):
    parts = [
        header(),
        typed("a fixture"),
        said(f"{FENCE}\n{QUOTED}\n{FENCE}"),
        tool("Tokens: 1k"),
        typed("ok"),
        tool("x"),
    ]
    whole = "".join(parts).encode()
    ends = [len("".join(parts[: n + 1]).encode()) for n in range(len(parts))]
    nodes, edges = in_steps(tmp_path / HISTORY, whole, ends)
    assert texts(nodes, "direction") == ["a fixture", "ok"]
    assert outcomes(nodes, edges) == []


def test_killed_between_two_batches_it_goes_on_where_it_was(tmp_path, monkeypatch):
    path = write(tmp_path / HISTORY, WORK * 3)
    once = read(path)[:2]
    monkeypatch.setattr(aider, "BATCH_NODES", 4)
    nodes, edges, seen, reads = {}, set(), {}, 0
    while (batch := next(SOURCE.read(path, seen), None)) is not None:
        nodes.update({node["id"]: node for node in batch.nodes})
        edges |= {(edge["source"], edge["target"], edge["kind"].value) for edge in batch.edges}
        seen = {batch.unit: batch.cursor}
        reads += 1
    assert reads > 5
    assert (nodes, edges) == once


def test_an_unchanged_history_is_not_read_and_half_a_line_is_waited_for(tmp_path):
    path = write(tmp_path / HISTORY, WORK + typed("and")[:-4])
    _, _, seen = read(path)
    assert list(SOURCE.read(path, seen)) == []
    assert "and" not in str(read(path)[0])


def test_another_history_in_its_place_is_read_from_the_start(tmp_path):
    path = write(tmp_path / HISTORY, WORK)
    _, _, seen = read(path)
    for text in (WORK.replace("per line", "per page"), WORK[: len(WORK) // 2]):
        write(path, text)
        fresh = read(path)[:2]
        assert read(path, seen)[:2] == fresh


def test_in_a_tree_each_history_is_a_unit_and_one_that_is_gone_says_so(tmp_path):
    write(tmp_path / "shop" / HISTORY, WORK)
    write(tmp_path / "tools" / "cli" / HISTORY, WORK.replace("tax", "fee"))
    write(tmp_path / "shop" / "notes.md", QUOTED)
    write(tmp_path / "node_modules" / "x" / HISTORY, QUOTED)
    _, _, seen = read(tmp_path)
    assert set(seen) == {f"shop/{HISTORY}", f"tools/cli/{HISTORY}"}
    (tmp_path / "shop" / HISTORY).unlink()
    [gone] = SOURCE.read(tmp_path, seen)
    assert (gone.unit, gone.cursor, gone.whole) == (f"shop/{HISTORY}", None, False)


def test_a_link_out_of_the_tree_is_a_problem_and_the_others_are_read(tmp_path):
    outside = write(tmp_path / "elsewhere" / "secret.md", QUOTED)
    root = tmp_path / "root"
    write(root / "a" / HISTORY, WORK)
    (root / "b").mkdir()
    (root / "b" / HISTORY).symlink_to(outside)
    (root / "c").symlink_to(outside.parent)
    batches = list(SOURCE.read(root, {}))
    assert [batch.unit for batch in batches if batch.nodes] == [f"a/{HISTORY}"]
    told = [problem.where for batch in batches for problem in batch.problems]
    assert told == [str(root / "b" / HISTORY), str(root / "c")]


def test_a_file_may_have_any_name_and_one_that_is_not_there_is_named(tmp_path):
    assert of_kind(read(write(tmp_path / "old-chat.md", WORK))[0], "direction")
    with pytest.raises(SourceMissingError, match=r"nothing\.md: not there"):
        list(SOURCE.read(tmp_path / "nothing.md", {}))


def test_a_line_beyond_measure_is_left_out_and_lines_are_counted_on(tmp_path, monkeypatch):
    monkeypatch.setattr(aider, "_MAX_LINE", 2_000_000)
    text = header() + typed("go") + said("x" * 2_200_000) + typed("/undo") + tool("No git repository found.")
    path = write(tmp_path / HISTORY, text)
    [batch] = SOURCE.read(path, {})
    [undo] = [node for node in batch.nodes if node["kind"] == NodeKind.OUTCOME]
    assert undo["line"] == line_of(text, "#### /undo")


def never(*_, **__):
    raise AssertionError("opened")


def test_a_thousand_unchanged_histories_are_not_opened(tmp_path, monkeypatch):
    for n in range(1000):
        write(tmp_path / f"d{n:03}" / HISTORY, header() + typed("go"))
    _, _, seen = read(tmp_path)
    monkeypatch.setattr(os, "open", never)
    assert list(SOURCE.read(tmp_path, seen)) == []


LINES = WORK.splitlines(keepends=True) + QUOTED.splitlines(keepends=True)


@MUTATED
@given(seed=st.integers(0, 2**32), garbage=st.binary(max_size=40))
def test_mutated_histories_never_crash_and_give_no_row_from_garbage(tmp_path_factory, seed, garbage):
    chance = random.Random(seed)
    lines = [line.encode() for line in chance.sample(LINES, 30)] if seed % 2 else [line.encode() for line in LINES]
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(lines))
        cut = chance.randrange(len(lines[at]) + 1)
        lines[at] = chance.choice([lines[at][:cut] + garbage + lines[at][cut:], lines[at][:cut], garbage, b""])
    path = write(tmp_path_factory.mktemp("m") / HISTORY, b"".join(lines))
    nodes, edges, _ = read(path)
    problems = MemoryGraph.from_records(
        nodes.values(), [{"source": s, "target": t, "kind": EdgeKind(kind)} for s, t, kind in edges]
    ).problems
    assert [p for p in problems if "no episode" not in p.what] == []
    data = path.read_bytes().split(b"\n")
    for node in of_kind(nodes, "outcome"):
        line = data[node["line"] - 1].decode(errors="replace")
        assert line.startswith("#### /undo" if node["signal"] == "undo" else "> ")
    path.unlink()
    path.parent.rmdir()
