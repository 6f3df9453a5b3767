"""The event log: what may be written, and what a reader makes of it."""

import json
import os

import orjson
import pytest
from event_logs import MUTATIONS, TALK, cursors, lines, memory, read, said
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graph.behaviours.patterns import BUILTIN, behaviours_in
from graph.episodes import episodes_of
from graph.errors import GraphError, SourceMissingError
from graph.events import (
    MAX_LINE,
    line_id,
)
from graph.mining.pairs import mine
from graph.schema import EdgeKind
from graph.sources import base
from graph.sources import events as source_module
from graph.sources.events import EventsSource

# ---------------------------------------------------------------- what a reader makes of it


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log" / "events.jsonl"
    path.parent.mkdir()
    return path


def test_a_conversation_becomes_episodes_and_a_pair(log):
    log.write_bytes(lines(*TALK))
    (batch,) = read(log)
    found = memory(batch)
    assert (batch.problems, dict(batch.unknown), found.problems) == ((), {}, ())
    no, yes = sorted(episodes_of(found, "events"), key=lambda episode: episode.response)
    assert (no.outcome, no.signal, no.words, no.weight, no.session) == (
        "corrected",
        "tool_rejected_with_reason",
        "No.",
        1.0,
        "s1",
    )
    assert (yes.outcome, yes.signal, yes.words, yes.weight) == ("accepted", "recorded", "good", 0.4)
    assert no.direction == yes.direction == "Use the vendored parser."
    assert [(label.behaviour, label.pole, label.weight) for label in no.labels] == [("brevity", "negative", 0.8)]
    assert no.ts == 1_772_438_402_000
    assert found.node("response:r1")["place"] == len(lines(TALK[0]))
    assert found.node("proposal:r1")["text"] == "Create billing/parser.py"
    assert [edge.target for edge in found.out_edges("direction:d2", EdgeKind.FOLLOWS)] == ["response:r2"]


def test_two_answers_to_one_direction_pair_up(log):
    (listening,) = (behaviour for behaviour in BUILTIN if behaviour.name == "listening")
    log.write_bytes(lines(*TALK[:5]))
    episodes = episodes_of(memory(*read(log)), "events")
    pairs, _ = mine(episodes, listening)
    assert [(pair.positive, pair.negative) for pair in pairs] == [(TALK[3]["text"], TALK[1]["text"])]


@pytest.mark.parametrize(
    ("polarity", "kind"),
    [
        ("accepted", "accepted_by"),
        ("rejected", "rejected_by"),
        ("corrected", "rejected_by"),
        ("neutral", "answered_by"),
    ],
)
def test_each_polarity_has_its_edge(log, polarity, kind):
    log.write_bytes(lines({"event": "outcome", "id": "o", "response": "r", "polarity": polarity, "words": "hm"}))
    (batch,) = read(log)
    kinds = {edge["kind"]: (edge["source"], edge["target"]) for edge in batch.edges}
    assert kinds.pop(kind) == ("response:r", "outcome:o")
    assert kinds == ({"corrects": ("correction:o", "response:r")} if polarity == "corrected" else {})


def test_ids_are_their_kinds_own(log):
    log.write_bytes(
        lines(
            {"event": "direction", "id": "1", "session": "1", "text": "Look first."},
            {"event": "response", "id": "1", "session": "1", "direction": "1", "text": "Looking."},
            {"event": "outcome", "id": "1", "response": "1", "polarity": "accepted"},
        )
    )
    (episode,) = episodes_of(memory(*read(log)), "events")
    assert (episode.direction, episode.response, episode.direction_id) == ("Look first.", "Looking.", "1")


def test_an_outcome_may_come_in_a_later_batch_than_its_response(log):
    log.write_bytes(lines(*TALK[:2]))
    first = read(log)
    with log.open("ab") as file:
        file.write(lines(TALK[2]))
    later = read(log, cursors(first))
    assert [node["id"] for batch in later for node in batch.nodes] == ["outcome:o1", "correction:o1"]
    (episode,) = episodes_of(memory(*first, *later), "events")
    assert episode.outcome == "corrected"


def test_a_label_never_redefines_a_pattern(log):
    log.write_bytes(lines(TALK[7]))
    first = read(log)
    with log.open("ab") as file:
        file.write(lines(TALK[8], TALK[6]))
    (behaviour,) = behaviours_in(memory(*first, *read(log, cursors(first))))
    assert (behaviour.name, behaviour.negative_cues) == ("brevity", (r"\bin general\b",))
    assert behaviour.description == "answers in a line / lectures"


def test_unknown_events_and_keys_are_counted_once_and_the_rest_is_read(log):
    odd = {"event": "direction", "id": "d", "session": "s", "text": "x", "mood": 1}
    log.write_bytes(lines(odd, {"event": "telemetry", "x": 1}, {"event": "n" * 100}))
    first = read(log)
    with log.open("ab") as file:
        file.write(lines({"event": "telemetry"}))
    second = read(log, cursors(first))
    assert said(first)[2] == {"direction.mood": 1, "telemetry": 1, "n" * 60: 1}
    assert said(second)[2] == {"telemetry": 1}
    assert "direction:d" in said(first)[0]
    assert said(first)[3] == []


