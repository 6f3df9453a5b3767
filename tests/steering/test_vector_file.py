"""A vector file says what it is, and one that says something else, or less, is refused with what to do."""

import dataclasses

import numpy as np
import orjson
import pytest

from daemon.errors import DataError, MismatchError, NoInputError
from daemon.serving.vector_bytes import safetensors_bytes
from daemon.steering import vector_file
from daemon.steering.vector_file import VectorFile, describe, from_parts, load, require_model, save
from graph.schema import pairs_digest
from tests.steering.planted import make_pairs

PAIRS = make_pairs(4)
MATRIX = np.arange(1, 7, dtype=np.float32).reshape(3, 2)


def a_file(matrix=MATRIX, **changes):
    metadata = describe("planted", PAIRS, "m" * 64, "t" * 64, [1.0, 2.0, 4.0], [0.5, 0.6, 0.7], "mean_difference")
    return VectorFile(matrix, metadata | changes)


def test_what_is_saved_is_loaded(tmp_path):
    save(tmp_path / "v.safetensors", a_file())
    found = load(tmp_path / "v.safetensors")
    assert np.array_equal(found.vectors, MATRIX)
    assert found.metadata == a_file().metadata
    assert found.pair_ids == {pair.id for pair in PAIRS}
    assert found.groups == {pair.group for pair in PAIRS}
    assert found.median_residual_norm == [1.0, 2.0, 4.0]
    assert found.coherence == [0.5, 0.6, 0.7]


def test_the_metadata_states_everything_a_loader_must_know():
    wanted = {
        "format_version": "1", "operation": "add", "site": "block_output", "layer_map": "0-based block outputs",
        "token_scope": "all_but_first", "dose_unit": "median_residual_norm", "polarity": "positive",
        "behaviour": "planted", "aggregator": "mean_difference", "n_pairs": "4", "pairs_digest": pairs_digest(PAIRS),
        "model_digest": "m" * 64, "template_digest": "t" * 64,
    }  # fmt: skip
    metadata = a_file().metadata
    assert {key: metadata[key] for key in wanted} == wanted
    assert {"median_residual_norm", "pair_ids", "groups", "code_version"} <= set(metadata)


def test_a_dose_is_in_median_residual_norms_of_its_layer():
    """Defect 7: a coefficient means nothing without the layer's norm."""
    file = a_file()
    for layer in range(3):
        norm = np.linalg.norm(MATRIX[layer]) * file.coefficient(layer, 0.5)
        assert norm == pytest.approx(0.5 * file.median_residual_norm[layer])
    with pytest.raises(DataError, match="layer 1: the vector is zero"):
        a_file(MATRIX * np.array([[1], [0], [1]], np.float32)).coefficient(1, 0.5)


def test_the_same_vector_gives_the_same_bytes_in_any_order_of_its_pairs(tmp_path):
    metadata = describe("planted", PAIRS[::-1], "m" * 64, "t" * 64, [1.0, 2.0, 4.0], [0.5, 0.6, 0.7], "mean_difference")
    save(tmp_path / "one", a_file())
    save(tmp_path / "two", VectorFile(MATRIX, metadata))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("key", sorted(vector_file.FIXED))
def test_another_meaning_is_refused(tmp_path, key):
    save(tmp_path / "v", a_file(**{key: "project"}))
    with pytest.raises(MismatchError, match=f"{key} is 'project'.*extract it again"):
        load(tmp_path / "v")


@pytest.mark.parametrize("key", ["model_digest", "pair_ids", "median_residual_norm", "format_version"])
def test_a_missing_statement_is_refused(tmp_path, key):
    file = a_file()
    file.metadata.pop(key)
    save(tmp_path / "v", file)
    with pytest.raises(DataError, match=key):
        load(tmp_path / "v")


@pytest.mark.parametrize(
    "norms", ["[1.0, 2.0]", "[1.0, 0.0, 2.0]", "[1.0, -1.0, 2.0]", "{", '["a", "b", "c"]', "[NaN, 1, 2]"]
)
def test_norms_that_are_none_are_refused(tmp_path, norms):
    save(tmp_path / "v", a_file(median_residual_norm=norms))
    with pytest.raises(DataError, match="extract it again"):
        load(tmp_path / "v")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_none_are_refused_on_both_ways(tmp_path, value):
    broken = MATRIX.copy()
    broken[1, 0] = value
    with pytest.raises(DataError, match="layer 1 holds NaN or infinity"):
        save(tmp_path / "v", a_file(broken))
    rows = {f"layer.{i}": row for i, row in enumerate(broken)}
    (tmp_path / "v").write_bytes(safetensors_bytes(rows, a_file().metadata))
    with pytest.raises(DataError, match="layer 1 holds NaN or infinity"):
        load(tmp_path / "v")


@pytest.mark.parametrize(
    "tensors",
    [
        {"layer.0": MATRIX[0], "layer.2": MATRIX[2]},
        {"layer.0": MATRIX[0], "layer.1": np.ones(3, np.float32)},
        {"layer.0": MATRIX},
        {"direction.1": MATRIX[0]},
        {},
    ],
    ids=["a gap", "another width", "a matrix", "another name", "nothing"],
)
def test_other_tensors_are_refused(tmp_path, tensors):
    (tmp_path / "v").write_bytes(safetensors_bytes(tensors, a_file().metadata))
    with pytest.raises(DataError, match="extract it again"):
        load(tmp_path / "v")


def test_another_number_format_is_refused(tmp_path):
    from safetensors.numpy import save_file

    save_file({f"layer.{i}": row.astype(np.float16) for i, row in enumerate(MATRIX)}, tmp_path / "v", a_file().metadata)
    with pytest.raises(DataError, match="float32"):
        load(tmp_path / "v")


def test_a_torn_file_is_refused_at_every_length(tmp_path):
    save(tmp_path / "v", a_file())
    whole = (tmp_path / "v").read_bytes()
    for length in (0, 4, 8, 100, len(whole) - 1):
        (tmp_path / "v").write_bytes(whole[:length])
        with pytest.raises(DataError, match="torn or not safetensors"):
            load(tmp_path / "v")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(NoInputError, match="no such vector file"):
        load(tmp_path / "v")


def test_a_vector_of_another_model_is_refused(tmp_path):
    path, file = tmp_path / "v", a_file()
    for layers in (3, 4):  # a file may hold the first layers only
        require_model(file, path, "m" * 64, "t" * 64, (layers, 2))
    for digest, template, shape, what in (
        ("x" * 64, "t" * 64, (3, 2), "model digest"),
        ("m" * 64, "x" * 64, (3, 2), "template digest"),
        ("m" * 64, "t" * 64, (2, 2), "layers and width"),
        ("m" * 64, "t" * 64, (3, 4), "layers and width"),
    ):
        with pytest.raises(MismatchError, match=f"{what}.*extract it again"):
            require_model(file, path, digest, template, shape)


def test_a_store_s_parts_make_the_file_again(tmp_path):
    layers = [{"median_residual_norm": n, "coherence": c} for n, c in ((1.0, 0.5), (2.0, 0.6), (4.0, 0.7))]
    lineage = {"layers": layers, "aggregator": "mean_difference", "code_version": a_file().metadata["code_version"]}
    made = from_parts(MATRIX, "planted", PAIRS, "m" * 64, "t" * 64, orjson.dumps(lineage).decode())
    assert dataclasses.asdict(made)["metadata"] == a_file().metadata
