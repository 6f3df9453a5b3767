"""What a bake depends on, as hashes: a checkpoint belongs to one such set, and the run record lists it."""

import hashlib
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson
import torch

import daemon.steering
import daemon.training
from daemon import __version__
from daemon.protocol import NeutralText, TrainRequest
from graph.schema import pairs_digest

_LIBRARIES = ("numpy", "safetensors", "tokenizers", "transformers")


def described(request: TrainRequest) -> dict[str, Any]:
    """Every input of `request` as digests and settings; paths, token and threads are no inputs."""
    return {
        "behaviour": request.behaviour,
        "base_digest": request.base_digest,
        "vector_sha256": hashlib.sha256(request.vector.read_bytes()).hexdigest(),
        "placements": [at.model_dump(mode="json") for at in request.placements],
        "pairs": {side: pairs_digest(getattr(request, side)) for side in ("train", "validation", "test")},
        "neutral": {
            side: _texts_digest(getattr(request, f"neutral_{side}")) for side in ("train", "validation", "test")
        },
        "earlier": {each.name: [pairs_digest(each.train), pairs_digest(each.test)] for each in request.earlier},
        "settings": request.settings.model_dump(mode="json"),
        "code": {"version": __version__, "sha256": _code_digest()},
        "libraries": {name: version(name) for name in _LIBRARIES}
        | {"torch": str(torch.__version__)},  # names its build
        "python": platform.python_version(),
        "machine": platform.machine(),
    }


def digest(inputs: dict[str, Any]) -> str:
    """sha256 of `described`, canonical."""
    return hashlib.sha256(orjson.dumps(inputs, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _texts_digest(texts: tuple[NeutralText, ...]) -> str:
    lines = [orjson.dumps(text.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS) for text in texts]
    return hashlib.sha256(b"\n".join(lines)).hexdigest()


def _code_digest() -> str:
    """Of the sources that decide what the weights become."""
    found = hashlib.sha256()
    for package in (daemon.steering, daemon.training):
        for path in sorted(Path(package.__path__[0]).glob("*.py")):
            found.update(path.name.encode() + b"\0" + path.read_bytes())
    return found.hexdigest()
