"""The vector file: safetensors, `layer.<i>` (hidden,) float32 for each block or the first ones. No torch.

Metadata is text, and says what a loader must check. A vector without its model's digest, its site and its unit is a
number that means nothing, so a file that lacks one of them, or that says something else, is refused.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from daemon import __version__
from daemon.durable import write_durably
from daemon.errors import DataError, MismatchError, NoInputError
from daemon.serving.vector_bytes import safetensors_bytes
from graph.schema import Pair, pairs_digest

FORMAT_VERSION = "1"
FIXED = {
    "format": "reflexd-vector",
    "format_version": FORMAT_VERSION,
    "operation": "add",
    "site": "block_output",
    "layer_map": "0-based block outputs",
    "token_scope": "all_but_first",
    "dose_unit": "median_residual_norm",
    "polarity": "positive",
}
_REQUIRED = (
    "behaviour",
    "model_digest",
    "template_digest",
    "pairs_digest",
    "pair_ids",
    "groups",
    "median_residual_norm",
)

Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class VectorFile:
    """Vectors (n_layers, hidden) float32 and their metadata."""

    vectors: Matrix
    metadata: dict[str, str]

    @property
    def pair_ids(self) -> frozenset[str]:
        """The pairs it was extracted from."""
        return frozenset(orjson.loads(self.metadata["pair_ids"]))

    @property
    def groups(self) -> frozenset[str]:
        """The sessions it was extracted from."""
        return frozenset(orjson.loads(self.metadata["groups"]))

    @property
    def median_residual_norm(self) -> list[float]:
        """Of each layer's block output, position 0 left out."""
        norms: list[float] = orjson.loads(self.metadata["median_residual_norm"])
        return norms

    @property
    def coherence(self) -> list[float]:
        """Of each layer's pair differences, as extraction found it; empty when that was not recorded."""
        found: list[float] = orjson.loads(self.metadata.get("coherence", "[]"))
        return found

    def coefficient(self, layer: int, dose: float) -> float:
        """What multiplies the stored vector so that its norm is `dose` median residual norms."""
        norm = float(np.linalg.norm(self.vectors[layer]))
        if norm == 0.0:
            raise DataError(f"layer {layer}: the vector is zero; extract it from other pairs")
        return dose * self.median_residual_norm[layer] / norm


def describe(
    behaviour: str,
    pairs: Sequence[Pair],
    model_digest: str,
    template_digest: str,
    median_residual_norm: Sequence[float],
    coherence: Sequence[float],
    aggregator: str,
    code_version: str = __version__,
) -> dict[str, str]:
    """The metadata of a file extracted from `pairs`; `median_residual_norm` and `coherence` have a number a layer."""
    return FIXED | {
        "behaviour": behaviour,
        "model_digest": model_digest,
        "template_digest": template_digest,
        "pairs_digest": pairs_digest(tuple(pairs)),
        "pair_ids": _json(sorted(pair.id for pair in pairs)),
        "groups": _json(sorted({pair.group for pair in pairs})),
        "n_pairs": str(len(pairs)),
        "median_residual_norm": _json([float(norm) for norm in median_residual_norm]),
        "coherence": _json([float(value) for value in coherence]),
        "aggregator": aggregator,
        "code_version": code_version,
    }


def from_parts(
    matrix: Matrix, behaviour: str, pairs: Sequence[Pair], model_digest: str, template_digest: str, lineage: str
) -> VectorFile:
    """The file of a version whose parts are in a store; `lineage` is its JSON."""
    told: dict[str, Any] = orjson.loads(lineage)
    norms = [layer["median_residual_norm"] for layer in told["layers"]]
    coherence = [layer["coherence"] for layer in told["layers"]]
    aggregator, code = told.get("aggregator", "unrecorded"), told.get("code_version", "unrecorded")
    metadata = describe(behaviour, pairs, model_digest, template_digest, norms, coherence, aggregator, code)
    return VectorFile(matrix, metadata)


