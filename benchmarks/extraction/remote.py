"""The other end of worker.py: a process that holds one system, asked for one thing at a time."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from usage import Usage

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]


@dataclass(frozen=True)
class Answer:
    """What a call gave, what it took, and the array it wrote, if it did."""

    value: Any
    usage: Usage
    array: np.ndarray | None


class Worker:
    """`system` with `model`, run by `python`; its standard error goes to a file in `folder`."""

    def __init__(self, system: str, model: Path, python: Path, folder: Path, threads: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.system = system
        self._log, self._array = folder / f"{system}.log", folder / f"{system}.npy"
        self._errors = self._log.open("w")
        threading = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "TOKENIZERS_PARALLELISM": "false"}
        self._child = subprocess.Popen(
            [python, HERE / "worker.py", system, model, "--threads", str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=os.environ | threading | offline | {"PYTHONPATH": str(REPOSITORY)},
        )
        self.loaded = float(self._answer()["loaded"])

    def call(self, name: str, **arguments: Any) -> Answer:
        """Call a method of the system, measured there.

        Raises:
            RuntimeError: It failed; the end of what it wrote is in the message.
        """
        assert self._child.stdin is not None
        self._array.unlink(missing_ok=True)
        print(
            json.dumps({"call": name, "arguments": arguments, "out": str(self._array)}),
            file=self._child.stdin,
            flush=True,
        )
        told = self._answer()
        array = np.load(self._array) if self._array.exists() else None
        return Answer(told["answer"], Usage(**told["usage"]), array)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._child.stdin is not None
        self._child.stdin.close()
        self._child.wait()
        self._errors.close()

    def _answer(self) -> dict[str, Any]:
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line:
            self._errors.flush()
            raise RuntimeError(f"{self.system} ended:\n{self._log.read_text()[-2000:]}")
        found: dict[str, Any] = json.loads(line)
        return found
