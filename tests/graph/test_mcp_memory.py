"""The MCP memory server's file: entities, wishes, relations, and a file that somebody is writing."""

import os
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graph.errors import GraphError, SourceMissingError, TornFileError
from graph.records import clean_edges, clean_nodes
from graph.sources.base import Batch
from graph.sources.mcp_memory import McpMemorySource
from graph.sources.preferences import is_person_name, is_rule_name, states_wish

LOOPS = 300 * int(os.environ.get("REFLEXD_FUZZ", "1"))

RECORDS = [
    {"type": "entity", "name": "Ines", "entityType": "user", "observations": ["Prefers small diffs", "Lives in Porto"]},
    {"type": "entity", "name": "commit_rules", "entityType": "behavioral_rule", "observations": ["One topic a commit"]},
    {"entityType": "convención", "type": "entity", "observations": ["Nunca usar any"], "name": "Tipos"},
    {"type": "entity", "name": "billing", "entityType": "project", "observations": ["The modal always opens twice"]},
    {"type": "relation", "from": "Ines", "to": "billing", "relationType": "dueña de"},
]


def write(path: Path, records: list[object]) -> Path:
    """As the server does: no newline at the end."""
    path.write_bytes(b"\n".join(orjson.dumps(record) for record in records))
    return path


def read(path: Path, seen: dict | None = None, **more: object) -> list[Batch]:
    return list(McpMemorySource(sleep=lambda _: None, **more).read(path, seen or {}))


def texts(batch: Batch, kind: str) -> set[str]:
    return {node["text"] for node in batch.nodes if node["kind"] == kind}


def test_wishes_of_people_and_observations_of_rules_are_preferences_and_facts_are_not(tmp_path):
    (batch,) = read(write(tmp_path / "memory.jsonl", RECORDS))
    assert texts(batch, "preference") == {"Prefers small diffs", "One topic a commit", "Nunca usar any"}
    assert {node["native_id"] for node in batch.nodes if node["kind"] == "note"} == {
        "Ines", "commit_rules", "Tipos", "billing",
    }  # fmt: skip
    assert batch.whole
    assert not batch.problems


def test_a_preference_is_linked_to_its_entity_and_a_relation_keeps_its_words(tmp_path):
    (batch,) = read(write(tmp_path / "memory.jsonl", RECORDS))
    links = {(edge["source"], edge["target"]): edge["relation_type"] for edge in batch.edges}
    wish = next(node["id"] for node in batch.nodes if node["text"] == "Prefers small diffs")
    assert links[wish, "entity:Ines"] == "about"
    assert links["entity:Ines", "entity:billing"] == "dueña de"
    cleaned = clean_nodes(batch.nodes)
    assert not cleaned.problems
    assert len(clean_edges(batch.edges, cleaned)[0]) == len(batch.edges)


def test_a_relation_with_a_missing_end_survives_and_is_told(tmp_path):
    (batch,) = read(write(tmp_path / "memory.jsonl", [*RECORDS, {"type": "relation", "from": "Ines", "to": "gone"}]))
    assert ("entity:Ines", "entity:gone") in {(edge["source"], edge["target"]) for edge in batch.edges}
    assert [problem.what for problem in batch.problems] == [
        "dangling relation: there is no entity gone; kept with an open end"
    ]


def test_an_entity_that_stands_twice_is_one_with_the_observations_of_both(tmp_path):
    again = {
        "type": "entity",
        "name": "Ines",
        "entityType": "user",
        "observations": ["Never force-push", "Lives in Porto"],
    }
    (batch,) = read(write(tmp_path / "memory.jsonl", [*RECORDS, again]))
    (entity,) = (node for node in batch.nodes if node["id"] == "entity:Ines")
    assert entity["text"] == "Ines (user)\nPrefers small diffs\nLives in Porto\nNever force-push"
    assert "Never force-push" in texts(batch, "preference")


def test_two_relations_between_the_same_two_are_one_edge_with_both_names(tmp_path):
    also = {"type": "relation", "from": "Ines", "to": "billing", "relationType": "reviews"}
    (batch,) = read(write(tmp_path / "memory.jsonl", [*RECORDS, also, also]))
    (edge,) = (edge for edge in batch.edges if edge["source"] == "entity:Ines")
    assert edge["relation_type"] == "dueña de; reviews"


