"""Rows: what the model showed at one reply, one file each, so that no text is read twice by the same model.

    <folder>/<model>/<2 hex>/<key>.row      model, key: hex digits of sha256

The key is made of the model's digest, that of its tokenizer and template, the rule by which positions are read, prompt
and reply: what decides the tokens and what is read of them, so that nothing is even tokenised again. Equal text of two
behaviours or versions is one row. A file holds

    magic    8 bytes   b"reflexR1"
    shape    3 × u32   layers, hidden, tokens
    crc32    u32       of all that follows
    means    f32       (layers, hidden): over the reply's tokens
    norms    u16       (layers, tokens): 1024 · (32 + log2 norm), so within 0.034 %; of all tokens but the first

all little-endian. A file that is torn or says something else counts as absent. The folder may be deleted at any time:
what is missing is read from the model again.
"""

import hashlib
import os
import struct
import zlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray

from daemon.durable import storage_faults
from graph.schema import Prompt

RULE = "mean of reply tokens, block outputs 1"
SUFFIX = ".row"
_MAGIC = b"reflexR1"
_HEADER = struct.Struct("<8s4I")
_STEPS = 1024
_OFFSET = 32


@dataclass(frozen=True)
class Row:
    """`means` (layers, hidden) float32; `codes` (layers, tokens) uint16: norms as the file has them."""

    means: NDArray[np.float32]
    codes: NDArray[np.uint16]


def encode_norms(norms: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Norms → codes; what is beyond 2^±32 becomes the last code."""
    with np.errstate(divide="ignore"):
        codes = np.rint((np.log2(norms.astype(np.float64)) + _OFFSET) * _STEPS)
    coded: NDArray[np.uint16] = np.clip(codes, 0, np.iinfo(np.uint16).max).astype(np.uint16)
    return coded


def decode_norms(codes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Codes, which may lie between two, → norms."""
    return np.exp2(codes / _STEPS - _OFFSET)


def row_key(model_digest: str, template_digest: str, prompt: Prompt, reply: str) -> str:
    """sha256, in hex, of all that decides what a row holds."""
    digest = hashlib.sha256(prompt_json(prompt))
    digest.update(orjson.dumps([RULE, model_digest, template_digest, reply]))
    return digest.hexdigest()


def prompt_json(prompt: Prompt) -> bytes:
    """The whole prompt, the same bytes for the same prompt; what begins alike stands together when they are sorted."""
    return orjson.dumps(prompt if isinstance(prompt, str) else [[each.role, each.content] for each in prompt])


@dataclass(frozen=True)
class RowFolder:
    """The rows of one model."""

    folder: Path

    @classmethod
    def of(cls, root: Path, model_digest: str) -> "RowFolder":
        """Where that model's rows lie under `root`."""
        return cls(root / model_digest[:32])

    def path(self, key: str) -> Path:
        """The file of a key."""
        return self.folder / key[:2] / f"{key}{SUFFIX}"

    def get(self, key: str, n_layers: int) -> Row | None:
        """The first `n_layers` layers of a row; None when it is absent, torn or shallower."""
        try:
            data = self.path(key).read_bytes()
        except FileNotFoundError:
            return None
        return _parsed(data, n_layers)

    def codes(self, key: str, n_layers: int) -> NDArray[np.uint16] | None:
        """Only the codes of a row that was whole a moment ago; None when it is gone."""
        try:
            with self.path(key).open("rb") as file:
                _, layers, hidden, tokens, _ = _HEADER.unpack(file.read(_HEADER.size))
                file.seek(4 * layers * hidden, os.SEEK_CUR)
                return np.frombuffer(file.read(2 * n_layers * tokens), dtype="<u2").reshape(n_layers, tokens)
        except (FileNotFoundError, struct.error):
            return None

    def put(self, key: str, row: Row) -> None:
        """Write a row; a reader sees it whole or not at all. It is not fsynced: a torn one is read again.

        Raises:
            FullError: It cannot be written.
        """
        layers, hidden = row.means.shape
        body = row.means.astype("<f4").tobytes() + row.codes.astype("<u2").tobytes()
        header = _HEADER.pack(_MAGIC, layers, hidden, row.codes.shape[1], zlib.crc32(body))
        path = self.path(key)
        partial = path.with_suffix(f".{os.getpid()}.partial")
        with storage_faults(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(header + body)
            partial.replace(path)

    def touch(self, keys: Iterable[str]) -> None:
        """Note that these rows were of use just now: `trim` takes others first."""
        for key in keys:
            with suppress(FileNotFoundError):
                os.utime(self.path(key))


def _parsed(data: bytes, n_layers: int) -> Row | None:
    if len(data) < _HEADER.size:
        return None
    magic, layers, hidden, tokens, crc = _HEADER.unpack_from(data)
    body = memoryview(data)[_HEADER.size :]
    if magic != _MAGIC or len(body) != layers * (4 * hidden + 2 * tokens) or layers < n_layers:
        return None
    if zlib.crc32(body) != crc:
        return None
    means = np.frombuffer(body, dtype="<f4", count=layers * hidden).reshape(layers, hidden)
    codes = np.frombuffer(body, dtype="<u2", offset=4 * layers * hidden).reshape(layers, tokens)
    return Row(means[:n_layers], codes[:n_layers])


def trim(root: Path, max_bytes: int) -> int:
    """Delete rows of all models under `root`, least recently used first, until `max_bytes` are left; how many went."""
    found = []
    for folder, _, names in os.walk(root):
        for name in names:
            if not name.endswith((SUFFIX, ".partial")):
                continue
            path = Path(folder, name)
            with suppress(FileNotFoundError):
                status = path.stat()
                found.append((status.st_mtime_ns, path, status.st_size))
    excess, gone = sum(size for _, _, size in found) - max_bytes, 0
    for _, oldest, size in sorted(found):
        if excess <= 0:
            break
        oldest.unlink(missing_ok=True)
        excess, gone = excess - size, gone + 1
    return gone