def test_at_most_fifty_unknown_names_are_kept_apart(log):
    log.write_bytes(lines(*({"event": f"kind-{n}"} for n in range(80))))
    (batch,) = read(log)
    assert len(batch.unknown) == 51
    assert batch.unknown["…"] == 30


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (b'{"event": "direction", "session": "s", "te', "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[]", "not a JSON object"),
        (b'{"event": "direction", "session": "s", "text": 3}', "direction: text: "),
        (b'{"event": "direction", "session": "s", "text": "a\\ud800"}', "not JSON"),
        (b'{"event": "outcome", "response": "r", "polarity": "corrected"}', "outcome: correction: missing"),
        (b"[" * 5000, "not JSON"),
    ],
)
def test_a_malformed_line_is_a_problem_with_its_place_and_no_row(log, line, what):
    log.write_bytes(lines(TALK[0]) + line + b"\n" + lines(TALK[3]))
    (batch,) = read(log)
    (problem,) = batch.problems
    assert problem.where == f"{log}:{len(lines(TALK[0]))}"
    assert what in problem.what
    assert "\n" not in problem.what
    assert {node["id"] for node in batch.nodes} == {"direction:d1", "response:r2", "session:s1"}


def test_a_byte_order_mark_blank_lines_and_crlf_are_no_problem(log):
    log.write_bytes(b"\xef\xbb\xbf" + orjson.dumps(TALK[0]) + b"\r\n\r\n\n" + orjson.dumps(TALK[1]) + b"\r\n")
    (batch,) = read(log)
    assert batch.problems == ()
    assert memory(batch).node("direction:d1")["text"] == "Use the vendored parser."


def test_half_a_line_is_waited_for(log):
    whole = lines(*TALK)
    cut = len(lines(*TALK[:3])) + 20
    log.write_bytes(whole[:cut])
    first = read(log)
    assert first[-1].cursor["offset"] == len(lines(*TALK[:3]))
    assert said(first)[3] == []
    assert read(log, cursors(first)) == []
    log.write_bytes(whole)
    second = read(log, cursors(first))
    log.write_bytes(whole)
    assert said([*first, *second]) == said(read(log))


def test_reading_at_any_cut_is_reading_once(log):
    whole = lines(*TALK[:4], {"event": "odd"}, *TALK[4:]) + b'{"torn\n' + lines(TALK[0] | {"id": None, "x": 1})
    log.write_bytes(whole)
    once = said(read(log))
    for cut in range(len(whole)):
        log.write_bytes(whole[:cut])
        first = read(log)
        with log.open("ab") as file:
            file.write(whole[cut:])
        assert said([*first, *read(log, cursors(first))]) == once, cut


def test_killed_between_two_batches_it_goes_on(log, monkeypatch):
    monkeypatch.setattr(source_module, "BATCH_NODES", 4)
    whole = lines(*TALK, {"event": "odd"}, *({**TALK[0], "id": f"x{n}"} for n in range(20)))
    log.write_bytes(whole)
    once = said(read(log))
    seen, batches = {}, []
    for _ in range(50):
        batch = next(EventsSource().read(log, seen), None)  # only the first batch of each look is committed
        if batch is None:
            break
        batches.append(batch)
        seen = cursors(batches)
    assert len(batches) > 5
    assert all(len(batch.nodes) <= 8 for batch in batches)
    assert said(batches) == once


def test_a_batch_holds_a_bounded_part_of_a_large_log(log):
    log.write_bytes(lines(*({**TALK[0], "id": f"d{n}"} for n in range(3 * base.BATCH_NODES))))
    batches = read(log)
    assert len(batches) == 4
    assert max(len(batch.nodes) for batch in batches) <= base.BATCH_NODES + 2


def test_an_unchanged_log_is_not_read_again(log):
    log.write_bytes(lines(*TALK))
    assert read(log, cursors(read(log))) == []


def test_a_truncated_or_replaced_log_is_read_from_its_start_and_adds_what_is_new(log):
    log.write_bytes(lines(*TALK))
    first = read(log)
    log.write_bytes(lines(TALK[0], {**TALK[0], "id": "d9"}))
    second = read(log, cursors(first))
    new = said(second)[0].keys() - said(first)[0].keys()
    assert new == {"direction:d9"}
    assert second[0].whole is False


def test_rotation_within_a_folder_adds_nothing_and_ids_reach_across_files(log):
    log.write_bytes(lines(*TALK[:2]))
    first = read(log.parent)
    log.rename(log.with_name("events-1.jsonl"))
    log.write_bytes(lines(TALK[2]))
    second = read(log.parent, cursors(first))
    assert {batch.unit: batch.cursor is None for batch in second} == {"events-1.jsonl": False, "events.jsonl": False}
    assert {batch.scope for batch in (*first, *second)} == {f"events:{log.parent}"}
    (episode,) = episodes_of(memory(*first, *second), "events")
    assert episode.outcome == "corrected"
    assert said(second)[0].keys() - said(first)[0].keys() == {"outcome:o1", "correction:o1"}


