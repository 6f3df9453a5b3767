"""A served vector and a control vector hold the numbers that were extracted, and are the same bytes every time."""

import hashlib
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load as load_safetensors

from daemon.errors import DataError, MismatchError
from daemon.serving.gguf_export import control_vector_bytes
from daemon.serving.vector_bytes import safetensors_bytes, served_vector_bytes

ROOT = Path(__file__).parents[2]
N_LAYERS, HIDDEN = 6, 8
MATRIX = np.random.default_rng(3).standard_normal((N_LAYERS, HIDDEN)).astype(np.float32)


@dataclass(frozen=True)
class Row:
    name: str = "listening@3"
    behaviour: str = "listening"
    layer: int = 4
    template_digest: str = "e" * 64


@dataclass(frozen=True)
class Model:
    digest: str = "d" * 64
    n_layers: int = N_LAYERS
    hidden_size: int = HIDDEN


def served(
    row: Row | None = None, model: Model | None = None, matrix: np.ndarray = MATRIX, **more: Any
) -> tuple[str, bytes]:
    return served_vector_bytes(*matrix.shape, matrix.astype("<f4").tobytes(), row or Row(), model or Model(), **more)


# ---------------------------------------------------------------- safetensors


def test_the_library_reads_the_served_layer_and_who_it_is_for(tmp_path: Path) -> None:
    sha256, content = served()
    assert hashlib.sha256(content).hexdigest() == sha256
    tensors = load_safetensors(content)
    assert list(tensors) == ["layer.4"]
    assert tensors["layer.4"].dtype == np.float32
    assert (tensors["layer.4"] == MATRIX[4]).all()
    (tmp_path / "v.safetensors").write_bytes(content)
    with safe_open(tmp_path / "v.safetensors", framework="np") as file:
        metadata = file.metadata()
    expected = {
        "id": "listening@3",
        "operation": "add",
        "site": "block_output",
        "positions": "all_but_first",
        "model_digest": "d" * 64,
        "template_digest": "e" * 64,
        "format_version": "1",
    }
    assert {key: metadata[key] for key in expected} == expected


def test_the_template_it_states_is_the_one_it_was_made_with() -> None:
    content = served(Row(template_digest="f" * 64))[1]
    assert b'"template_digest":"' + b"f" * 64 in content


def test_a_matrix_of_the_first_layers_only_is_served_as_well() -> None:
    tensors = load_safetensors(served(model=replace(Model(), n_layers=9))[1])
    assert (tensors["layer.4"] == MATRIX[4]).all()


def test_one_coefficient_gives_each_of_several_layers_its_own_dose() -> None:
    """Doses of 3 and of 0.75 at two layers: 3 × the stored rows is what is added."""
    tensors = load_safetensors(served(factors={4: 1.0, 1: 0.25})[1])
    assert list(tensors) == ["layer.1", "layer.4"] or list(tensors) == ["layer.4", "layer.1"]
    assert (tensors["layer.4"] == MATRIX[4]).all()
    assert (3 * tensors["layer.1"] == 3 * (np.float32(0.25) * MATRIX[1])).all()


def test_the_weights_of_a_gate_lie_beside_the_vector_it_opens() -> None:
    plain, gated = served(), served(gate=tuple(float(x) for x in MATRIX[0]))
    tensors = load_safetensors(gated[1])
    assert sorted(tensors) == ["gate", "layer.4"]
    assert (tensors["gate"] == MATRIX[0]).all()
    assert plain[0] != gated[0]
    assert served(factors={4: 1.0}) == plain


@pytest.mark.parametrize(
    ("more", "error", "words"),
    [
        ({"factors": {4: 1.0, 6: 1.0}}, MismatchError, r"layer 6 is outside 0\.\.5"),
        ({"factors": {4: float("inf")}}, DataError, "layer 4 holds NaN"),
        ({"gate": (1.0,)}, DataError, "a gate of 1 weights for 8"),
        ({"gate": (float("nan"),) * 8}, DataError, "its gate holds NaN"),
    ],
)
def test_layers_and_gates_that_cannot_be_used_are_refused(more: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=rf"listening@3: .*{words}"):
        served(**more)


