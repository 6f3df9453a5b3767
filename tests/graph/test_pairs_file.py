"""Pairs files: what is written is what is read, and every fault has a line and a key."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graph.errors import GraphError, SourceMissingError, TornFileError
from graph.mining.pairs import read_pairs_file, write_pairs_file
from graph.schema import ChatMessage, Pair

GOOD = {
    "behaviour": "b",
    "prompt": [{"role": "user", "content": "Do it."}],
    "positive": "Yes.",
    "negative": "No.",
    "group": "s",
}

TEXT = st.text(min_size=1, max_size=30)
MESSAGES = st.builds(
    ChatMessage, role=st.sampled_from(["system", "user", "assistant", "tool"]), content=st.text(max_size=20)
)
PAIRS = st.builds(
    Pair,
    behaviour=TEXT,
    prompt=TEXT | st.lists(MESSAGES, min_size=1, max_size=3).map(tuple),
    positive=TEXT,
    negative=TEXT,
    group=TEXT,
    weight=st.floats(0, 1, exclude_min=True),
    episodes=st.just(()) | st.tuples(TEXT, TEXT),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(PAIRS, max_size=5))
def test_what_is_written_is_read(tmp_path, pairs):
    path = tmp_path / "pairs.jsonl"
    write_pairs_file(path, pairs)
    assert read_pairs_file(path) == pairs
    assert [p.name for p in tmp_path.iterdir()] == ["pairs.jsonl"]


def test_a_plain_pair_is_a_plain_line(tmp_path):
    path = tmp_path / "pairs.jsonl"
    write_pairs_file(path, [Pair.model_validate(GOOD)])
    assert json.loads(path.read_text()) == GOOD


def test_blank_lines_and_a_missing_last_newline_are_fine(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text(f"\ufeff\n{json.dumps(GOOD)}\n \n{json.dumps(GOOD)}", encoding="utf-8")
    assert len(read_pairs_file(path)) == 2


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({**GOOD, "colour": "red"}, "colour: unknown key"),
        ({k: v for k, v in GOOD.items() if k != "group"}, "group: missing"),
        ({**GOOD, "positive": ""}, "positive: String should have at least 1"),
        ({**GOOD, "positive": 3}, "positive: Input should be a valid string"),
        ({**GOOD, "prompt": ""}, "prompt: "),
        ({**GOOD, "prompt": []}, "prompt: "),
        ({**GOOD, "prompt": [{"role": "boss", "content": "x"}]}, "prompt"),
        ({**GOOD, "weight": 0}, "weight: Input should be greater than 0"),
        ([1], "not an object"),
    ],
)
def test_a_line_that_is_no_pair_is_named_with_its_key(tmp_path, line, said):
    path = tmp_path / "pairs.jsonl"
    path.write_text(f"{json.dumps(GOOD)}\n{json.dumps(line)}\n")
    with pytest.raises(GraphError, match=r"pairs\.jsonl:2: ") as caught:
        read_pairs_file(path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("line", [json.dumps(GOOD)[:-5], '{"weight": NaN}', "\x00", '{"positive": "\\ud800"}'])
def test_a_torn_line_names_line_and_column(tmp_path, line):
    path = tmp_path / "pairs.jsonl"
    path.write_text(f"{json.dumps(GOOD)}\n{line}")
    with pytest.raises(TornFileError, match=r"pairs\.jsonl:2:\d+: not JSON"):
        read_pairs_file(path)


def test_a_huge_line_is_refused_without_being_read(tmp_path):
    path = tmp_path / "pairs.jsonl"
    with path.open("wb") as sparse:
        sparse.truncate(200 * 2**20)
    with pytest.raises(GraphError, match=r"pairs\.jsonl:1: line longer than 16,777,216 bytes"):
        read_pairs_file(path)


def test_a_missing_file_is_66(tmp_path):
    with pytest.raises(SourceMissingError) as caught:
        read_pairs_file(tmp_path / "none.jsonl")
    assert caught.value.exit_code == 66


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "pairs.jsonl"
    write_pairs_file(path, [Pair.model_validate(GOOD)])
    before = path.read_bytes()

    def torn():
        yield Pair.model_validate(GOOD)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_pairs_file(path, torn())
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["pairs.jsonl"]


@given(st.binary(max_size=200))
def test_garbage_is_refused(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("pairs") / "p.jsonl"
    path.write_bytes(data)
    if data.removeprefix(b"\xef\xbb\xbf").strip():
        with pytest.raises(GraphError):
            read_pairs_file(path)
    else:
        assert read_pairs_file(path) == []