def test_a_session_is_told_the_same_by_every_file(log):
    log.write_bytes(lines(TALK[0]))
    log.with_name("more.jsonl").write_bytes(lines({**TALK[0], "id": "d9"}))
    one, other = read(log.parent)
    assert [node for node in one.nodes if node["id"] == "session:s1"] == [
        node for node in other.nodes if node["id"] == "session:s1"
    ]


def test_a_log_that_vanished_from_its_folder_is_told(log):
    log.write_bytes(lines(*TALK))
    first = read(log.parent)
    log.unlink()
    (gone,) = read(log.parent, cursors(first))
    assert (gone.unit, gone.cursor, gone.whole) == ("events.jsonl", None, False)


def test_a_link_out_of_the_folder_is_a_problem_and_the_others_go_on(log, tmp_path):
    outside = tmp_path / "outside.jsonl"
    outside.write_bytes(lines(TALK[0]))
    (log.parent / "a.jsonl").symlink_to(outside)
    log.write_bytes(lines(TALK[3]))
    linked, fine = read(log.parent)
    assert (linked.unit, linked.nodes, linked.cursor) == ("a.jsonl", (), None)
    assert "symbolic link out of" in linked.problems[0].what
    assert "response:r2" in said([fine])[0]


def test_a_file_that_is_not_there_or_no_file_is_an_error(tmp_path):
    with pytest.raises(SourceMissingError):
        read(tmp_path / "nowhere.jsonl")
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(GraphError, match="not a regular file"):
        read(tmp_path / "pipe.jsonl")


@pytest.mark.parametrize("size", [MAX_LINE + 10, 3 * MAX_LINE])
def test_a_line_over_the_limit_is_left_out_and_told_once(log, size):
    huge = orjson.dumps({**TALK[0], "id": "huge", "text": "x" * size}) + b"\n"
    log.write_bytes(lines(TALK[0]) + huge)
    first = read(log)
    with log.open("ab") as file:
        file.write(lines(TALK[3], TALK[3]))
    second = read(log, cursors(first))
    nodes, _, _, problems = said([*first, *second])
    assert nodes.keys() == {"direction:d1", "session:s1", "response:r2"}
    ((where, what),) = problems
    assert where == f"{log}:{len(lines(TALK[0]))}"
    assert "left out" in what


def test_an_event_without_an_id_has_that_of_its_line(log):
    bare = {"event": "direction", "session": "s", "text": "Look first."}
    log.write_bytes(lines(bare, bare, {**bare, "text": "Then act."}))
    (batch,) = read(log)
    directions = [node for node in batch.nodes if node["id"].startswith("direction:")]
    assert [node["text"] for node in directions] == ["Look first.", "Then act."]
    assert directions[0]["native_id"] == line_id(orjson.dumps(bare))


def test_a_path_with_dots_is_the_same_memory(log):
    log.write_bytes(lines(*TALK))
    (plain,) = read(log)
    (dotted,) = read(log.parent / ".." / "log" / "events.jsonl")
    assert (dotted.scope, dotted.nodes) == (plain.scope, plain.nodes)


mutations = st.lists(
    st.tuples(st.integers(0, 10_000), st.sampled_from(["cut", "flip", "insert", "drop", "swap"]), st.integers(0, 255)),
    min_size=1,
    max_size=6,
)


def mutated(line, changes):
    data = bytearray(line)
    for place, change, byte in changes:
        at = place % max(1, len(data))
        if change == "cut":
            del data[at:]
        elif change == "flip" and data:
            data[at] ^= byte
        elif change == "insert":
            data.insert(at, byte)
        elif change == "drop" and data:
            del data[at]
        else:
            data[at : at + byte] = b'"' + data[at : at + byte][::-1]
    return bytes(data)


@settings(max_examples=MUTATIONS, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(event=st.sampled_from(TALK), changes=mutations)
def test_a_mutated_line_never_crashes_and_gives_no_row_that_was_not_said(tmp_path_factory, event, changes):
    """A run of scripts/fuzz tries more lines."""
    data = mutated(orjson.dumps(event), changes)
    path = tmp_path_factory.getbasetemp() / "mutated.jsonl"
    path.write_bytes(data + b"\n" + lines(TALK[3]))
    batches = read(path)
    nodes = said(batches)[0]
    assert "response:r2" in nodes
    sound = [one for part in data.split(b"\n") if (one := _said_by(part)) is not None]
    own = {key for key, node in nodes.items() if "place" in node and key != "response:r2"}
    assert len(own) <= 2 * len(sound)
    for key in own:
        text = nodes[key]["text"]
        assert not text or any(text in value for raw in sound for value in raw.values() if isinstance(value, str))


def _said_by(part):
    try:
        raw = json.loads(part.removeprefix(b"\xef\xbb\xbf").strip())  # as the reader does: \v is white space, too
    except ValueError:
        return None
    return raw if isinstance(raw, dict) else None