_HASH = """
import hashlib, sys
import numpy as np
from daemon.serving.vector_bytes import safetensors_bytes
from safetensors.numpy import save

write = {"ours": safetensors_bytes, "library": save}[sys.argv[1]]
metadata = {f"key{n}": "value" for n in range(12)}
print(hashlib.sha256(write({"layer.0": np.arange(4, dtype=np.float32)}, metadata)).hexdigest())
"""


def hashes(writer: str) -> set[str]:
    return {
        subprocess.run([sys.executable, "-c", _HASH, writer], cwd=ROOT, capture_output=True, text=True).stdout
        for _ in range(4)
    }


def test_the_bytes_are_the_same_in_every_process_which_the_librarys_are_not() -> None:
    assert len(hashes("ours")) == 1
    assert len(hashes("library")) > 1, "the library became deterministic: use it instead of a writer of our own"


def test_several_tensors_keep_their_order_and_alignment() -> None:
    tensors = {f"layer.{n}": MATRIX[n] for n in (5, 0, 3)}
    content = safetensors_bytes(tensors, {"b": "2", "a": "ü"})
    length = int.from_bytes(content[:8], "little")
    assert length % 8 == 0
    assert len(content) == 8 + length + 3 * 4 * HIDDEN
    read = load_safetensors(content)
    assert {name: tensor.tolist() for name, tensor in read.items()} == {n: t.tolist() for n, t in tensors.items()}


@pytest.mark.parametrize(
    ("row", "model", "words"),
    [
        (Row(), replace(Model(), hidden_size=9), "6 layers of 8, the model has 6 of 9"),
        (Row(), replace(Model(), n_layers=5), "6 layers of 8, the model has 5 of 8"),
        (Row(layer=6), Model(), r"layer 6 is outside 0\.\.5"),
        (Row(layer=-1), Model(), "layer -1 is outside"),
    ],
)
def test_a_vector_of_another_model_is_refused(row: Row, model: Model, words: str) -> None:
    with pytest.raises(MismatchError, match=rf"listening@3: .*{words}"):
        served(row, model)


def test_numbers_that_are_none_are_refused_but_only_where_they_are_served() -> None:
    broken = MATRIX.copy()
    broken[4, 2] = np.nan
    with pytest.raises(DataError, match="layer 4 holds NaN"):
        served(matrix=broken)
    assert served(Row(layer=3), matrix=broken)
    with pytest.raises(DataError, match="12 bytes for 6 × 8"):
        served_vector_bytes(N_LAYERS, HIDDEN, b"\0" * 12, Row(), Model())


# ---------------------------------------------------------------- GGUF


def as_llama_cpp_loads_it(path: Path, strength: float = 1.0) -> tuple[int, np.ndarray]:
    """The rules of common_control_vector_load_one in llama.cpp's common/common.cpp, written again from their reading.

    Returns the width and the flat buffer: `direction.N` at row N - 1, times strength.
    """
    from gguf import GGMLQuantizationType, GGUFReader

    width, data = -1, np.zeros(0, np.float32)
    for tensor in GGUFReader(path).tensors:
        head, dot, number = tensor.name.rpartition(".")
        if head != "direction" or not dot:
            continue
        if not number.isdecimal() or int(number) == 0:
            raise ValueError(f"invalid direction tensor layer index in {tensor.name}")
        if tensor.tensor_type != GGMLQuantizationType.F32:
            raise ValueError("unexpected tensor type")
        if len(tensor.shape) != 1:
            raise ValueError("unexpected number of dimensions")
        if width not in (-1, int(tensor.shape[0])):
            raise ValueError("mixed widths")
        width = int(tensor.shape[0])
        data = np.concatenate([data, np.zeros(max(0, width * int(number) - data.size), np.float32)])
        data[width * (int(number) - 1) : width * int(number)] += strength * tensor.data
    if width == -1:
        raise ValueError("no direction tensors found")
    return width, data


