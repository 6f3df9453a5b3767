"""The model process from the outside: it answers, it fails in one line, it dies with its starter."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from daemon.busy import Meter, Patience
from daemon.child import ModelProcess
from daemon.errors import DataError, FullError, ModelTaskError, NoInputError, UnavailableError
from daemon.protocol import ExtractReport, ExtractRequest, Progress
from graph.schema import Pair
from tests.tiny import save_tiny


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


def ask_in_vain(process, tmp_path, operation="divine", **how):
    """An operation that there is not: the answer, which names it, comes without torch."""
    with pytest.raises(ModelTaskError, match=f"KeyError: '{operation}'"):
        process.ask(operation, request(tmp_path), ExtractReport, **how)
    return process._process.pid if process._process else None


def wait_for_the_end_of(pid):
    deadline = time.monotonic() + 20
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not is_alive(pid)


def test_an_idle_process_ends_and_gives_its_memory_back_and_the_next_request_starts_another(tmp_path):
    with ModelProcess(tmp_path / "log", keep_s=0.2) as process:
        first = ask_in_vain(process, tmp_path)
        assert wait_for_the_end_of(first)
        assert ask_in_vain(process, tmp_path) != first


def test_a_process_that_is_asked_again_in_time_is_the_same_and_is_never_ended_at_work(tmp_path):
    with ModelProcess(tmp_path / "log", keep_s=30) as process:
        first = ask_in_vain(process, tmp_path)
        asked = process._asked
        assert ask_in_vain(process, tmp_path) == first
        process._end_idle(asked)  # a timer that went off just before the second request, and had to wait for it
        assert ask_in_vain(process, tmp_path) == first


def test_a_question_that_was_given_up_is_never_answered_to_the_next(tmp_path):
    class GivenUpError(Exception):
        pass

    def give_up():
        raise GivenUpError

    with ModelProcess(tmp_path / "log") as process:
        ask_in_vain(process, tmp_path)
        with pytest.raises(GivenUpError):
            process.ask("give-up", request(tmp_path), ExtractReport, beat=give_up, beat_every_s=0)
        ask_in_vain(process, tmp_path)


def test_a_device_that_is_not_there_is_one_clear_line(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    folder = save_tiny(tmp_path / "model", n_layers=2)
    with (
        ModelProcess(tmp_path / "log", device="cuda:3") as process,
        pytest.raises(UnavailableError, match=r"device cuda:3: .*no CUDA GPU") as failed,
    ):
        process.ask("extract", request(tmp_path, model=folder), ExtractReport)
    assert "\n" not in str(failed.value)


def test_a_nice_process_lets_others_go_first_and_one_without_niceness_does_not(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)  # what a person set there stays
    policies = {}
    for nice in (0, 7):
        with ModelProcess(tmp_path / "log", nice=nice, threads=3) as process:
            pid = ask_in_vain(process, tmp_path)
            policies[nice] = os.sched_getscheduler(pid), os.getpriority(os.PRIO_PROCESS, pid) - os.nice(0)
            assert b"OMP_NUM_THREADS=3" in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    assert policies == {0: (os.SCHED_OTHER, 0), 7: (os.SCHED_BATCH, 7)}


class BusyForAWhile(Meter):
    """Its GPU is busy at the first two looks."""

    looks = 0

    def look(self, own):
        return None

    def gpu(self, own):
        BusyForAWhile.looks += 1
        return 0.9 if BusyForAWhile.looks <= 2 else 0.0


def test_a_request_waits_while_others_are_busy_and_the_beat_goes_on(tmp_path):
    BusyForAWhile.looks, told, beats, now = 0, [], [], [0.0]

    def sleep(seconds):
        now[0] += seconds

    patience = Patience(0.5, 100, told.append, BusyForAWhile(), lambda: now[0], sleep)
    with ModelProcess(tmp_path / "log", patience=patience) as process:

        def beat():
            beats.append((BusyForAWhile.looks, process._process is None))

        ask_in_vain(process, tmp_path, beat=beat)
    assert told == ["other processes use 90 % of the GPU", ""]
    assert {looks for looks, unborn in beats if unborn} >= {0, 1, 2}  # not even the process had been started
    assert all(unborn for looks, unborn in beats if looks < 2)


def test_what_the_process_waits_for_between_steps_is_told_like_what_a_request_waits_for(tmp_path, monkeypatch):
    told, steps = [], []
    monkeypatch.setattr("daemon.child.sys.executable", str(stub(tmp_path, "waiting", "others", "waiting", "")))
    patience = Patience(1.0, 0, told.append, Meter())
    with ModelProcess(tmp_path / "log", patience=patience) as process, pytest.raises(NoInputError):
        process.ask("train", request(tmp_path), ExtractReport, on_progress=steps.append)
    assert told == ["others", ""]
    assert steps == []


def stub(tmp_path, *stages_and_notes):
    """A model process that sends some progress and then an error."""
    lines = [
        {"progress": {"stage": stage, "done": 0, "total": 0, "note": note}}
        for stage, note in zip(stages_and_notes[::2], stages_and_notes[1::2], strict=True)
    ]
    lines.append({"error": {"message": "m", "exit_code": 66}})
    path = tmp_path / "stub"
    path.write_text(
        "#!/bin/sh\nread line\n" + "".join(f"echo '{json.dumps(line)}'\n" for line in lines) + "read line\n"
    )
    path.chmod(0o755)
    return path


def test_training_waits_between_its_steps(tmp_path, monkeypatch):
    """In the model process: each report of progress is a place where others may go first."""
    from daemon import model_process

    places = []
    monkeypatch.setattr(Patience, "between", lambda self, own, beat: places.append((self.above, set(own()))))

    def run_train(request, progress, milestone, device):
        progress(Progress(stage="step", done=1, total=2))
        assert len(places) == 1
        progress(Progress(stage="step", done=2, total=2))
        return device

    monkeypatch.setattr("daemon.training.run.run_train", run_train)
    monkeypatch.setattr(model_process.TrainRequest, "model_validate", lambda body: body)
    process = model_process._Process(lambda *_: None, model_process._Models("cpu"), 0.6, 60)
    assert model_process._train({}, process) == "cpu"
    assert places == [(0.6, {os.getpid(), os.getppid()})] * 2


def test_what_a_gpu_gave_is_given_back_after_each_request(monkeypatch):
    import torch

    from daemon import model_process

    given_back = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: given_back.append(1))
    model_process._give_back()
    assert given_back == [1]


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