def test_a_removed_observation_is_gone_and_the_others_keep_their_ids(tmp_path):
    path = write(tmp_path / "memory.jsonl", RECORDS)
    (before,) = read(path)
    changed = [{**RECORDS[0], "observations": ["Prefers small diffs"]}, *RECORDS[2:]]
    write(path, changed)
    (after,) = read(path, {"memory.jsonl": before.cursor})
    wishes = [
        {node["id"]: node["text"] for node in batch.nodes if node["kind"] == "preference"} for batch in (before, after)
    ]
    assert after.whole
    assert wishes[1].items() < wishes[0].items()
    assert set(wishes[0].values()) - set(wishes[1].values()) == {"One topic a commit"}


def test_an_unchanged_file_says_nothing_and_a_touched_one_only_its_new_cursor(tmp_path):
    path = write(tmp_path / "memory.jsonl", RECORDS)
    (first,) = read(path)
    seen = {"memory.jsonl": first.cursor}
    assert read(path, seen) == []
    os.utime(path, (1, 1))
    (second,) = read(path, seen)
    assert (second.nodes, second.whole) == ((), False)
    assert read(path, {"memory.jsonl": second.cursor}) == []


# ---------------------------------------------------------------- a file that is being written


class Writer:
    """Writes the next state of a file whenever the reader pauses."""

    def __init__(self, path: Path, *states: bytes) -> None:
        self.path, self.states, self.pauses = path, list(states), []

    def __call__(self, seconds: float) -> None:
        self.pauses.append(seconds)
        if self.states:
            self.path.write_bytes(self.states.pop(0))


def test_half_a_line_is_waited_for(tmp_path):
    path = write(tmp_path / "memory.jsonl", RECORDS)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    writer = Writer(path, whole)
    (batch,) = McpMemorySource(sleep=writer).read(path, {})
    assert len(batch.nodes) == 7
    assert len(writer.pauses) == 1


def test_a_file_that_stays_torn_is_an_error_that_names_the_line_and_loses_nothing(tmp_path):
    path = write(tmp_path / "memory.jsonl", RECORDS)
    (first,) = read(path)
    path.write_bytes(path.read_bytes()[:-10])
    pauses: list[float] = []
    with pytest.raises(TornFileError, match=r"memory\.jsonl:5: half a line"):
        list(McpMemorySource(sleep=pauses.append).read(path, {"memory.jsonl": first.cursor}))
    assert len(pauses) == 3


@pytest.mark.parametrize("half", [b"", b'{"type":"entity","name":"Ines","entityType":"user","observations":[]}\n'])
def test_a_file_that_was_just_emptied_or_cut_between_lines_is_looked_at_again(tmp_path, half):
    path = write(tmp_path / "memory.jsonl", RECORDS)
    (first,) = read(path)
    whole = path.read_bytes() + b"\n" + orjson.dumps({**RECORDS[0], "name": "Rui"})
    path.write_bytes(half)
    (batch,) = McpMemorySource(sleep=Writer(path, whole)).read(path, {"memory.jsonl": first.cursor})
    assert "Rui" in {node.get("native_id") for node in batch.nodes}


def test_a_memory_that_is_really_empty_now_is_believed_the_second_time(tmp_path):
    path = write(tmp_path / "memory.jsonl", RECORDS)
    (first,) = read(path)
    path.write_bytes(b"")
    (batch,) = read(path, {"memory.jsonl": first.cursor})
    assert (batch.nodes, batch.whole) == ((), True)


# ---------------------------------------------------------------- folders, and what is not as it should be


def test_a_folder_is_read_file_by_file_and_a_bad_one_stops_nobody(tmp_path):
    write(tmp_path / "memory.json", RECORDS[:1])
    (tmp_path / "team").mkdir()
    write(tmp_path / "team" / "shared.memory.jsonl", RECORDS[1:2])
    (tmp_path / "bad.memory.jsonl").write_bytes(b'{"type":')
    (tmp_path / "transcript.jsonl").write_bytes(b'{"type":"user"}')
    batches = {batch.unit: batch for batch in read(tmp_path)}
    assert set(batches) == {"memory.json", "team/shared.memory.jsonl", "bad.memory.jsonl"}
    assert batches["bad.memory.jsonl"].cursor is None
    assert batches["bad.memory.jsonl"].problems
    assert batches["memory.json"].scope != batches["team/shared.memory.jsonl"].scope


