"""The process that holds the model: reads requests from standard input, writes progress and reports, exits when done.

It never opens the store. It dies with whoever started it: a thread waits for standard input to close and then ends the
process at once, so a killed reflexd never leaves a training running.
"""

import argparse
import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import orjson
from pydantic import BaseModel

from daemon.errors import ReflexdError
from daemon.protocol import ChooseRequest, ExtractRequest, Progress, TrainProgress, TrainRequest, VerifyRequest

Emit = Callable[[str, BaseModel], None]


class _Models:
    """Keeps the last loaded model, since extraction and verification usually ask for the same one."""

    def __init__(self) -> None:
        self._key: tuple[Path, int] | None = None
        self._loaded: Any = None

    def get(self, folder: Path, threads: int) -> Any:
        from daemon.steering.loading import load_model

        if self._key != (folder, threads):
            self._key, self._loaded = None, None
            self._loaded = load_model(folder, threads)
            self._key = (folder, threads)
        return self._loaded

    def drop(self) -> None:
        self._key, self._loaded = None, None


def _choose(body: dict[str, Any], emit: Emit, models: _Models) -> BaseModel:
    from daemon.steering.choose import run_choose

    request = ChooseRequest.model_validate(body)
    return run_choose(models.get(request.model, request.threads), request, lambda p: emit("progress", p))


def _extract(body: dict[str, Any], emit: Emit, models: _Models) -> BaseModel:
    from daemon.steering.extract import run_extract

    request = ExtractRequest.model_validate(body)
    return run_extract(models.get(request.model, request.threads), request, lambda p: emit("progress", p))


def _verify(body: dict[str, Any], emit: Emit, models: _Models) -> BaseModel:
    from daemon.steering.verify import run_verify

    request = VerifyRequest.model_validate(body)
    return run_verify(models.get(request.model, request.threads), request, lambda p: emit("progress", p))


def _train(body: dict[str, Any], emit: Emit, models: _Models) -> BaseModel:
    from daemon.training.run import run_train

    models.drop()  # training changes weights: it loads its own
    request = TrainRequest.model_validate(body)
    return run_train(
        request,
        lambda p: emit("progress", p),
        lambda milestone: emit("milestone", TrainProgress(milestone=milestone)),
    )


OPERATIONS: dict[str, Callable[[dict[str, Any], Emit, _Models], BaseModel]] = {
    "choose": _choose,
    "extract": _extract,
    "verify": _verify,
    "train": _train,
}


class _Failure(BaseModel):
    message: str
    exit_code: int
    detail: str = ""


def _private_output() -> IO[bytes]:
    """The protocol's own file; whatever libraries print goes to standard error."""
    own = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    return own


def _read_requests(requests: "queue.Queue[bytes]") -> None:
    for line in sys.stdin.buffer:
        requests.put(line)
    os._exit(0)


def _serve_one(line: bytes, emit: Emit, models: _Models) -> None:
    try:
        message = orjson.loads(line)
        emit("report", OPERATIONS[message["op"]](message["request"], emit, models))
    except ReflexdError as error:
        emit("error", _Failure(message=str(error), exit_code=error.exit_code))
    except Exception as error:  # noqa: BLE001 - the border of the process: each fault becomes a line and a log
        detail = traceback.format_exc()
        print(detail, file=sys.stderr, flush=True)  # noqa: T201 - standard error is this process's log
        code = 74 if isinstance(error, OSError) else 70
        emit("error", _Failure(message=f"{type(error).__name__}: {error}", exit_code=code, detail=detail))


def main() -> None:
    """Serve requests until standard input closes."""
    parser = argparse.ArgumentParser(prog="python -m daemon.model_process")
    parser.add_argument("--nice", type=int, default=0)
    os.nice(parser.parse_args().nice)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    output = _private_output()
    requests: queue.Queue[bytes] = queue.Queue()
    threading.Thread(target=_read_requests, args=(requests,), daemon=True).start()
    models = _Models()

    def emit(kind: str, body: BaseModel) -> None:
        output.write(orjson.dumps({kind: body.model_dump(mode="json")}) + b"\n")

    emit("progress", Progress(stage="start", done=0, total=0))
    while True:
        _serve_one(requests.get(), emit, models)


if __name__ == "__main__":
    main()
