"""The resident side of the model process: start it when needed, ask, listen, end it. Never imports torch."""

import math
import os
import select
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from daemon.busy import Patience
from daemon.errors import FullError, ModelTaskError, ReflexdError
from daemon.protocol import WAITING, Progress
from daemon.protocol.wire import from_line, to_line

Report = TypeVar("Report", bound=BaseModel)
OnProgress = Callable[[Progress], None]

_POLITE = {"OMP_WAIT_POLICY": "PASSIVE"}
"""torch's threads wait asleep: spinning takes the cores that the agent works on, and is slower beside other work."""


def ignore_progress(_: Progress) -> None:
    """Says nothing."""


class ModelProcess:
    """A model process that starts with a request, ends when it was idle for `keep_s` seconds, or with the `with` block.

    `device` is where it computes ("auto", "cpu", "cuda", "cuda:N"), `threads` how many torch takes where a request does
    not say (0: one a core). `inherit` are file descriptors it keeps open: the work lock, so that the lock lives as long
    as either process. `patience` waits before each request, and in the process between the steps of a training.
    """

    def __init__(
        self,
        log: Path,
        *,
        nice: int = 0,
        device: str = "auto",
        threads: int = 0,
        keep_s: float = math.inf,
        inherit: tuple[int, ...] = (),
        patience: Patience | None = None,
    ) -> None:
        self._log = log
        self._nice = nice
        self._device = device
        self._threads = threads
        self._keep_s = keep_s
        self._inherit = inherit
        self._patience = patience
        self._process: subprocess.Popen[bytes] | None = None
        self._buffer = b""
        self._lock = threading.RLock()
        self._asked = 0
        self._timer: threading.Timer | None = None

    def __enter__(self) -> "ModelProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the process. Another thread's request is answered first."""
        with self._lock:
            self._wake()
            process, self._process, self._buffer = self._process, None, b""
            if process is None:
                return
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe:
                    pipe.close()

    def ask(
        self,
        operation: str,
        request: BaseModel,
        report: type[Report],
        *,
        on_progress: OnProgress = ignore_progress,
        on_milestone: Callable[[int], None] = lambda _: None,
        beat: Callable[[], None] = lambda: None,
        beat_every_s: float = 1.0,
    ) -> Report:
        """Send one request and wait for its report; `beat` is called at least every `beat_every_s` seconds.

        Whatever is raised here, but for a fault that the process itself reports, ends the process: it would answer a
        question that nobody asks any more.

        Raises:
            ModelTaskError: The process died (its last words are in the log) or reported a fault.
            ReflexdError: The request itself was bad; `exit_code` is the one the process gave.
        """
        with self._lock:
            self._wake()
            answered = False
            try:
                if self._patience is not None:
                    self._patience.before(self._own, beat)
                self._send(to_line({"op": operation, "request": request.model_dump(mode="json")}))
                kind, body = self._answer(on_progress, on_milestone, beat, beat_every_s)
                answered = True
            finally:
                if answered:
                    self._rest()
                else:
                    self.stop()
        if kind == "error":
            raise _as_error(body, self._log)
        return report.model_validate(body)

    def _answer(
        self,
        on_progress: OnProgress,
        on_milestone: Callable[[int], None],
        beat: Callable[[], None],
        beat_every_s: float,
    ) -> tuple[str, Any]:
        """The report or the error, as the process gave it."""
        while True:
            line = self._next_line(beat_every_s)
            beat()
            if line is None:
                continue
            ((kind, body),) = from_line(line).items()
            if kind in {"report", "error"}:
                return kind, body
            if kind == "milestone":
                on_milestone(body["milestone"])
            elif body["stage"] == WAITING and self._patience is not None:
                self._patience.tell(body["note"])
            else:
                on_progress(Progress.model_validate(body))

    def _own(self) -> list[int]:
        """This process and, if it lives, the model's."""
        return [os.getpid(), *([self._process.pid] if self._process else [])]

    def _rest(self) -> None:
        """Nothing is asked for: end the process in a while, unless something is."""
        if self._keep_s == math.inf:
            return
        self._timer = threading.Timer(self._keep_s, self._end_idle, [self._asked])
        self._timer.daemon = True
        self._timer.start()

    def _wake(self) -> None:
        self._asked += 1
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end_idle(self, asked: int) -> None:
        """End the process, unless something was asked since."""
        with self._lock:
            if self._asked == asked:
                self.stop()

    def _send(self, line: bytes) -> None:
        if self._process is None:
            self._process = self._start()
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line)
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._died() from None

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "daemon.model_process", "--nice", str(self._nice), "--device", self._device]
        if self._patience is not None:
            command += ["--wait-above", str(self._patience.above), "--wait-most-s", str(self._patience.most_s)]
        threads = {"OMP_NUM_THREADS": str(self._threads)} if self._threads else {}
        try:
            self._log.parent.mkdir(parents=True, exist_ok=True)
            with self._log.open("wb") as log:
                return subprocess.Popen(  # noqa: S603 - our own interpreter and module
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    pass_fds=self._inherit,
                    env=_POLITE | threads | os.environ,
                )
        except OSError as error:
            raise FullError(
                f"{self._log}: cannot start the model process: {error.strerror}; check the folder"
            ) from None

    def _next_line(self, timeout_s: float) -> bytes | None:
        assert self._process is not None
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([descriptor], [], [], timeout_s)
            if not ready:
                return None
            chunk = os.read(descriptor, 1 << 16)
            if not chunk:
                raise self._died()
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _died(self) -> ModelTaskError:
        process = self._process
        code = process.wait() if process else None
        self.stop()
        return ModelTaskError(f"the model process ended with status {code}; its last words are in {self._log}")


def _as_error(body: dict[str, Any], log: Path) -> ReflexdError:
    code = int(body["exit_code"])
    for kind in _tree(ReflexdError):
        if kind.exit_code == code != ReflexdError.exit_code:
            return kind(body["message"])
    return ModelTaskError(f"{body['message']}; the whole story is in {log}")


def _tree(root: type[ReflexdError]) -> list[type[ReflexdError]]:
    return [root, *(kind for child in root.__subclasses__() for kind in _tree(child) if kind is not ModelTaskError)]
