"""The daemon's ticks: an idle look costs a look, and nothing that is new waits."""

import json
import os

import pytest

from daemon import service as service_module
from daemon.cli import run_command
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
