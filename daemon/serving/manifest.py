"""The registry that inference servers watch: one folder a model, replaced in one rename, readable without reflexd.

    <registry>/<model digest>/manifest.json               what is served, at which dose; replaced atomically
    <registry>/<model digest>/vectors/<sha256>.safetensors   one vector; its name is its content, so it never changes

A vector file is durable before a manifest names it, so a reader that opened a manifest finds every file in it. Files
that no manifest names any more stay: a server may still be loading them.
"""

import fcntl
import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from daemon.durable import storage_faults, write_durably
from daemon.errors import DataError, MismatchError, NoInputError

SCHEMA = 1
MANIFEST_NAME = "manifest.json"

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Digest = Annotated[str, Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z._-]*$")]
Number = Annotated[float, Field(allow_inf_nan=False)]


class _Part(BaseModel):
    """Frozen; an unknown key means a newer or a damaged file, so it is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ManifestModel(_Part):
    """The weights that the vectors are meant for."""

    name: str
    hidden_size: int = Field(gt=0)
    n_layers: int = Field(gt=0)
    digest: Digest
    template_digest: str


class Gate(_Part):
    """When to add a vector: where `tensor` of its file · mean + bias > 0, else not at all for the whole request.

    `mean_prompt` reads the output of block `layer` before anything is added there, and takes the mean over the prompt's
    tokens but the first; a prompt of one token leaves the gate closed.
    """

    layer: int = Field(ge=0)
    read: Literal["mean_prompt"] = "mean_prompt"
    bias: Number
    tensor: Literal["gate"] = "gate"


class VectorEntry(_Part):
    """One vector: file, places and strength. Layers are 0-based block outputs.

    `coefficient` multiplies every row of the file, `layer.<l>` for l in `layers`; `dose` is the same strength in median
    residual norms of the first of them. Without a gate it is added to every request.
    """

    id: str = Field(min_length=1)
    sha256: Sha256
    layers: tuple[int, ...] = Field(min_length=1)
    operation: Literal["add"] = "add"
    site: Literal["block_output"] = "block_output"
    positions: Literal["all_but_first"] = "all_but_first"
    dose: Number
    coefficient: Number
    enabled: bool
    gate: Gate | None = None


class SetEntry(_Part):
    """One member of a named set, at the set's own dose."""

    id: str
    dose: Number


class Limits(_Part):
    """Bars that a server holds: the sum of |dose| of what is active on one layer."""

    max_relative_dose: Number = Field(gt=0)


class Manifest(_Part):
    """All that a server needs; `generation` grows by one with every change of content."""

    schema_version: Literal[1] = Field(default=1, alias="schema")
    generation: int = Field(ge=1)
    model: ManifestModel
    vectors: tuple[VectorEntry, ...] = ()
    sets: dict[str, tuple[SetEntry, ...]] = {}
    limits: Limits

    @model_validator(mode="after")
    def _coherent(self) -> "Manifest":
        known = [entry.id for entry in self.vectors]
        if len(set(known)) < len(known):
            raise ValueError(f"vectors: an id is there twice in {known}")
        for entry in self.vectors:
            if outside := [layer for layer in entry.layers if not 0 <= layer < self.model.n_layers]:
                raise ValueError(f"{entry.id}: layers {outside} are outside 0..{self.model.n_layers - 1}")
            if len(set(entry.layers)) < len(entry.layers):
                raise ValueError(f"{entry.id}: a layer is there twice in {list(entry.layers)}")
            if entry.gate is not None and entry.gate.layer > min(entry.layers):
                raise ValueError(
                    f"{entry.id}: its gate reads block {entry.gate.layer}, above block {min(entry.layers)}, where the "
                    "vector is added already"
                )
        for name, members in self.sets.items():
            if unknown := [member.id for member in members if member.id not in known]:
                raise ValueError(f"set {name}: no vectors {unknown}")
        return self

    def as_bytes(self) -> bytes:
        """The file's bytes: JSON that a person can read, the keys in the order of the format."""
        return orjson.dumps(self.model_dump(mode="json", by_alias=True), option=orjson.OPT_INDENT_2) + b"\n"


def load_manifest(path: Path) -> Manifest:
    """The manifest in the file `path`.

    Raises:
        NoInputError: There is none.
        DataError: It is torn, malformed or contradicts itself; the message names the key.
        MismatchError: It was written by a reflexd with another schema.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise NoInputError(f"{path}: cannot be read: {error.strerror}; name a manifest of the registry") from None
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise DataError(f"{path}: not JSON: {error}; remove it, reflexd writes it again") from None
    written = body.get("schema") if isinstance(body, dict) else None
    if isinstance(written, int) and written != SCHEMA:
        raise MismatchError(f"{path}: schema {written}, but this reflexd reads {SCHEMA}; use the one that wrote it")
    try:
        return Manifest.model_validate_json(raw, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or "manifest"
        raise DataError(f"{path}: {key}: {first['msg']}; remove it, reflexd writes it again") from None


@contextmanager
def publication_lock(registry: Path) -> Iterator[None]:
    """Hold this from reading the store until `publish_manifest` returns, or an older reading may be written last."""
    with storage_faults(registry):
        registry.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(registry / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def publish_manifest(
    registry: Path,
    model: ManifestModel,
    entries: Sequence[VectorEntry],
    max_relative_dose: float,
    vector_files: Mapping[str, bytes],
    sets: Mapping[str, Sequence[SetEntry]] | None = None,
) -> Manifest:
    """Serve exactly `entries` for `model`. `vector_files` maps the sha256 of a file's bytes to these bytes.

    Unchanged content writes nothing and keeps its generation. A damaged manifest is replaced: the store is the truth.

    Raises:
        DataError: An entry's file was not given and is not in the registry, or bytes do not hash to their name.
        MismatchError: The manifest there was written by a reflexd with another schema.
        FullError: Something could not be written; what was served before is still served.
    """
    folder = registry / model.digest
    path = folder / MANIFEST_NAME
    before, generation = _previous(path)
    after = Manifest(
        schema=SCHEMA,
        generation=max(generation, 1),
        model=model,
        vectors=tuple(entries),
        sets={name: tuple(members) for name, members in (sets or {}).items()},
        limits=Limits(max_relative_dose=max_relative_dose),
    )
    for sha256 in sorted({entry.sha256 for entry in entries}):
        _keep_vector(folder, sha256, vector_files.get(sha256))
    if after == before:
        return after
    after = after.model_copy(update={"generation": generation + 1})
    write_durably(path, after.as_bytes())
    return after


def _previous(path: Path) -> tuple[Manifest | None, int]:
    """What is published now and its generation; of a damaged one at least the generation, if that can be read."""
    try:
        manifest = load_manifest(path)
    except NoInputError:
        return None, 0
    except MismatchError:
        raise
    except DataError:
        found = re.search(rb'"generation":\s*(\d{1,15})', path.read_bytes())
        return None, int(found[1]) if found else 0
    return manifest, manifest.generation


def _keep_vector(folder: Path, sha256: str, data: bytes | None) -> None:
    """See to it that the file of that name is there, whole; one that is there and right is never touched."""
    path = folder / "vectors" / f"{sha256}.safetensors"
    if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256:
        return
    if data is None:
        raise DataError(f"{path}: missing or damaged, and its bytes were not given; publish it with its file")
    if hashlib.sha256(data).hexdigest() != sha256:
        raise DataError(f"{path}: the bytes given for it hash to something else; extract the vector again")
    write_durably(path, data)