def as_its_adapter_applies_it(width: int, data: np.ndarray, n_layer: int) -> dict[int, np.ndarray]:
    """llama_adapter_cvec::apply: row i - 1 of the buffer goes to block i, for i from 1."""
    return {
        layer: data[width * (layer - 1) : width * layer]
        for layer in range(1, n_layer)
        if width * layer <= data.size and data[width * (layer - 1) : width * layer].any()
    }


def write(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "v.gguf"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("layers", [(4,), (1,), (5,), (2, 3)])
def test_llama_cpp_adds_each_row_to_the_block_it_was_extracted_from(tmp_path: Path, layers: tuple[int, ...]) -> None:
    coefficient = np.float32(2.5)
    rows = {layer: MATRIX[layer] * coefficient for layer in layers}
    path = write(tmp_path, control_vector_bytes(rows, model_hint="smollm2", layer_count=N_LAYERS))
    width, data = as_llama_cpp_loads_it(path)
    applied = as_its_adapter_applies_it(width, data, N_LAYERS)
    assert width == HIDDEN
    assert sorted(applied) == sorted(layers)
    for layer in layers:
        assert (applied[layer] == MATRIX[layer] * coefficient).all()


def test_the_header_says_what_llama_cpps_own_generator_says(tmp_path: Path) -> None:
    from gguf import GGUFReader

    path = write(tmp_path, control_vector_bytes({4: MATRIX[4]}, model_hint="smollm2", layer_count=N_LAYERS))
    reader = GGUFReader(path)

    def field(name: str) -> object:
        found = reader.get_field(name)
        assert found is not None
        return found.contents()

    assert field("general.architecture") == "controlvector"
    assert field("controlvector.model_hint") == "smollm2"
    assert field("controlvector.layer_count") == 1
    assert [tensor.name for tensor in reader.tensors] == ["direction.4"]


def test_the_file_is_the_same_bytes_every_time() -> None:
    first, second = (control_vector_bytes({4: MATRIX[4]}, model_hint="m", layer_count=N_LAYERS) for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ({}, "no layer to export"),
        ({0: MATRIX[0]}, "layer 0: llama.cpp cannot steer block 0"),
        ({4: MATRIX[4], 0: MATRIX[0]}, "layer 0"),
        ({6: MATRIX[4]}, r"layers \[6\] are outside 1\.\.5"),
        ({1: MATRIX[1], 2: MATRIX[2][:4]}, "one width"),
        ({1: MATRIX}, "one width"),
        ({1: MATRIX[1] * np.float32(np.inf)}, r"layers \[1\] hold NaN or infinity"),
    ],
)
def test_what_llama_cpp_would_reject_is_never_written(rows: dict[int, np.ndarray], words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        control_vector_bytes(rows, model_hint="m", layer_count=N_LAYERS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("mistake", ["layer 0", "float16", "two dimensions", "mixed widths"])
def test_the_loader_of_these_tests_rejects_what_llama_cpp_rejects(tmp_path: Path, mistake: str) -> None:
    from gguf import GGUFWriter

    wrong = {
        "layer 0": {"direction.0": MATRIX[0]},
        "float16": {"direction.1": MATRIX[1].astype(np.float16)},
        "two dimensions": {"direction.1": MATRIX},
        "mixed widths": {"direction.1": MATRIX[1], "direction.2": MATRIX[2][:4]},
    }[mistake]
    writer = GGUFWriter(tmp_path / "v.gguf", "controlvector")
    for name, tensor in wrong.items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(ValueError, match=r"invalid|unexpected|mixed"):
        as_llama_cpp_loads_it(tmp_path / "v.gguf")
