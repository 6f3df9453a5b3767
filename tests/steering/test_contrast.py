"""A text is read once by a model; what is on disk afterwards is all that is needed."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daemon.errors import DataError
from daemon.proof.verify import run_verify
from daemon.protocol import ExtractRequest
from daemon.steering import contrast as room
from daemon.steering.contrast import contrast
from daemon.steering.extract import run_extract
from daemon.steering.rows import SUFFIX
from daemon.steering.text import encode_pairs
from daemon.steering.vector_file import load
from tests.steering.planted import make_pairs, verify_request
from tests.steering.readings import reply_means
from tests.tiny import tiny_tokenizer

PAIRS = make_pairs(12)


def read(loaded, pairs, folder, n_layers=4, told=None):
    return contrast(
        loaded, pairs, n_layers, folder, lambda p: told.append((p.done, p.total)) if told is not None else 0
    )


def vector(loaded, pairs, out, **changes):
    request = ExtractRequest(model="unused", pairs=pairs, out=out, behaviour="planted", **changes)
    run_extract(loaded, request, lambda _: None)
    return load(out)


@pytest.fixture
def passes(llama):
    """How many passes of the decoder were made since the last look."""
    counted = []
    handle = llama.layout.decoder.register_forward_hook(lambda *_: counted.append(1), always_call=True)
    yield lambda: (len(counted), counted.clear())[0]
    handle.remove()


def test_both_replies_of_each_pair_are_read_in_the_order_given(llama, tmp_path, monkeypatch):
    monkeypatch.setattr(room, "AT_ONCE", 5)
    wanted = reply_means(llama.layout, encode_pairs(tiny_tokenizer(), PAIRS), range(4)).means
    for i, (positive, negative) in enumerate(read(llama, PAIRS, tmp_path).pairs()):
        torch.testing.assert_close(positive, wanted[2 * i], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(negative, wanted[2 * i + 1], atol=1e-5, rtol=1e-5)


def test_what_was_read_is_not_read_again(llama, tmp_path, passes):
    read(llama, PAIRS[:10], tmp_path)
    assert passes() > 0
    read(llama, PAIRS[3:8], tmp_path)
    read(llama, PAIRS[:10], tmp_path, n_layers=2)
    assert passes() == 0
    read(llama, PAIRS, tmp_path)
    assert passes() > 0


def test_a_shallow_row_is_read_again_when_it_must_be_deeper(llama, tmp_path, passes):
    read(llama, PAIRS, tmp_path, n_layers=2)
    passes()
    read(llama, PAIRS, tmp_path, n_layers=4)
    assert passes() > 0


def test_a_refreshed_vector_is_the_one_made_at_once(llama, tmp_path):
    rows = {"rows": tmp_path / "rows", "rows_bytes": 1 << 30}
    vector(llama, PAIRS[:9], tmp_path / "old", **rows)
    refreshed, whole = vector(llama, PAIRS, tmp_path / "new", **rows), vector(llama, PAIRS, tmp_path / "whole")
    np.testing.assert_allclose(refreshed.vectors, whole.vectors, rtol=1e-4, atol=1e-6)
    for one, two in zip(refreshed.vectors, whole.vectors, strict=True):
        assert 1 - one @ two / np.linalg.norm(one) / np.linalg.norm(two) < 1e-6


def test_pairs_taken_away_leave_what_the_others_give(llama, tmp_path):
    rows = {"rows": tmp_path / "rows", "rows_bytes": 1 << 30}
    vector(llama, PAIRS, tmp_path / "all", **rows)
    fewer = vector(llama, PAIRS[2:], tmp_path / "fewer", **rows)
    np.testing.assert_allclose(fewer.vectors, vector(llama, PAIRS[2:], tmp_path / "w").vectors, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("aggregator", ["mean_difference", "pca", "logistic"])
def test_same_pairs_and_same_rows_give_the_same_bytes(llama, tmp_path, aggregator):
    given = {"rows": tmp_path / "rows", "rows_bytes": 1 << 30, "aggregator": aggregator}
    vector(llama, PAIRS, tmp_path / "one", **given)
    vector(llama, PAIRS[::-1], tmp_path / "two", **given)
    vector(llama, PAIRS, tmp_path / "three", aggregator=aggregator)
    bytes_of = {name: (tmp_path / name).read_bytes() for name in ("one", "two", "three")}
    assert bytes_of["one"] == bytes_of["two"] == bytes_of["three"]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sets(st.integers(0, 11), min_size=2), min_size=1, max_size=5), st.integers(0, 40))
def test_however_the_evidence_came_and_whatever_was_lost_the_vector_is_the_same(
    planted_model, tmp_path_factory, sets, lost
):
    folder = tmp_path_factory.mktemp("life")
    rows = {"rows": folder / "rows", "rows_bytes": 1 << 30}
    for number, chosen in enumerate(sets):
        found = vector(planted_model, tuple(PAIRS[i] for i in chosen), folder / f"v{number}", **rows)
        files = sorted((folder / "rows").rglob(f"*{SUFFIX}"))
        files[lost % len(files)].write_bytes(b"torn")
    alone = vector(planted_model, tuple(PAIRS[i] for i in sets[-1]), folder / "alone")
    np.testing.assert_allclose(found.vectors, alone.vectors, rtol=1e-3, atol=1e-5)


def test_rows_stay_within_their_bound(llama, tmp_path):
    root = tmp_path / "rows"
    vector(llama, PAIRS, tmp_path / "v", rows=root, rows_bytes=3000)
    assert 0 < sum(path.stat().st_size for path in root.rglob(f"*{SUFFIX}")) <= 3000


def test_no_room_for_rows_means_that_none_are_kept(llama, tmp_path):
    vector(llama, PAIRS, tmp_path / "v", rows=tmp_path / "rows", rows_bytes=0)
    assert not (tmp_path / "rows").exists()


def test_a_proof_reads_what_extraction_read_and_keeps_to_the_bound_too(planted_model, tmp_path, monkeypatch):
    rows = {"rows": tmp_path / "rows", "rows_bytes": 1 << 30}
    vector(planted_model, make_pairs(24, seed=1), tmp_path / "v", **rows)
    read, plain = [], room.read_replies

    def noted(layout, items, layers):
        read.extend(items)
        return plain(layout, items, layers)

    with monkeypatch.context() as patch:
        patch.setattr(room, "read_replies", noted)
        assert run_verify(planted_model, verify_request(tmp_path / "v", **rows), lambda _: None).verdict == "verified"
    assert len(read) == 2 * len(make_pairs(8, seed=2))  # both replies of each validation pair, none for training
    run_verify(planted_model, verify_request(tmp_path / "v", rows=tmp_path / "rows", rows_bytes=3000), lambda _: None)
    assert 0 < sum(path.stat().st_size for path in (tmp_path / "rows").rglob(f"*{SUFFIX}")) <= 3000


def test_without_a_folder_nothing_stays(llama, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    vector(llama, PAIRS, tmp_path / "v")
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_row_that_goes_while_it_is_in_use_is_told(llama, tmp_path):
    found = read(llama, PAIRS, tmp_path)
    next(tmp_path.rglob(f"*{SUFFIX}")).unlink()
    with pytest.raises(DataError, match="deleted while it was in use"):
        list(found.pairs())


def test_norms_are_medians_over_all_tokens_of_all_replies_but_first_ones(loaded, tmp_path):
    norms = reply_means(loaded.layout, encode_pairs(loaded.tokenizer, PAIRS), range(4)).median_norms
    assert read(loaded, PAIRS, tmp_path).median_norms() == pytest.approx(norms.tolist(), rel=5e-4)


def test_progress_ends_at_all_whether_read_or_known(llama, tmp_path):
    for _ in range(2):
        told = []
        read(llama, PAIRS, tmp_path, told=told)
        assert told == sorted(told)
        assert told[-1] == (12, 12)


def test_only_the_first_layers_when_that_is_asked(llama, tmp_path):
    deep, half = vector(llama, PAIRS, tmp_path / "deep"), vector(llama, PAIRS, tmp_path / "half", depth=0.5)
    assert half.vectors.shape == (2, 32)
    np.testing.assert_allclose(half.vectors, deep.vectors[:2], rtol=1e-5, atol=1e-6)
