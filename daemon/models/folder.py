"""Whether a folder holds a model that can be loaded: checked from names and headers, in milliseconds, without torch."""

import json
from pathlib import Path

from daemon.errors import DataError, NoInputError

_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")
_LONGEST_HEADER = 100_000_000  # the format's own limit


def check_model_folder(folder: Path) -> None:
    """See that config, tokenizer and every weight file are there and whole.

    Raises:
        NoInputError: There is no such folder, or it has no config.json or no tokenizer.
        DataError: The weights are pickles, are missing, or a file is torn; the message names it.
    """
    if not folder.is_dir():
        raise NoInputError(f"{folder}: no such folder; name one that holds config.json and *.safetensors")
    config = folder / "config.json"
    if not config.is_file():
        raise NoInputError(
            f"{folder}: no config.json in it; name a folder that transformers wrote with save_pretrained"
        )
    _json_object(config)
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        raise NoInputError(f"{folder}: no tokenizer in it; save the tokenizer into the same folder")
    for weights in _weight_files(folder):
        _check_safetensors(weights)


def _weight_files(folder: Path) -> list[Path]:
    """All files that the index names, else all there are."""
    found = sorted(folder.glob("*.safetensors"))
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        mapping = _json_object(index).get("weight_map")
        if not isinstance(mapping, dict):
            raise DataError(f"{index}: no weight_map in it; copy the model again")
        found = [folder / str(name) for name in sorted(set(mapping.values()))]
    if not found:
        pickles = [*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.pth")]
        why = f"only pickles ({pickles[0].name}), which are never read" if pickles else "no *.safetensors in it"
        raise DataError(f"{folder}: {why}; save the model as safetensors")
    return found


def _check_safetensors(path: Path) -> None:
    """The header's last offset must be the file's end (format: huggingface/safetensors, README "Format")."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length)) if 2 <= length <= min(size - 8, _LONGEST_HEADER) else None
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"] if header else []
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}; copy the model again") from None
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        ends = []
    if not ends or size != 8 + length + max(ends):
        raise DataError(f"{path}: torn or not safetensors ({size} bytes); copy the model again")


def _json_object(path: Path) -> dict[str, object]:
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not JSON: {error}; copy the model again") from None
    if not isinstance(body, dict):
        raise DataError(f"{path}: not a JSON object; copy the model again")
    return body
