"""The model process from the outside: it answers, it fails in one line, it dies with its starter."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from daemon.child import ModelProcess
from daemon.errors import DataError, FullError, ModelTaskError, NoInputError
from daemon.protocol import ExtractReport, ExtractRequest
from graph.schema import Pair


def request(tmp_path, **changes):
    pair = Pair(behaviour="b", prompt="p", positive="yes", negative="no", group="g")
    out = tmp_path / "v.safetensors"
    fields = {"model": tmp_path / "no-model", "pairs": (pair, pair), "out": out, "behaviour": "b"}
    return ExtractRequest.model_validate(fields | changes)


def test_a_missing_model_is_one_clear_line_and_the_process_goes_on(tmp_path):
    with ModelProcess(tmp_path / "log") as process:
        for _ in range(2):
            with pytest.raises(NoInputError, match="no-model") as failed:
                process.ask("extract", request(tmp_path), ExtractReport)
            assert "\n" not in str(failed.value)


def test_an_unknown_operation_is_a_fault_whose_story_is_in_the_log(tmp_path):
    with ModelProcess(tmp_path / "log") as process, pytest.raises(ModelTaskError, match="log"):
        process.ask("divine", request(tmp_path), ExtractReport)
    assert "KeyError" in (tmp_path / "log").read_text()


def test_a_process_that_is_killed_is_reported_with_its_status(tmp_path):
    killed = []

    def kill_once():
        if not killed:
            killed.append(process._process.pid)
            os.kill(process._process.pid, signal.SIGKILL)

    with ModelProcess(tmp_path / "log") as process, pytest.raises(ModelTaskError, match="-9"):
        process.ask("extract", request(tmp_path), ExtractReport, beat=kill_once, beat_every_s=0.01)
    assert killed


def test_a_log_that_cannot_be_written_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with ModelProcess(tmp_path / "file" / "log") as process, pytest.raises(FullError, match="file"):
        process.ask("extract", request(tmp_path), ExtractReport)


def test_the_process_dies_with_its_starter_even_when_that_is_killed(tmp_path):
    starter = (
        "import sys, time; from pathlib import Path; from daemon.child import ModelProcess\n"
        f"process = ModelProcess(Path({str(tmp_path / 'log')!r})); process._process = process._start()\n"
        "print(process._process.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", starter], stdout=subprocess.PIPE, text=True) as parent:
        child = int(parent.stdout.readline())
        assert is_alive(child)
        parent.kill()
    deadline = time.monotonic() + 20
    while is_alive(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_alive(child)


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_exit_codes_name_the_kind_of_error():
    from daemon.child import _as_error

    body = {"message": "m", "detail": ""}
    assert isinstance(_as_error(body | {"exit_code": 65}, None), DataError)
    assert isinstance(_as_error(body | {"exit_code": 74}, None), FullError)
    assert isinstance(_as_error(body | {"exit_code": 70}, None), ModelTaskError)
