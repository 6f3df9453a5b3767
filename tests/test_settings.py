"""Configuration: found, read, and refused with file and key when it is wrong."""

import os
import re
from pathlib import Path

import pytest

from daemon.cli import run_command
from daemon.errors import ConfigError, NoInputError
from daemon.home import find_home
from daemon.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    for name in [name for name in os.environ if name.startswith("REFLEXD_")]:
        monkeypatch.delenv(name)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_the_state_folder_is_beside_the_file_that_names_it(tmp_path):
    config = write(tmp_path / "here" / "reflexd.toml", 'state_dir = "kept"')
    assert find_home(config).database == tmp_path / "here" / "kept" / "reflexd.db"


def test_the_current_folder_comes_before_the_users_configuration(tmp_path):
    write(tmp_path / "xdg" / "reflexd" / "reflexd.toml", "")
    assert find_home().config == tmp_path / "xdg" / "reflexd" / "reflexd.toml"
    own = write(tmp_path / "reflexd.toml", "")
    assert find_home().config == own


def test_without_a_configuration_the_error_names_the_command_that_makes_one(capsys):
    assert run_command(["status"]) == 66
    assert "reflexd init" in capsys.readouterr().err


def test_a_configuration_that_was_named_must_be_there(tmp_path):
    with pytest.raises(NoInputError, match="nowhere"):
        find_home(tmp_path / "nowhere" / "reflexd.toml")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("stat_dir = 'x'", "stat_dir: unknown key"),
        ("[training]\napprovel = 'auto'", "training.approvel: unknown key"),
        ("[training.gates]\nmin_efect = 1", "training.gates.min_efect: unknown key"),
        ("[training]\napproval = 'maybe'", "training.approval"),
        ("[promotion]\nversions = 0", "promotion.versions"),
        ("[behaviours.x]\npositive_cue = ['a']", "behaviours.x.positive_cue: unknown key"),
    ],
)
def test_an_unknown_key_or_a_wrong_value_is_refused_by_name(tmp_path, text, key):
    config = write(tmp_path / "reflexd.toml", text)
    with pytest.raises(ConfigError) as refused:
        load_settings(config)
    assert str(config) in str(refused.value)
    assert key in str(refused.value)
    assert "\n" not in str(refused.value)
    assert refused.value.exit_code == 78


def test_torn_toml_is_refused_with_its_line(tmp_path):
    with pytest.raises(ConfigError, match="line 2"):
        load_settings(write(tmp_path / "reflexd.toml", "[training]\nsteps = = 3"))


def test_the_environment_wins_over_the_file(tmp_path, monkeypatch):
    config = write(tmp_path / "reflexd.toml", "[training]\napproval = 'ask'\nsteps = 7")
    monkeypatch.setenv("REFLEXD_TRAINING__APPROVAL", "auto")
    settings = load_settings(config)
    assert (settings.training.approval, settings.training.steps) == ("auto", 7)


def test_an_unknown_key_in_the_environment_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("REFLEXD_TRAINNING__STEPS", "3")
    with pytest.raises(ConfigError, match="REFLEXD_TRAINNING__STEPS"):
        load_settings(write(tmp_path / "reflexd.toml", ""))


def test_the_recipe_is_the_training_section_without_what_only_the_daemon_needs():
    recipe = Settings().training.recipe()
    assert recipe.steps == Settings().training.steps
    assert "approval" not in type(recipe).model_fields


def test_what_the_scripts_and_tests_read_from_the_environment_is_no_unknown_key(tmp_path, monkeypatch):
    """scripts/test with REFLEXD_VENV set once failed on that variable itself."""
    root = Path(__file__).parents[1]
    scripts = [path for path in (root / "scripts").iterdir() if path.is_file()] + [root / ".ci" / "run"]
    named = {name for script in scripts for name in re.findall(r"REFLEXD_[A-Z_]+", script.read_text())}
    assert {"REFLEXD_VENV", "REFLEXD_TEST_MODEL"} <= named
    config = write(tmp_path / "reflexd.toml", "")
    for name in named:
        monkeypatch.setenv(name, str(config))
    load_settings(config)
