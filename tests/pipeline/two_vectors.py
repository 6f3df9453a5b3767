"""Two vectors of a tiny model, proved by hand; what is asked of the model process is answered in this process."""

import json

import numpy as np

from daemon.cli import run_command
from daemon.pipeline.extract import split_pairs
from daemon.proof.combine import run_combine, run_joint
from daemon.steering.loading import load_model
from daemon.steering.vector_file import from_parts
from store.served import serve
from store.vectors import by_name, load_blob, mark_verified, vector_pairs

DOSE, LAYER = 0.5, 2
MORE = """
[behaviours.eager]
positive_cues = ["^yes"]
negative_cues = ["^no"]
"""
_RUN = {"combine": run_combine, "joint": run_joint}


def extract_two(folder, configuration, memory, model):
    """A home in `folder` with the extracted vectors of `listening` and `eager`, which have the same pairs."""
    config = folder / "reflexd.toml"
    config.write_text(configuration.replace("versions = 1\n", "versions = 9\n") + MORE)
    (folder / "memory.json").write_text(json.dumps(memory))
    for words in (
        ["init", "--dir", str(folder)],
        ["model", "add", str(model)],
        ["source", "add", "node-link", str(folder / "memory.json")],
        ["once", "--until", "extract"],
    ):
        assert run_command(["--config", str(config), *words]) == 0


def prove(conn, name, now, report="{}"):
    """As verification would leave it; in the last block a vector has an effect, since embeddings are tied."""
    row = by_name(conn, name)
    n_layers, dim, data = load_blob(conn, row.blob_sha256)
    matrix = np.frombuffer(data, dtype="<f4").reshape(n_layers, dim)
    pairs = split_pairs(vector_pairs(conn, row.id))["train"]
    coefficient = from_parts(matrix, row.behaviour, pairs, "", "", row.lineage).coefficient(LAYER, DOSE)
    mark_verified(conn, row.id, LAYER, DOSE, coefficient, 1.0, (0.5, 1.5), report, now)
    serve(conn, row.id, DOSE, coefficient, True, now)


def answer(_process, operation, request, _report, **_):
    """What the model process would say."""
    return _RUN[operation](load_model(request.model, 1, "cpu"), request, lambda _: None)
