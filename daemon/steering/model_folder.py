"""What a model's folder says about it, without loading it: digests and shape. No torch.

Half a gigabyte takes half a second to hash, so what a file hashed to is remembered, in this process and in
`$XDG_CACHE_HOME/reflexd/file-digests.json`, for as long as its inode, size and times of change stay what they were.
"""

import hashlib
import os
from pathlib import Path
from typing import Any

import orjson

from daemon.durable import write_durably
from daemon.errors import DataError, FullError, NoInputError

_CHUNK = 1 << 22
_REMEMBERED = 512
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt")

_digests: dict[str, str] = {}


def model_digest(folder: Path) -> str:
    """sha256 over the sorted names and hashes of config.json and every *.safetensors: these weights and no others.

    Raises:
        NoInputError: The folder has no configuration or no weights.
        DataError: A file cannot be read.
    """
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise NoInputError(f"{folder}: no *.safetensors in it; name the folder of a transformers model")
    return _digest_of({path.name: _file_digest(path) for path in [_required(folder, "config.json"), *weights]})


def template_digest(folder: Path) -> str:
    """sha256 over the tokenizer and its chat template: how text becomes tokens.

    Raises:
        NoInputError: There is no tokenizer.
        DataError: tokenizer_config.json is torn.
    """
    found = {name: _file_digest(folder / name) for name in _TOKENIZERS if (folder / name).is_file()}
    if not found:
        raise NoInputError(f"{folder}: no tokenizer in it; save the tokenizer into the same folder")
    return _digest_of(found | {"chat template": hashlib.sha256(_chat_template(folder)).hexdigest()})


def model_shape(folder: Path) -> tuple[str, int, int]:
    """(model type, hidden size, number of blocks) of the text model.

    Raises:
        NoInputError: There is no config.json.
        DataError: config.json is torn or lacks them.
    """
    path = _required(folder, "config.json")
    config = _json_object(path)
    text = config.get("text_config") or config
    hidden = text.get("hidden_size") or text.get("n_embd") or text.get("d_model")
    layers = text.get("num_hidden_layers") or text.get("n_layer") or text.get("num_layers")
    if not isinstance(hidden, int) or not isinstance(layers, int):
        raise DataError(f"{path}: no hidden size or number of layers in it; is it a causal language model?")
    return str(text.get("model_type", folder.name)), hidden, layers


def _chat_template(folder: Path) -> bytes:
    """The template, which stands in a file of its own or in the tokenizer's configuration; empty when there is none."""
    own, config = folder / "chat_template.jinja", folder / "tokenizer_config.json"
    if own.is_file():
        return own.read_bytes()
    template = _json_object(config).get("chat_template", "") if config.is_file() else ""
    return template.encode() if isinstance(template, str) else orjson.dumps(template)


def _required(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.is_file():
        raise NoInputError(f"{path}: not there; name the folder of a transformers model")
    return path


def _json_object(path: Path) -> dict[str, Any]:
    try:
        body = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise DataError(f"{path}: not JSON: {error}; provide the model again") from None
    if not isinstance(body, dict):
        raise DataError(f"{path}: not a JSON object; provide the model again")
    return body


def _digest_of(files: dict[str, str]) -> str:
    lines = "".join(f"{name} {digest}\n" for name, digest in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def _file_digest(path: Path) -> str:
    status = path.stat()
    state = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    key = " ".join([os.fspath(path.resolve()), *map(str, state)])
    if key not in _digests and status.st_size >= _CHUNK:
        _digests.update(_read_remembered())
    if key not in _digests:
        _digests[key] = _hash(path)
        if status.st_size >= _CHUNK:
            _remember(key)
    return _digests[key]


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}; provide the model again") from None
    return digest.hexdigest()


def _memory() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "reflexd" / "file-digests.json"


def _read_remembered() -> dict[str, str]:
    try:
        found = orjson.loads(_memory().read_bytes())
    except (OSError, orjson.JSONDecodeError, RuntimeError):
        return {}
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}


def _remember(key: str) -> None:
    """Add one digest to the file; where it cannot be written, the next process hashes again."""
    newest = [*(_read_remembered() | {key: _digests[key]}).items()][-_REMEMBERED:]
    try:
        write_durably(_memory(), orjson.dumps(dict(newest)))
    except (FullError, RuntimeError):
        return
