"""The unit files are sound: systemd itself has nothing to say about them."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from daemon.errors import FullError, UsageError
from daemon.units import install_units, render_units, unit_folder

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
PLAIN = "state"
AWKWARD = "my state, 100% $HOME"


@pytest.fixture
def executable(tmp_path: Path) -> Path:
    path = tmp_path / "venv with space" / "bin" / "reflexd"
    path.parent.mkdir(parents=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def rendered(user: bool, executable: Path, state: str = PLAIN) -> str:
    home = executable.parents[2]
    (home / state).mkdir(exist_ok=True)
    units = render_units(user=user, executable=executable, config=home / state / "reflexd.toml", state_dir=home / state)
    assert list(units) == ["reflexd.service"]
    return units["reflexd.service"]


def verify(text: str, folder: Path, user: bool) -> str:
    """What `systemd-analyze verify` says on standard error; its exit code is 0 even for misspelt keys."""
    path = folder / "reflexd.service"
    path.write_text(text)
    runtime = folder / "runtime"
    runtime.mkdir(mode=0o700, exist_ok=True)
    command = ["systemd-analyze", *(["--user"] if user else []), "verify", str(path)]
    environment = os.environ | {"XDG_RUNTIME_DIR": str(runtime)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    return done.stderr + ("" if done.returncode == 0 else f"exit {done.returncode}")


@needs_systemd
@pytest.mark.parametrize("user", [False, True])
@pytest.mark.parametrize("state", [PLAIN, AWKWARD])
def test_systemd_has_nothing_to_say(tmp_path: Path, executable: Path, user: bool, state: str) -> None:
    assert verify(rendered(user, executable, state), tmp_path, user) == ""


@needs_systemd
@pytest.mark.parametrize("user", [False, True])
def test_the_check_above_can_fail(tmp_path: Path, executable: Path, user: bool) -> None:
    text = rendered(user, executable).replace("WatchdogSec", "WatchdogSecs")
    assert "WatchdogSecs" in verify(text, tmp_path, user)


def keys(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))


@pytest.mark.parametrize("user", [False, True])
def test_the_service_yields_to_the_agent_and_restarts_only_what_can_get_better(executable: Path, user: bool) -> None:
    found = keys(rendered(user, executable))
    home = executable.parents[2]
    assert found["ExecStart"] == f'"{executable}" --config {home}/state/reflexd.toml run'
    expected = {
        "Type": "notify",
        "KillSignal": "SIGTERM",
        "Restart": "on-failure",
        "RestartPreventExitStatus": "64 78",
        "Nice": "10",
        "CPUWeight": "20",
        "IOSchedulingClass": "idle",
        "NoNewPrivileges": "yes",
        "WantedBy": "default.target" if user else "multi-user.target",
    }
    assert {key: found.get(key) for key in expected} == expected
    assert int(found["WatchdogSec"]) > 0


def test_only_the_machines_unit_names_a_user_and_may_write_to_the_state_folder_alone(executable: Path) -> None:
    import pwd

    machine, own = keys(rendered(False, executable)), keys(rendered(True, executable))
    state = executable.parents[2] / "state"
    assert machine["User"] == pwd.getpwuid(state.stat().st_uid).pw_name
    assert machine["ProtectSystem"] == "strict"
    assert machine["ReadWritePaths"] == str(state)
    assert not {"User", "ProtectSystem", "ReadWritePaths", "CapabilityBoundingSet"} & set(own)


@pytest.mark.parametrize("user", [False, True])
def test_nothing_that_breaks_torch_or_hides_a_gpu(executable: Path, user: bool) -> None:
    breakers = {"MemoryDenyWriteExecute", "PrivateDevices", "ProtectClock", "ProcSubset", "DevicePolicy", "DynamicUser"}
    assert not breakers & set(keys(rendered(user, executable)))


def test_special_characters_reach_the_program_as_they_are(executable: Path) -> None:
    found = keys(rendered(False, executable, AWKWARD))
    home = executable.parents[2]
    assert f'"{home}/my state, 100%% $$HOME/reflexd.toml"' in found["ExecStart"]
    assert found["ReadWritePaths"] == f'"{home}/my state, 100%% $HOME"'


def test_installing_writes_the_files_says_what_is_next_and_is_quiet_the_second_time(tmp_path: Path) -> None:
    units = {"reflexd.service": "[Unit]\n"}
    first = install_units(units, user=True, folder=tmp_path / "user")
    assert (tmp_path / "user" / "reflexd.service").read_text() == "[Unit]\n"
    assert first[0].endswith("reflexd.service: written")
    assert first[-1] == "next: systemctl --user daemon-reload && systemctl --user enable --now reflexd.service"
    assert install_units(units, user=True, folder=tmp_path / "user")[0].endswith("up to date")


def test_units_go_where_systemd_looks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert unit_folder(user=True) == tmp_path / "systemd" / "user"
    assert unit_folder(user=False) == Path("/etc/systemd/system")


def test_a_relative_path_or_a_line_break_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="absolute path"):
        render_units(user=True, executable=Path("reflexd"), config=tmp_path / "c", state_dir=tmp_path)
    with pytest.raises(UsageError, match="line breaks"):
        render_units(user=True, executable=tmp_path / "r", config=tmp_path / "a\nExecStartPre=b", state_dir=tmp_path)


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FullError, match=r"reflexd\.service: cannot be written"):
        install_units({"reflexd.service": ""}, user=False, folder=tmp_path / "file")
