"""A log is read from where the last read ended, whole lines only, and another file in its place is noticed."""

import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graph.errors import GraphError, SourceMissingError
from graph.sources import appended
from graph.sources.appended import open_appended


def take(path, entry=None, max_line=1 << 20):
    """All new lines, and the cursor after the last of them; (None, entry) when there is nothing to read."""
    log = open_appended(path, path.parent, entry, max_line)
    if log is None:
        return None, entry
    try:
        lines = list(log.lines())
        end = lines[-1].offset + len(lines[-1].data) + 1 if lines else log.start
        return lines, json.loads(json.dumps(log.entry(end)))
    finally:
        log.close()


def words(lines):
    return [line.data for line in lines]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"one\ntwo\n\nthree\n")
    return path


def test_lines_come_with_the_byte_where_they_begin(path):
    lines, entry = take(path)
    assert [(line.offset, line.data) for line in lines] == [(0, b"one"), (4, b"two"), (8, b""), (9, b"three")]
    assert entry["offset"] == 15 == entry["size"]


def test_an_unchanged_file_is_not_opened(path, monkeypatch):
    _, entry = take(path)
    monkeypatch.setattr(os, "open", lambda *_: pytest.fail("opened"))
    assert take(path, entry) == (None, entry)


def test_only_what_was_appended_is_read(path):
    _, entry = take(path)
    with path.open("ab") as file:
        file.write(b"four\n")
    lines, entry = take(path, entry)
    assert [(line.offset, line.data) for line in lines] == [(15, b"four")]
    assert take(path, entry)[0] is None


def test_half_a_line_is_waited_for(path):
    _, entry = take(path)
    with path.open("ab") as file:
        file.write(b"fo")
    lines, entry = take(path, entry)
    assert lines == []
    assert entry["offset"] == 15
    assert take(path, entry)[0] is None
    with path.open("ab") as file:
        file.write(b"ur\nfive")
    assert words(take(path, entry)[0]) == [b"four"]


def test_a_touched_file_is_looked_at_but_gives_nothing_twice(path):
    _, entry = take(path)
    os.utime(path, ns=(1, 1))
    assert take(path, entry)[0] == []


def test_a_shorter_file_is_read_from_the_start(path):
    _, entry = take(path)
    path.write_bytes(b"one\n")
    log = open_appended(path, path.parent, entry)
    assert (log.start, log.replaced) == (0, True)
    log.close()
    assert words(take(path, entry)[0]) == [b"one"]


@pytest.mark.parametrize("content", [b"One\ntwo\n\nthree\nfour\n", b"one\ntwo\n\nThree\nfour\n"])
def test_another_file_of_more_bytes_is_read_from_the_start(path, content):
    """Whether its head or its tail differs, and though its time is set back."""
    stamp = path.stat().st_mtime_ns
    _, entry = take(path)
    path.write_bytes(content)
    os.utime(path, ns=(stamp, stamp))
    assert words(take(path, entry)[0]) == content.split(b"\n")[:-1]


def test_a_change_far_from_the_end_of_a_long_file_is_seen_in_its_head(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"a\n" + b"x" * 9000 + b"\n")
    _, entry = take(path)
    path.write_bytes(b"b\n" + b"x" * 9000 + b"\nnew\n")
    assert words(take(path, entry)[0])[0] == b"b"


def test_a_change_just_before_the_cursor_is_seen_in_its_tail(tmp_path):
    """A session that was rewound and gone on with otherwise."""
    path = tmp_path / "log"
    path.write_bytes(b"x" * 9000 + b"\nthis way\n")
    _, entry = take(path)
    path.write_bytes(b"x" * 9000 + b"\nthat way\nnew\n")
    assert words(take(path, entry)[0])[1:] == [b"that way", b"new"]


def test_a_file_moved_away_and_copied_back_is_gone_on_with(path):
    """Log rotation by copy: another inode with the same beginning."""
    _, entry = take(path)
    copy = path.with_suffix(".copy")
    copy.write_bytes(path.read_bytes() + b"four\n")
    copy.replace(path)
    assert words(take(path, entry)[0]) == [b"four"]


