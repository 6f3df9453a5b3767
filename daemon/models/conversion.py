"""GGUF → a model folder, seen from the process that must stay small: start a child, listen, put its work in place."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

import orjson

from daemon.child import OnProgress
from daemon.durable import fsync_tree, replace, storage_faults
from daemon.errors import DataError, FullError, ModelTaskError, ReflexdError
from daemon.models.folder import check_model_folder
from daemon.models.origin import Origin, write_origin
from daemon.protocol import Progress

_BY_CODE: dict[int, type[ReflexdError]] = {65: DataError, 74: FullError}


def converted(gguf: Path, target: Path, origin: Origin, on_progress: OnProgress, inherit: tuple[int, ...] = ()) -> None:
    """Make the model folder `target` from the file `gguf`. Killed at any moment, it leaves no half `target`.

    The caller holds the lock of the folder above; `inherit` are descriptors that keep it while the child lives.

    Raises:
        DataError: The file is no GGUF, is torn, or holds an architecture that transformers does not know.
        FullError: The disk is full.
        ModelTaskError: The child died, for want of memory perhaps.
    """
    with gguf.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise DataError(f"{gguf}: not a GGUF file; name another one")
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        _run_child(gguf, partial, on_progress, inherit)
        put_in_place(partial, target, origin)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def put_in_place(partial: Path, target: Path, origin: Origin) -> None:
    """Check the finished folder `partial`, write where it came from, make it durable, and give it its name."""
    check_model_folder(partial)
    with storage_faults(target):
        write_origin(partial, origin)
        readable = (partial / "config.json").stat().st_mode
        for weights in partial.glob("*.safetensors"):
            weights.chmod(
                readable
            )  # the library writes them for the owner alone, whatever the umask; servers read them
        fsync_tree(partial)
        replace(partial, target)


def _run_child(gguf: Path, out: Path, on_progress: OnProgress, inherit: tuple[int, ...]) -> None:
    command = [sys.executable, "-m", "daemon.models.convert", "--gguf", str(gguf), "--out", str(out)]
    with tempfile.TemporaryFile() as log:
        child = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, pass_fds=inherit
        )
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            failure = _listen(child.stdout, on_progress)
            code = child.wait()
        finally:
            child.kill()
            child.wait()
            child.stdin.close()
            child.stdout.close()
        if failure is not None:
            raise failure
        if code != 0:
            raise ModelTaskError(f"{gguf}: the conversion ended with status {code}{_why(code)}; {_last_words(log)}")


def _listen(lines: IO[bytes], on_progress: OnProgress) -> ReflexdError | None:
    failure: ReflexdError | None = None
    for line in lines:
        message = orjson.loads(line)
        if "progress" in message:
            on_progress(Progress.model_validate(message["progress"]))
        else:
            body = message["error"]
            failure = _BY_CODE.get(body["exit_code"], ModelTaskError)(body["message"])
    return failure


def _why(code: int) -> str:
    return " (killed: not enough memory?)" if code == -9 else ""


def _last_words(log: IO[bytes]) -> str:
    log.seek(0)
    lines = log.read().decode(errors="replace").strip().splitlines()
    return f"its last words: {lines[-1][:200]}" if lines else "it said nothing"
