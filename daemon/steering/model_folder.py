"""What a model's folder says about it, without loading it: digests, shape. No torch."""

import hashlib
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson

from daemon.errors import DataError, NoInputError

_CHUNK = 1 << 22
_TEMPLATE_FILES = ("tokenizer.json", "chat_template.jinja", "tokenizer_config.json")


def model_digest(folder: Path) -> str:
    """sha256 over names and contents of config.json and every *.safetensors: these weights and no others.

    Raises:
        NoInputError: The folder has no configuration or no weights.
    """
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise NoInputError(f"{folder}: no *.safetensors in it; name the folder of a transformers model")
    return _digest_of([_required(folder, "config.json"), *weights])


def template_digest(folder: Path) -> str:
    """sha256 over the tokenizer and its chat template: how text becomes tokens."""
    return _digest_of([folder / name for name in _TEMPLATE_FILES if (folder / name).is_file()])


def model_shape(folder: Path) -> tuple[str, int, int]:
    """(model type, hidden size, number of blocks) of the text model.

    Raises:
        DataError: config.json is torn or lacks them.
    """
    path = _required(folder, "config.json")
    try:
        config: dict[str, Any] = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise DataError(f"{path}: not JSON: {error}; provide the model again") from None
    text = config.get("text_config") or config
    hidden = text.get("hidden_size") or text.get("n_embd") or text.get("d_model")
    layers = text.get("num_hidden_layers") or text.get("n_layer") or text.get("num_layers")
    if not isinstance(hidden, int) or not isinstance(layers, int):
        raise DataError(f"{path}: no hidden size or number of layers in it; is it a causal language model?")
    return str(text.get("model_type", "model")), hidden, layers


def _required(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.is_file():
        raise NoInputError(f"{path}: not there; name the folder of a transformers model")
    return path


def _digest_of(paths: list[Path]) -> str:
    whole = hashlib.sha256()
    for path in paths:
        whole.update(f"{path.name} {_file_digest(path)}\n".encode())
    return whole.hexdigest()


def _file_digest(path: Path) -> str:
    status = path.stat()
    return _hashed(os.fspath(path), status.st_ino, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=256)
def _hashed(path: str, _inode: int, _size: int, _mtime_ns: int) -> str:
    """Cached for this process only: half a gigabyte takes half a second."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