@pytest.mark.parametrize("entry", [{}, {"offset": -1}, {"offset": "4"}, {"offset": None, "head": 3}, {"offset": 4}])
def test_a_cursor_that_makes_no_sense_means_from_the_start(path, entry):
    assert words(take(path, entry)[0]) == [b"one", b"two", b"", b"three"]


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 64])
def test_lines_longer_than_a_chunk_are_put_together(path, monkeypatch, chunk):
    whole = take(path)
    monkeypatch.setattr(appended, "_CHUNK", chunk)
    assert take(path) == whole


@pytest.mark.parametrize("chunk", [2, 5, 1 << 20])
def test_too_long_a_line_is_left_out_and_said(path, monkeypatch, chunk):
    monkeypatch.setattr(appended, "_CHUNK", chunk)
    path.write_bytes(b"one\n" + b"x" * 11 + b"\n" + b"y" * 10 + b"\ntwo\n" + b"z" * 99)
    log = open_appended(path, path.parent, None, max_line=10)
    assert [(line.offset, line.data) for line in log.lines()] == [(0, b"one"), (16, b"y" * 10), (27, b"two")]
    assert [(problem.where, problem.what) for problem in log.problems] == [
        (f"{path}:4", "a line of more than 10 bytes; left out")
    ]
    log.close()


def test_half_way_through_the_file_does_not_look_read(path):
    """A process that is killed after its first batch must find the rest."""
    log = open_appended(path, path.parent, None)
    lines = log.lines()
    next(lines)
    entry = log.entry(4)
    log.close()
    assert words(take(path, entry)[0]) == [b"two", b"", b"three"]


def test_the_cursor_may_be_asked_for_while_lines_are_read(path):
    log = open_appended(path, path.parent, None)
    seen = []
    for line in log.lines():
        log.entry(line.offset)
        seen.append(line.data)
    assert seen == [b"one", b"two", b"", b"three"]
    log.close()


def test_what_is_written_while_it_is_read_is_left_for_the_next_look(path):
    log = open_appended(path, path.parent, None)
    with path.open("ab") as file:
        file.write(b"four\n")
    assert words(log.lines())[-1] == b"three"
    entry = log.entry(15)
    log.close()
    assert words(take(path, entry)[0]) == [b"four"]


def test_a_link_within_the_folder_is_read_and_one_that_leads_out_is_refused(path, tmp_path_factory):
    inner = path.with_name("link")
    inner.symlink_to(path)
    assert words(take(inner)[0])[0] == b"one"
    outside = tmp_path_factory.mktemp("outside") / "secret"
    outside.write_bytes(b"secret\n")
    outer = path.with_name("outer")
    outer.symlink_to(outside)
    with pytest.raises(GraphError, match="link out of"):
        take(outer)


def test_what_is_no_file_is_refused_in_one_line(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path / "folder"):
        if path.name == "folder":
            path.mkdir()
        with pytest.raises(GraphError, match="not a regular file"):
            take(path)
    with pytest.raises(SourceMissingError, match="not there"):
        take(tmp_path / "none")


def test_a_folder_that_may_not_be_entered_is_one_line(tmp_path, monkeypatch):
    path = tmp_path / "log"
    path.write_bytes(b"x\n")

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(GraphError, match=r"cannot be read \(Permission denied\); make it readable"):
        take(path)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=12), max_size=12))
def test_any_way_of_appending_gives_the_same_lines(tmp_path_factory, parts):
    path = tmp_path_factory.mktemp("a") / "log"
    path.write_bytes(b"")
    got, entry = take(path)
    for part in parts:
        with path.open("ab") as file:
            file.write(part)
        lines, entry = take(path, entry)
        got.extend(lines or [])
    assert got == take(path)[0]
    assert words(got) == b"".join(parts).split(b"\n")[:-1]
