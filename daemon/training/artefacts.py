"""What a bake leaves behind: the delta, a whole model folder, and the proof that the folder is what was measured.

    <attempt>/delta.safetensors     new values of the touched matrices, float32; whose originals they replace is in it
    <attempt>/weights/              config, model.safetensors, tokenizer: transformers loads it like any model

Both are written beside their place, fsynced and renamed. The base folder is only read.
"""

import hashlib
import shutil
from pathlib import Path
from typing import Any

import orjson
from safetensors.torch import save_file

from daemon.errors import ModelTaskError
from daemon.protocol import TrainRequest
from daemon.steering.loading import LoadedModel, load_model
from daemon.steering.score import gaps
from daemon.training.candidates import Candidate
from daemon.training.durable import write_file, write_folder
from daemon.training.subject import Subject

TOLERANCE = 1e-3
"""Nats a token: the same weights, read again, differ by rounding only."""

_WEIGHT_SUFFIXES = (".safetensors", ".safetensors.index.json", ".bin", ".bin.index.json", ".pt", ".pth", ".gguf")


def write_delta(path: Path, subject: Subject, candidate: Candidate, inputs: dict[str, Any]) -> str:
    """Write the touched matrices' new values; returns the file's sha256. The same candidate gives the same bytes.

    Raises:
        FullError: it cannot be written.
    """
    with subject.changed(candidate.change, candidate.scale):
        values = subject.weights.values()
    touched = {name: values[name].cpu().float().contiguous() for name in sorted(candidate.change)}
    about = {
        "format": "reflexd-delta",
        "format_version": "1",
        "content": "values",
        "base_digest": inputs["base_digest"],
        "vector_sha256": inputs["vector_sha256"],
        "original_sha256": {name: subject.weights.sha256[name] for name in touched},
    }
    # One key only: the library writes metadata in an order of its own, and the same delta must be the same bytes.
    metadata = {"reflexd": orjson.dumps(about, option=orjson.OPT_SORT_KEYS).decode()}
    write_file(path, lambda partial: save_file(touched, partial, metadata))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_weights(path: Path, base: Path, subject: Subject, candidate: Candidate) -> None:
    """Write the whole model with the candidate in it, beside the base's tokenizer and other files, as `path`.

    Raises:
        FullError: it cannot be written; an older folder stays.
    """

    def fill(folder: Path) -> None:
        with subject.changed(candidate.change, candidate.scale):
            subject.model.save_pretrained(folder)
        for source in sorted(base.iterdir()):
            if source.is_file() and not source.name.endswith(_WEIGHT_SUFFIXES) and not (folder / source.name).exists():
                shutil.copyfile(source, folder / source.name)

    write_folder(path, fill)


def remeasure(path: Path, request: TrainRequest, base: LoadedModel, expected_gap: float) -> LoadedModel:
    """Load the written folder afresh, where the base is, and measure the mean test gap again.

    Raises:
        ModelTaskError: it is not the model that was measured.
    """
    fresh = load_model(path, request.threads, str(base.device))
    found = float(gaps(fresh, request.test).mean())
    if not abs(found - expected_gap) <= TOLERANCE:
        raise ModelTaskError(
            f"{path}: test gap {found:.4f} from the written files, {expected_gap:.4f} was measured; try again"
        )
    if fresh.template_digest != base.template_digest:
        raise ModelTaskError(f"{path}: tokenizer or chat template differ from the base's; try again")
    return fresh