def save(path: Path, file: VectorFile) -> None:
    """Write the file durably; the same content gives the same bytes.

    Raises:
        DataError: A vector is not finite.
        FullError: It cannot be written; an older file stays.
    """
    _finite(file.vectors, path)
    tensors = {f"layer.{i}": row for i, row in enumerate(file.vectors)}
    write_durably(path, safetensors_bytes(tensors, file.metadata))


def load(path: Path) -> VectorFile:
    """Read the file and refuse what is not a vector file of this version.

    Raises:
        NoInputError: It is not there.
        DataError: It is torn, not safetensors, or holds NaN or infinity.
        MismatchError: It states another format, operation, site, scope or unit.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise NoInputError(f"{path}: no such vector file; `reflexd extract` makes one")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path}: torn or not safetensors: {error}; extract it again") from None
    for key, value in FIXED.items():
        if metadata.get(key) != value:
            raise MismatchError(f"{path}: {key} is {metadata.get(key)!r}, this reads {value!r}; extract it again")
    if missing := [key for key in _REQUIRED if key not in metadata]:
        raise DataError(f"{path}: metadata lacks {', '.join(missing)}; extract it again")
    file = VectorFile(_matrix(tensors, path), metadata)
    _require_readable(file, path)
    return file


def require_model(
    file: VectorFile, path: Path, model_digest: str, template_digest: str, shape: tuple[int, int]
) -> None:
    """Refuse a vector that was made for other weights, another template, or a model of another (n_layers, hidden).

    Raises:
        MismatchError: It was.
    """
    for what, found in (("model_digest", model_digest), ("template_digest", template_digest)):
        if file.metadata[what] != found:
            raise MismatchError(
                f"{path}: made for {what.replace('_', ' ')} {file.metadata[what][:12]}, this model has {found[:12]}; "
                "extract it again from this model"
            )
    require_shape(file, path, shape)


def require_shape(file: VectorFile, path: Path, shape: tuple[int, int], layers: Iterable[int] = ()) -> None:
    """Refuse a vector that was made for a model of another (n_layers, hidden), or has none of `layers`.

    Raises:
        MismatchError: It was.
    """
    found = file.vectors.shape
    if found[1] != shape[1] or found[0] > shape[0] or max(layers, default=0) >= found[0]:
        raise MismatchError(
            f"{path}: layers and width are {found}, this model has {shape}; extract it again from this model"
        )


def _matrix(tensors: dict[str, Any], path: Path) -> Matrix:
    names = [f"layer.{i}" for i in range(len(tensors))]
    if sorted(tensors) != sorted(names) or not names:
        raise DataError(f"{path}: tensors are {sorted(tensors)[:3]}…, wanted layer.0 to layer.N; extract it again")
    rows = [tensors[name] for name in names]
    if any(row.dtype != np.float32 or row.ndim != 1 or row.shape != rows[0].shape for row in rows):
        raise DataError(f"{path}: every layer must be (hidden,) float32 of one width; extract it again")
    matrix = np.stack(rows)
    _finite(matrix, path)
    return matrix


def _require_readable(file: VectorFile, path: Path) -> None:
    try:
        norms: list[Any] = orjson.loads(file.metadata["median_residual_norm"])
        ids, groups = file.pair_ids, file.groups
    except (orjson.JSONDecodeError, TypeError) as error:
        raise DataError(f"{path}: metadata is not JSON where it must be: {error}; extract it again") from None
    numbers = all(isinstance(norm, float | int) and norm > 0 for norm in norms)
    if len(norms) != len(file.vectors) or not numbers or not all(isinstance(each, str) for each in (*ids, *groups)):
        raise DataError(f"{path}: median_residual_norm must hold a positive number for each layer; extract it again")


def _finite(matrix: Matrix, path: Path) -> None:
    broken = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
    if broken.size:
        raise DataError(f"{path}: layer {broken[0]} holds NaN or infinity; extract it again")


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
