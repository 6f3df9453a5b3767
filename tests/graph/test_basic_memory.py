"""basic-memory's Markdown notes: front matter, observations, relations, and a tree of them."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graph.errors import SourceMissingError
from graph.records import clean_edges, clean_nodes
from graph.sources.base import Batch
from graph.sources.basic_memory import BasicMemorySource, Observation, parse_note

LOOPS = 300 * int(os.environ.get("REFLEXD_FUZZ", "1"))

NOTE = """---
title: "Review habits"
type: note
permalink: team/review-habits
tags:
- review
- team
modified: 2026-03-02T10:00:00+00:00
---

# Review habits

How Ines wants changes to arrive.

## Observations
- [preference] Small diffs, one topic each #review #size (said twice in March)
- [decision] Releases happen on Tuesdays #process
- [decision] Always squash before the merge
- [fact] The linter runs in 40 s
- [ ] write this down properly
- [x] ask Rui
- [docs](https://example.org) about it

## Relations
- contrasts_with [[Big Bang Reviews]]
- part_of [[team/handbook|the handbook]]
- [[Release Train#Schedule]]

See also [[Release Train]].

```markdown
- [rule] quoted, and nobody's wish
- depends_on [[Quoted]]
```
"""


def read(path: Path, seen: dict | None = None) -> list[Batch]:
    return list(BasicMemorySource().read(path, seen or {}))


def cursors(batches: list[Batch]) -> dict:
    return {batch.unit: batch.cursor for batch in batches}


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "team").mkdir()
    (tmp_path / "team" / "Review habits.md").write_text(NOTE)
    (tmp_path / "Tea.md").write_text("- [rule] Never boil it twice\n- served_in [[Review Habits]]\n")
    return tmp_path


def test_a_note_is_parsed_as_its_author_meant_it():
    note = parse_note(NOTE, "team/Review habits")
    assert (note.permalink, note.title, note.front["type"]) == ("team/review-habits", "Review habits", "note")
    assert note.observations[:2] == [
        Observation("preference", "Small diffs, one topic each", ("review", "size"), "said twice in March"),
        Observation("decision", "Releases happen on Tuesdays", ("process",), ""),
    ]
    assert [one.category for one in note.observations] == ["preference", "decision", "decision", "fact"]
    assert note.relations == [
        ("contrasts_with", "Big Bang Reviews"),
        ("part_of", "team/handbook|the handbook"),
        ("relates_to", "Release Train#Schedule"),
        ("links_to", "Release Train"),
    ]
    assert note.problems == []


def test_rules_and_wishes_are_preferences_and_facts_and_mere_decisions_are_not(tree):
    wishes = {node["text"] for batch in read(tree) for node in batch.nodes if node["kind"] == "preference"}
    assert wishes == {"Small diffs, one topic each", "Always squash before the merge", "Never boil it twice"}


def test_links_by_title_from_two_files_meet_whatever_the_letters_and_the_order(tree):
    batches = read(tree)
    edges = {(edge["source"], edge["target"]): edge["relation_type"] for batch in batches for edge in batch.edges}
    assert edges["note:tea", "title:review habits"] == "served_in"
    assert edges["note:team/review-habits", "title:review habits"] == "title"
    assert edges["note:team/review-habits", "note:team/handbook"] == "part_of"
    assert edges["note:team/review-habits", "title:release train"] == "relates_to; links_to"
    cleaned = clean_nodes([node for batch in batches for node in batch.nodes])
    assert not cleaned.problems
    assert not clean_edges([edge for batch in batches for edge in batch.edges], cleaned, open_ends=True)[1]


def test_only_the_changed_file_is_told_and_a_deleted_one_without_a_cursor(tree):
    seen = cursors(read(tree))
    assert read(tree, seen) == []
    (tree / "Tea.md").write_text("- [rule] Never boil it three times\n")
    (changed,) = read(tree, seen)
    assert (changed.unit, changed.whole) == ("Tea.md", True)
    assert "Never boil it three times" in {node["text"] for node in changed.nodes}
    (tree / "Tea.md").unlink()
    assert [(batch.unit, batch.cursor) for batch in read(tree, seen)] == [("Tea.md", None)]


def test_reading_in_steps_is_the_same_as_reading_once(tree):
    seen: dict = {}
    told: dict = {}
    for name, text in [("a.md", "- [rule] One\n"), ("b.md", "- likes [[a]]\n"), ("a.md", "- [rule] Two\n")]:
        (tree / name).write_text(text)
        for batch in read(tree, seen):
            seen[batch.unit] = batch.cursor
            if batch.whole:
                told[batch.unit] = (batch.nodes, batch.edges)
    assert told == {batch.unit: (batch.nodes, batch.edges) for batch in read(tree)}


def test_a_touched_file_gives_only_its_new_cursor(tree):
    seen = cursors(read(tree))
    os.utime(tree / "Tea.md", (1, 1))
    (batch,) = read(tree, seen)
    assert (batch.nodes, batch.whole) == ((), False)
    assert read(tree, seen | {"Tea.md": batch.cursor}) == []


def test_hidden_folders_the_index_and_links_out_of_the_tree_are_not_read(tree, tmp_path_factory):
    (tree / ".trash").mkdir()
    (tree / ".trash" / "old.md").write_text("- [rule] Thrown away\n")
    (tree / "memory.db").write_bytes(b"SQLite format 3\0")
    outside = tmp_path_factory.mktemp("outside") / "secret.md"
    outside.write_text("- [rule] Not offered\n")
    (tree / "secret.md").symlink_to(outside)
    batches = {batch.unit: batch for batch in read(tree)}
    assert set(batches) == {"Tea.md", "team/Review habits.md", "secret.md"}
    assert batches["secret.md"].nodes == ()
    assert "a symbolic link out of" in batches["secret.md"].problems[0].what


def test_a_single_note_and_no_note(tree):
    (batch,) = read(tree / "Tea.md")
    assert batch.unit == "Tea.md"
    with pytest.raises(SourceMissingError):
        read(tree / "Coffee.md")


@pytest.mark.parametrize(
    ("front", "title", "permalink"),
    [
        ("title: 'It''s: fine'\nbroken line\n  nested: x\n- item", "It''s: fine", "notes/my-note"),
        ("title: Plain # a comment\npermalink: custom/id", "Plain", "custom/id"),
        ("Title: Upper", "Upper", "notes/my-note"),
        ("", "My_Note", "notes/my-note"),
    ],
)
def test_front_matter_is_read_tolerantly(front, title, permalink):
    note = parse_note(f"---\r\n{front}\n---\n- [rule] X y\n".replace("\n", "\r\n"), "notes/My_Note")
    assert (note.title, note.permalink, len(note.observations)) == (title, permalink, 1)


def test_front_matter_without_an_end_is_text_and_a_problem():
    note = parse_note("---\ntitle: X\n- [rule] still read\n", "n")
    assert (note.title, [one.content for one in note.observations]) == ("n", ["still read"])
    assert note.problems == [(1, "front matter without an end (a line ---); read as text")]


def test_a_note_that_is_no_utf8_is_read_as_far_as_it_goes(tmp_path):
    (tmp_path / "n.md").write_bytes(b"\xef\xbb\xbf- [rule] Caf\xe9 first\n")
    (batch,) = read(tmp_path)
    assert "Caf� first" in {node["text"] for node in batch.nodes}


def never(*_, **__):
    raise AssertionError("opened")


def test_an_idle_look_at_a_thousand_notes_opens_none(tmp_path, monkeypatch):
    for folder in range(20):
        (tmp_path / f"f{folder}").mkdir()
        for index in range(50):
            (tmp_path / f"f{folder}" / f"{index}.md").write_text(f"- [rule] Number {index}\n")
    seen = cursors(read(tmp_path))
    assert len(seen) == 1000
    monkeypatch.setattr(os, "open", never)
    assert read(tmp_path, seen) == []


@settings(max_examples=LOOPS, deadline=None)
@given(st.data())
def test_a_mutated_note_never_crashes_and_gives_no_row_from_garbage(data):
    raw = bytearray(NOTE.encode())
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(raw)))
        cut = data.draw(st.integers(0, 40))
        raw[at : at + cut] = data.draw(
            st.one_of(st.binary(max_size=4), st.sampled_from([b"---\n", b"```", b"[[", b"- [", b" "]))
        )
    text = raw.decode("utf-8", "replace")
    note = parse_note(text, "n")
    for one in note.observations:
        assert one.content
        assert one.content in text
        assert one.category in text
    for kind, target in note.relations:
        assert target in text
        assert kind in text or kind in {"relates_to", "links_to"}


@pytest.mark.parametrize(
    "line", ["- [rule] " + "#a " * 200_000, " " * 500_000, "- [rule] x" + " " * 300_000 + "(", "- " + "a" * 500_000]
)
def test_no_line_is_so_long_that_a_pattern_loses_itself_in_it(line):
    """A pattern that looked again from every place would run for hours here."""
    assert parse_note(line, "n") is not None
    assert parse_note(f"---\nkey: {line}", "n") is not None
