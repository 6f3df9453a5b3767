"""One version out of the store, as a file for other programs."""

from pathlib import Path

import numpy as np

from daemon.durable import write_durably
from daemon.errors import DataError
from daemon.pipeline.extract import split_pairs
from daemon.pipeline.placed import proved_placements
from daemon.serving.gguf_export import control_vector_bytes
from daemon.steering.vector_file import from_parts, save
from store.engine import Store
from store.models import get_model
from store.vectors import by_name, load_blob, vector_pairs, verification


def export_safetensors(store: Store, vector: str, path: Path) -> None:
    """All layers, as extracted, with the metadata that a loader checks."""
    with store.read() as conn:
        row = by_name(conn, vector)
        if row.blob_sha256 is None:
            raise DataError(f"{vector}: not extracted yet; `reflexd once` does it")
        n_layers, dim, data = load_blob(conn, row.blob_sha256)
        pairs = split_pairs(vector_pairs(conn, row.id))["train"]
        model = get_model(conn, row.model_digest)
    matrix = np.frombuffer(data, dtype="<f4").reshape(n_layers, dim).copy()
    save(path, from_parts(matrix, row.behaviour, pairs, model.digest, row.template_digest, row.lineage))


def export_gguf(store: Store, vector: str, path: Path) -> None:
    """The layers that it is added at, with their doses folded in, as llama.cpp's control vector."""
    with store.read() as conn:
        row = by_name(conn, vector)
        if row.blob_sha256 is None or row.layer is None or row.coefficient is None:
            raise DataError(f"{vector}: not verified, so it has no layer and dose yet; `reflexd why {vector}` says why")
        n_layers, dim, data = load_blob(conn, row.blob_sha256)
        model = get_model(conn, row.model_digest)
        report = verification(conn, row.id)
    matrix = np.frombuffer(data, dtype="<f4").reshape(n_layers, dim)
    places = proved_placements(report, row)
    rows = {at.layer: matrix[at.layer] * np.float32(at.coefficient) for at in places}
    write_durably(path, control_vector_bytes(rows, model_hint=model.name, layer_count=n_layers))
