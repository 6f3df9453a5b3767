"""Where a provided model came from: a small file in its folder, so that the same source is never converted twice."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

ORIGIN_NAME = "reflexd-origin.json"
CHUNK = 1 << 20


class Origin(BaseModel):
    """What was named, and the file or commit behind it. Size and time only spare a second hashing."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    spec: str
    sha256: str | None = None
    size: int | None = None
    modified_ns: int | None = None
    revision: str | None = None


def origin_of_file(spec: str, path: Path, sha256: str) -> Origin:
    """The origin of what is made from `path`, whose content hashes to `sha256`."""
    found = path.stat()
    return Origin(spec=spec, sha256=sha256, size=found.st_size, modified_ns=found.st_mtime_ns)


def read_origin(folder: Path) -> Origin | None:
    """What is written in `folder`; None when nothing legible is."""
    try:
        return Origin.model_validate_json((folder / ORIGIN_NAME).read_bytes())
    except (OSError, ValidationError):
        return None


def write_origin(folder: Path, origin: Origin) -> None:
    """Write it; the caller fsyncs the folder as a whole."""
    (folder / ORIGIN_NAME).write_text(origin.model_dump_json(exclude_none=True) + "\n", encoding="utf-8")


def is_made_from(folder: Path, path: Path) -> bool:
    """Whether the model in `folder` was made from this content of `path`."""
    origin = read_origin(folder)
    if origin is None:
        return False
    found = path.stat()
    if (origin.size, origin.modified_ns) == (found.st_size, found.st_mtime_ns):
        return True
    return origin.size == found.st_size and origin.sha256 == file_sha256(path)


def file_sha256(path: Path, on_bytes: Callable[[int], None] = lambda _: None) -> str:
    """Lower-case hex; `on_bytes` hears how many bytes were read so far."""
    digest, done = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            done += len(chunk)
            on_bytes(done)
    return digest.hexdigest()
