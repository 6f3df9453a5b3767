"""The bytes of one served vector: safetensors with the layers that are added, always the same for the same vector.

    layer.<l>   (hidden,) float32   one for each block that it is added to; the entry's `coefficient` multiplies all
    gate        (hidden,) float32   the weights of its gate, if it has one

The registry names a file by the sha256 of its bytes, so they must not depend on chance. The safetensors library orders
metadata at random, hence the twenty lines of writing here (format: huggingface/safetensors, README "Format"): eight
bytes of header length, little-endian; a JSON header, padded with spaces to a multiple of eight; the tensors' bytes.

Dose and switch stand in the manifest, not here: turning a vector up or off makes no new file.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import orjson
from numpy.typing import NDArray

from daemon.errors import DataError, MismatchError

Float32 = NDArray[np.float32]


class ServedVector(Protocol):
    """What is asked of a row that says which vector is served."""

    @property
    def name(self) -> str:
        """As in `listening@3`."""

    @property
    def behaviour(self) -> str:
        """As in `listening`."""

    @property
    def layer(self) -> int:
        """0-based block output."""

    @property
    def template_digest(self) -> str:
        """Of the tokenizer and chat template that it was made with."""


class ServingModel(Protocol):
    """What is asked of the model whose server will read the file."""

    @property
    def digest(self) -> str:
        """Of the weights."""

    @property
    def n_layers(self) -> int:
        """Number of blocks."""

    @property
    def hidden_size(self) -> int:
        """Width of the residual stream."""


def served_vector_bytes(
    n_layers: int,
    hidden_size: int,
    data: bytes,
    row: ServedVector,
    model: ServingModel,
    factors: Mapping[int, float] | None = None,
    gate: Sequence[float] | None = None,
) -> tuple[str, bytes]:
    """The file for `row`, and the sha256 of its bytes. `data` is a float32-le matrix (n_layers, hidden_size).

    `factors`, layer → what multiplies its row here, give each layer its own dose under one coefficient; without them
    it is the row's own layer, as stored. `gate` (hidden_size,) are the weights of its gate.

    Raises:
        MismatchError: The matrix was made for a model of another shape, or has no such layer.
        DataError: Its bytes are too few or too many, or a vector or the gate is not finite or not as wide.
    """
    if hidden_size != model.hidden_size or n_layers > model.n_layers:
        raise MismatchError(
            f"{row.name}: {n_layers} layers of {hidden_size}, the model has {model.n_layers} of {model.hidden_size}; "
            "withdraw it and extract it from this model"
        )
    if len(data) != 4 * n_layers * hidden_size:
        raise DataError(f"{row.name}: {len(data)} bytes for {n_layers} × {hidden_size} float32; extract it again")
    matrix = np.frombuffer(data, dtype="<f4").reshape(n_layers, hidden_size)
    tensors = {}
    for layer, factor in (factors or {row.layer: 1.0}).items():
        if not 0 <= layer < n_layers:
            raise MismatchError(f"{row.name}: layer {layer} is outside 0..{n_layers - 1}; verify the vector again")
        tensors[f"layer.{layer}"] = _finite((matrix[layer] * np.float64(factor)).astype("<f4"), row, f"layer {layer}")
    if gate is not None:
        if len(gate) != hidden_size:
            raise DataError(f"{row.name}: a gate of {len(gate)} weights for {hidden_size}; verify the vector again")
        tensors["gate"] = _finite(np.array(gate, dtype="<f4"), row, "its gate")
    content = safetensors_bytes(tensors, _metadata(row, model))
    return hashlib.sha256(content).hexdigest(), content


def _finite(vector: Float32, row: ServedVector, what: str) -> Float32:
    if not np.isfinite(vector).all():
        raise DataError(f"{row.name}: {what} holds NaN or infinity; extract the vector again")
    return vector


def safetensors_bytes(tensors: Mapping[str, Float32], metadata: Mapping[str, str]) -> bytes:
    """A safetensors file of float32 tensors, any shape, in the order given; metadata sorted by key."""
    header: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))}
    parts: list[bytes] = []
    offset = 0
    for name, tensor in tensors.items():
        part = np.ascontiguousarray(tensor, dtype="<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [offset, offset + len(part)]}
        parts.append(part)
        offset += len(part)
    text = orjson.dumps(header)
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + b"".join(parts)


def _metadata(row: ServedVector, model: ServingModel) -> dict[str, str]:
    return {
        "format": "reflexd-served-vector",
        "format_version": "1",
        "id": row.name,
        "behaviour": row.behaviour,
        "polarity": "positive",
        "operation": "add",
        "site": "block_output",
        "layer_map": "0-based block output",
        "positions": "all_but_first",
        "dose_unit": "median residual norm of the layer, position 0 left out",
        "model_digest": model.digest,
        "template_digest": row.template_digest,
    }
