"""The daemon's ticks: an idle look costs a look, and nothing that is new waits."""

import json
import os

import pytest

from daemon import service as service_module
from daemon.cli import run_command
from daemon.commands.opened import work_lock, working
from daemon.home import find_home
from daemon.service import Service
from daemon.settings import load_settings
from tests.pipeline.conftest import memory


@pytest.fixture
def place(tmp_path, monkeypatch):
    assert run_command(["init", "--dir", str(tmp_path)]) == 0
    (tmp_path / "memory.json").write_text(json.dumps(memory()))
    config = ["--config", str(tmp_path / "reflexd.toml")]
    assert run_command([*config, "source", "add", "node-link", str(tmp_path / "memory.json")]) == 0
    home = find_home(tmp_path / "reflexd.toml")
    ran = []
    real = service_module.run_stage

    def counted(context, name):
        ran.append(name)
        return real(context, name)

    monkeypatch.setattr(service_module, "run_stage", counted)
    lock = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    yield tmp_path, config, Service(home, load_settings(home.config), lock), ran
    os.close(lock)


def test_an_idle_look_does_not_mine_again(place):
    _, _, service, ran = place
    service.look()
    assert ran == ["watch", "mine"]
    service.look()
    service.look()
    assert ran == ["watch", "mine", "watch", "watch"]


def test_a_look_that_failed_is_mined_by_the_next(place, monkeypatch):
    folder, _, service, ran = place
    service.look()
    (folder / "memory.json").write_text(json.dumps(memory(sessions=3)))
    counted = service_module.run_stage

    def failing(context, name):
        if name == "mine":
            raise OSError("the disk is full")
        return counted(context, name)

    monkeypatch.setattr(service_module, "run_stage", failing)
    with pytest.raises(OSError, match="full"):
        service.look()
    monkeypatch.setattr(service_module, "run_stage", counted)
    service.look()
    assert ran == ["watch", "mine", "watch", "watch", "mine"]


def test_a_label_that_changes_where_no_episode_does_is_mined(place):
    folder, _, service, ran = place
    service.look()
    said = memory()
    said["nodes"].append({"id": "p", "kind": "pattern", "name": "listening", "text": ""})
    said["edges"].append({"source": "r0-0a", "target": "p", "kind": "instance_of", "pole": "negative"})
    (folder / "memory.json").write_text(json.dumps(said))
    service.look()
    assert ran == ["watch", "mine", "watch", "mine"]


def test_new_evidence_a_decision_and_another_setting_are_mined_at_once(place):
    folder, _, service, ran = place
    service.look()
    (folder / "memory.json").write_text(json.dumps(memory(sessions=3)))
    service.look()
    assert ran.count("mine") == 2
    service.settings = service.settings.model_copy(
        update={"mining": service.settings.mining.model_copy(update={"per_session": 1})}
    )
    service.look()
    assert ran.count("mine") == 3
    service.look()
    assert ran.count("mine") == 3
    service.evidence_changed = True  # as the judge says when it has judged
    service.look()
    assert ran.count("mine") == 4


@pytest.fixture
def processes(place, monkeypatch):
    """The model process that each stage was given; none of them does anything."""
    given = []

    def noted(context, name):
        given.append((name, context.process))
        return False

    monkeypatch.setattr(service_module, "run_stage", noted)
    _, config, service, _ = place
    yield service, config, given
    service.end_model_process()


def test_one_model_process_serves_all_ticks_until_its_settings_change(processes):
    service, _, given = processes
    service.work()
    service.work()
    assert len({id(process) for _, process in given}) == 1
    stopped = []
    given[0][1].stop = lambda: stopped.append(True)
    changed = service.settings.process.model_copy(update={"nice": 3})
    service.settings = service.settings.model_copy(update={"process": changed})
    service.work()
    assert stopped == [True]
    assert (given[-1][1]._nice, given[0][1]._nice) == (3, 10)


def test_the_daemons_model_process_is_as_the_settings_say(processes):
    service, _, given = processes
    changed = {"device": "cuda:1", "keep_model_s": 7.0, "wait_above": 0.5, "wait_most_s": 30.0}
    service.settings = service.settings.model_copy(
        update={"process": service.settings.process.model_copy(update=changed)}
    )
    service.work()
    process = given[0][1]
    assert (process._device, process._keep_s, process._inherit) == ("cuda:1", 7, (service.lock,))
    patience = process._patience
    assert (patience.above, patience.most_s, patience.meter.device) == (0.5, 30, "cuda:1")
    assert process._threads >= 1


def test_whoever_runs_it_once_does_not_wait_and_has_all_cores(place):
    with working(place[2].home, lambda _: None, lambda _: None) as context:
        assert context.process._patience is None
        assert (context.process._threads, context.process._keep_s) == (0, 60)


def test_status_says_what_model_work_waits_for_while_the_daemon_works(processes, capsys, monkeypatch):
    service, config, _ = processes
    said = []
    service.say = said.append
    why = "other processes use 87 % of the cores"

    def shown():
        capsys.readouterr()
        run_command([*config, "status", "--json"])
        return json.loads(capsys.readouterr().out)["model_work_waits"]

    service.tell_waiting(why)
    assert shown() is None  # nobody works: it is what a killed daemon left
    with work_lock(service.home):
        assert shown() == why
        service.tell_waiting("other processes use 91 % of the cores")
        service.tell_waiting("")
        assert shown() is None
    assert said == [f"waiting: {why}"]
    service.tell_waiting(why)
    service.prepare()
    with work_lock(service.home):
        assert shown() is None
