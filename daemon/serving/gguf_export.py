"""A control vector as llama.cpp reads it: GGUF with one `direction.N` for each layer that is steered.

    general.architecture       "controlvector"
    controlvector.model_hint   the model's name, for people
    controlvector.layer_count  how many directions the file holds
    direction.N                float32, (hidden,), added to the output of 0-based block N

N is the same number as our layer: llama.cpp keeps no direction for block 0 and stores `direction.N` at row N-1, which
its adapter adds after block N (llama.cpp: common/common.cpp, common_control_vector_load_one; src/llama-adapter.cpp).
Its own cvector-generator numbers by one more. The dose is folded in, so the file is used at scale 1. llama.cpp adds it
at every position, the first one included, where reflexd leaves the first one out.
"""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from daemon.errors import DataError, MismatchError

Float32 = NDArray[np.float32]


def control_vector_bytes(rows: Mapping[int, Float32], *, model_hint: str, layer_count: int) -> bytes:
    """The file for `rows`: 0-based layer → vector (hidden,) in residual units, the coefficient multiplied in already.

    `layer_count` is the number of blocks of the model.

    Raises:
        DataError: Layer 0, which llama.cpp cannot steer; no layer at all; NaN, infinity or mixed widths.
        MismatchError: A layer that the model does not have.
    """
    _check(rows, layer_count)
    with TemporaryDirectory(prefix="reflexd-gguf-") as folder:  # the writer of the gguf package wants a path
        path = Path(folder) / "control-vector.gguf"
        _write(path, rows, model_hint)
        return path.read_bytes()


def _check(rows: Mapping[int, Float32], layer_count: int) -> None:
    if not rows:
        raise DataError("GGUF: no layer to export; verify the vector first, that chooses one")
    if 0 in rows:
        raise DataError("GGUF: layer 0: llama.cpp cannot steer block 0; export it as safetensors instead")
    if outside := sorted(layer for layer in rows if not 0 < layer < layer_count):
        raise MismatchError(f"GGUF: layers {outside} are outside 1..{layer_count - 1}; the vector is for another model")
    shapes = {row.shape for row in rows.values()}
    if len(shapes) > 1 or len(next(iter(shapes))) != 1:
        raise DataError(f"GGUF: shapes {sorted(shapes)}: all vectors must be (hidden,) of one width; extract it again")
    if broken := sorted(layer for layer, row in rows.items() if not np.isfinite(row).all()):
        raise DataError(f"GGUF: layers {broken} hold NaN or infinity; extract the vector again")


def _write(path: Path, rows: Mapping[int, Float32], model_hint: str) -> None:
    from gguf import GGUFWriter

    writer = GGUFWriter(path, "controlvector")
    try:
        writer.add_string("controlvector.model_hint", model_hint)
        writer.add_int32("controlvector.layer_count", len(rows))
        for layer, row in sorted(rows.items()):
            writer.add_tensor(f"direction.{layer}", np.ascontiguousarray(row, dtype=np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()
