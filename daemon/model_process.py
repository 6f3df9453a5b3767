"""The process that holds the model: reads requests from standard input, writes progress and reports, exits when done.

It never opens the store. It dies with whoever started it: a thread waits for standard input to close and then ends the
process at once, so a killed reflexd never leaves a training running.
"""

import argparse
import gc
import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import IO, Any, Protocol, Self

from pydantic import BaseModel

from daemon.busy import Meter, Patience
from daemon.errors import ReflexdError
from daemon.protocol import (
    WAITING,
    ChooseRequest,
    CombineRequest,
    CompareRequest,
    ExtractRequest,
    Progress,
    RecheckRequest,
    ScreenRequest,
    TrainProgress,
    TrainRequest,
    VerifyRequest,
)
from daemon.protocol.wire import from_line, to_line

Emit = Callable[[str, BaseModel], None]


@dataclass
class _Models:
    """Keeps the last loaded model on `device`, since extraction and verification usually ask for the same one."""

    device: str = "auto"
    _key: tuple[Path, int] | None = None
    _loaded: Any = None

    def get(self, folder: Path, threads: int) -> Any:
        from daemon.steering.loading import load_model

        if self._key != (folder, threads):
            self.drop()
            self._loaded = load_model(folder, threads, self.device)
            self._key = (folder, threads)
        return self._loaded

    def drop(self) -> None:
        self._key, self._loaded = None, None


@dataclass(frozen=True)
class _Process:
    """What an operation may use: somebody to tell, models in memory, and how it waits while others are busy."""

    emit: Emit
    models: _Models = field(default_factory=_Models)
    wait_above: float = 1.0
    wait_most_s: float = 0.0

    def progress(self, told: Progress) -> None:
        self.emit("progress", told)

    def patience(self) -> Patience:
        """For one unit of work. It knows no GPU: the resident looked at that before it asked."""

        def tell(why: str) -> None:
            self.emit("progress", Progress(stage=WAITING, done=0, total=0, note=why))

        return Patience(self.wait_above, self.wait_most_s, tell, Meter())


Operation = Callable[[dict[str, Any], _Process], BaseModel]


class _OnModel(Protocol):
    """A request about a model that stays in memory for the next one."""

    @property
    def model(self) -> Path:
        """Its folder."""

    @property
    def threads(self) -> int:
        """Of torch; 0 leaves it its own choice."""

    @classmethod
    def model_validate(cls, obj: Any, /) -> Self:
        """As pydantic does it."""


def _loaded(where: str, kind: type[_OnModel]) -> Operation:
    """What runs with the model loaded: `where` is "module:function", which is imported when it is asked for."""
    module, _, function = where.partition(":")

    def operate(body: dict[str, Any], process: _Process) -> BaseModel:
        request = kind.model_validate(body)
        run: Callable[..., BaseModel] = getattr(import_module(module), function)
        return run(process.models.get(request.model, request.threads), request, process.progress)

    return operate


def _screen(body: dict[str, Any], process: _Process) -> BaseModel:
    from daemon.steering.screen import run_screen

    process.models.drop()  # it may want another number type: it loads its own
    return run_screen(ScreenRequest.model_validate(body), process.progress, process.models.device)


def _compare(body: dict[str, Any], process: _Process) -> BaseModel:
    from daemon.proof.compare import run_compare

    request = CompareRequest.model_validate(body)
    return run_compare(lambda folder: process.models.get(folder, request.threads), request, process.progress)


def _train(body: dict[str, Any], process: _Process) -> BaseModel:
    from daemon.training.run import run_train

    process.models.drop()  # training changes weights: it loads its own
    patience = process.patience()

    def progress(told: Progress) -> None:
        process.progress(told)
        patience.between(lambda: (os.getpid(), os.getppid()), lambda: None)

    return run_train(
        TrainRequest.model_validate(body),
        progress,
        lambda milestone: process.emit("milestone", TrainProgress(milestone=milestone)),
        process.models.device,
    )


OPERATIONS: dict[str, Operation] = {
    "choose": _loaded("daemon.steering.choose:run_choose", ChooseRequest),
    "extract": _loaded("daemon.steering.extract:run_extract", ExtractRequest),
    "screen": _screen,
    "verify": _loaded("daemon.proof.verify:run_verify", VerifyRequest),
    "recheck": _loaded("daemon.proof.recheck:run_recheck", RecheckRequest),
    "combine": _loaded("daemon.proof.combine:run_combine", CombineRequest),
    "joint": _loaded("daemon.proof.combine:run_joint", CombineRequest),
    "compare": _compare,
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


def _serve_one(line: bytes, process: _Process) -> None:
    try:
        message = from_line(line)
        process.emit("report", OPERATIONS[message["op"]](message["request"], process))
    except ReflexdError as error:
        process.emit("error", _Failure(message=str(error), exit_code=error.exit_code))
    except Exception as error:  # noqa: BLE001 - the border of the process: each fault becomes a line and a log
        detail = traceback.format_exc()
        print(detail, file=sys.stderr, flush=True)  # noqa: T201 - standard error is this process's log
        code = 74 if isinstance(error, OSError) else 70
        process.emit("error", _Failure(message=f"{type(error).__name__}: {error}", exit_code=code, detail=detail))


def _give_back() -> None:
    """What one unit of work held and the next does not need: garbage, and what torch keeps of a GPU's memory."""
    gc.collect()
    torch: Any = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _stand_back(nice: int) -> None:
    """Let others go first: niceness, which the kernel's I/O priority follows, and no preemption by waking up."""
    os.nice(nice)
    if nice > 0 and hasattr(os, "SCHED_BATCH"):
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m daemon.model_process")
    parser.add_argument("--nice", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--wait-above", type=float, default=1.0)
    parser.add_argument("--wait-most-s", type=float, default=0.0)
    return parser.parse_args()


def main() -> None:
    """Serve requests until standard input closes."""
    asked = _arguments()
    _stand_back(asked.nice)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    output = _private_output()
    requests: queue.Queue[bytes] = queue.Queue()
    threading.Thread(target=_read_requests, args=(requests,), daemon=True).start()

    def emit(kind: str, body: BaseModel) -> None:
        output.write(to_line({kind: body.model_dump(mode="json")}))

    process = _Process(emit, _Models(asked.device), asked.wait_above, asked.wait_most_s)
    emit("progress", Progress(stage="start", done=0, total=0))
    while True:
        _serve_one(requests.get(), process)
        _give_back()


if __name__ == "__main__":
    main()