def test_a_file_that_vanished_from_a_folder_is_told_without_a_cursor(tmp_path):
    path = write(tmp_path / "memory.jsonl", RECORDS)
    (batch,) = read(tmp_path)
    path.unlink()
    assert [(gone.unit, gone.cursor) for gone in read(tmp_path, {"memory.jsonl": batch.cursor})] == [
        ("memory.jsonl", None)
    ]
    with pytest.raises(SourceMissingError):
        read(path)


def test_a_link_out_of_the_folder_is_a_problem(tmp_path):
    outside = write(tmp_path / "memory.jsonl", RECORDS)
    folder = tmp_path / "agent"
    folder.mkdir()
    (folder / "memory.jsonl").symlink_to(outside)
    (batch,) = read(folder)
    assert batch.nodes == ()
    assert "a symbolic link out of" in batch.problems[0].what


def test_a_file_that_is_too_large_is_refused_by_size(tmp_path):
    with pytest.raises(GraphError, match="more than max_bytes = 64"):
        read(write(tmp_path / "memory.jsonl", RECORDS), max_bytes=64)


def test_unknown_types_are_counted_and_broken_records_are_problems(tmp_path):
    odd = [
        {"type": "tombstone"},
        {"type": "tombstone"},
        {"type": "entity"},
        {"type": "relation", "from": "a"},
        [1],
        {"x": 1},
    ]
    wrong = {"type": "entity", "name": "Rui", "entityType": 3, "observations": "text"}
    path = write(tmp_path / "memory.jsonl", [*odd, wrong, {"type": "t" * 99}])
    (batch,) = read(path)
    assert batch.unknown == {"tombstone": 2, "no type": 1, "t" * 60: 1}
    offsets = [path.read_bytes().index(line) for line in (b'{"type":"entity"}', b'{"type":"relation"', b"[1]")]
    assert [problem.where for problem in batch.problems[:3]] == [f"{path}:{offset}" for offset in offsets]
    assert [node["native_id"] for node in batch.nodes] == ["Rui"]


def test_the_saved_answer_of_read_graph_and_observations_with_times_are_understood(tmp_path):
    graph = {
        "entities": [
            {"name": "Ines", "entityType": "user", "observations": [{"content": "Always asks first", "at": 1}]}
        ],
        "relations": [{"from": "Ines", "to": "Ines", "relationType": "is"}],
    }
    path = tmp_path / "memory.json"
    for data in (orjson.dumps(graph), orjson.dumps(graph, option=orjson.OPT_INDENT_2)):
        path.write_bytes(b"\xef\xbb\xbf" + data)
        (batch,) = read(path)
        assert texts(batch, "preference") == {"Always asks first"}


@pytest.mark.parametrize("name", ["behavioral_rule", "governanceRule", "Convención", "práctica", "user-preferences"])
def test_names_of_rules_are_known_in_the_languages_that_people_write(name):
    assert is_rule_name(name)
    assert not is_rule_name("project")
    assert is_person_name("persona")


@pytest.mark.parametrize(
    ("text", "of_person", "wish"),
    [
        ("Prefiere TypeScript como lenguaje principal", True, True),
        ("PROHIBIDO waitForTimeout", True, True),
        ("Don’t add emojis", True, True),
        ("Completed the migration in June", True, False),
        ("The user prefers tabs", False, True),
        ("Always run the linter", False, True),
        ("The cache never expires", False, False),
    ],
)
def test_words_that_state_a_wish(text, of_person, wish):
    assert states_wish(text, of_person) is wish


# ---------------------------------------------------------------- mutated files


@settings(max_examples=LOOPS, deadline=None)
@given(st.data())
def test_a_mutated_file_never_crashes_and_gives_no_row_from_garbage(tmp_path_factory, data):
    raw = bytearray(b"\n".join(orjson.dumps(record) for record in RECORDS))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
        raw = raw or bytearray(b" ")
    path = tmp_path_factory.getbasetemp() / "memory.jsonl"
    path.write_bytes(raw)
    try:
        batches = read(path)
    except TornFileError:
        with pytest.raises(orjson.JSONDecodeError):
            [orjson.loads(line) for line in bytes(raw).removeprefix(b"\xef\xbb\xbf").split(b"\n") if line.strip()]
        return
    (batch,) = batches
    decoded = raw.decode()
    for node in batch.nodes:
        assert node["native_id"]
        if node["kind"] == "preference" and "\\" not in decoded:
            assert node["text"] in decoded
    assert not [problem for problem in clean_nodes(batch.nodes).problems if "kind" in problem.what]
