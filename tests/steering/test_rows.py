"""Rows on disk: whole or absent, found by what the model and the tokens are, never more of them than asked for."""

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.errors import FullError
from daemon.steering.rows import Row, RowFolder, decode_norms, encode_norms, row_key, trim
from graph.schema import ChatMessage

KEY = "ab" + "0" * 62


def a_row(layers=3, hidden=4, tokens=5, seed=0):
    draw = np.random.default_rng(seed)
    norms = draw.uniform(0.1, 1e4, (layers, tokens)).astype(np.float32)
    return Row(draw.standard_normal((layers, hidden)).astype(np.float32), encode_norms(norms))


def test_a_row_comes_back_as_it_went(tmp_path):
    rows, row = RowFolder.of(tmp_path, "m" * 64), a_row()
    assert rows.get(KEY, 3) is None
    rows.put(KEY, row)
    found = rows.get(KEY, 3)
    assert np.array_equal(found.means, row.means)
    assert np.array_equal(found.codes, row.codes)


def test_fewer_layers_are_a_part_and_more_are_not_there(tmp_path):
    rows = RowFolder.of(tmp_path, "m" * 64)
    rows.put(KEY, a_row(layers=3))
    assert rows.get(KEY, 2).means.shape == (2, 4)
    assert rows.get(KEY, 2).codes.shape == (2, 5)
    assert rows.get(KEY, 4) is None


@given(st.data())
def test_a_file_that_is_torn_or_changed_anywhere_counts_as_absent(tmp_path_factory, data):
    rows = RowFolder.of(tmp_path_factory.mktemp("rows"), "m" * 64)
    rows.put(KEY, a_row())
    path = rows.path(KEY)
    whole = path.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        path.write_bytes(whole[:place])
    else:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ data.draw(st.integers(1, 255))]) + whole[place + 1 :])
    assert rows.get(KEY, 3) is None


@given(st.floats(2.0**-30, 2.0**30))
def test_norms_are_kept_within_a_three_thousandth(norm):
    code = encode_norms(np.array([norm], dtype=np.float32))
    assert decode_norms(code.astype(np.float64))[0] == pytest.approx(norm, rel=3.5e-4)


def test_no_norm_is_too_small_or_too_large_to_keep():
    codes = encode_norms(np.array([0.0, np.inf], dtype=np.float32))
    assert codes.tolist() == [0, 65535]


def test_a_key_is_of_the_model_of_its_tokenizer_and_of_both_texts():
    asked = (ChatMessage(role="user", content="Use tabs."),)
    given = ("m", "t", asked, "Yes.")
    others = [
        ("n", "t", asked, "Yes."),
        ("m", "u", asked, "Yes."),
        ("m", "t", (ChatMessage(role="system", content="Use tabs."),), "Yes."),
        ("m", "t", "Use tabs.", "Yes."),
        ("m", "t", asked, "No."),
    ]
    assert len({row_key(*each) for each in (given, *others)}) == 6
    assert row_key(*given) == row_key("m", "t", (ChatMessage(role="user", content="Use tabs."),), "Yes.")


def test_codes_alone_are_those_of_the_row(tmp_path):
    rows, row = RowFolder.of(tmp_path, "m" * 64), a_row()
    assert rows.codes(KEY, 3) is None
    rows.put(KEY, row)
    assert np.array_equal(rows.codes(KEY, 2), row.codes[:2])


def test_trimming_takes_the_least_recently_used_of_all_models(tmp_path):
    folders = [RowFolder.of(tmp_path, model * 64) for model in "mn"]
    keys = [f"{i:02x}" + "0" * 62 for i in range(4)]
    for number, key in enumerate(keys):
        folders[number % 2].put(key, a_row())
        os.utime(folders[number % 2].path(key), (number, number))
    folders[0].touch([keys[0]])
    size = folders[0].path(keys[0]).stat().st_size
    assert trim(tmp_path, 4 * size) == 0
    assert trim(tmp_path, 2 * size) == 2
    left = {key for key in keys for folder in folders if folder.get(key, 3)}
    assert left == {keys[0], keys[3]}


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    with pytest.raises(FullError, match="cannot be written"):
        RowFolder.of(blocked, "m" * 64).put(KEY, a_row())
