"""The built wheel works outside the checkout: migrations, neutral text, SQL and example memories travel with it."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the wheel unpacked by pip, and nothing of the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT)], check=True)
    (wheel,) = folder.glob("reflexd-*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", str(folder / "site"), str(wheel)], check=True)
    return wheel, folder / "site"


def run(site, *arguments, cwd):
    own = {name: value for name, value in os.environ.items() if not name.startswith("REFLEXD_")}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=cwd, env=own | {"PYTHONPATH": str(site)}
    )


def test_init_works_from_the_wheel_and_makes_a_current_store(installed, tmp_path):
    _, site = installed
    made = run(site, "-m", "daemon", "init", "--dir", "home", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    looked = run(site, "-m", "daemon", "--config", "home/reflexd.toml", "queue", "--json", cwd=tmp_path)
    assert (looked.returncode, looked.stdout.strip()) == (0, "[]")


def test_a_history_is_mined_from_the_wheel(installed, tmp_path):
    """The fitted weights of the human-turn judge travel with the code."""
    _, site = installed
    said = "\n# aider chat started at 2026-03-02 08:00:00\n\n#### add a port option  \n\nI added a port option.\n\n"
    (tmp_path / "history.md").write_text(f"{said}#### no, read it from the environment instead  \n\nSure, done.\n\n")
    mined = run(site, "-m", "daemon", "mine", "aider", "history.md", "--json", cwd=tmp_path)
    assert mined.returncode == 0, mined.stderr
    assert [outcome["signal"] for outcome in json.loads(mined.stdout)] == ["human_turn"]


def test_the_page_and_the_tasks_of_the_proof_travel_with_the_code(installed, tmp_path):
    _, site = installed
    made = run(site, "-m", "daemon", "init", "--dir", str(tmp_path), cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    drawn = run(site, "-m", "daemon", "report", cwd=tmp_path)
    assert drawn.returncode == 0, drawn.stderr
    assert "prefers-color-scheme" in (tmp_path / "reflexd.html").read_text()
    code = "from daemon.proof.tasks import load_questions, load_requests, tool_tasks; "
    counted = run(
        site, "-c", code + "print(len(load_questions()), len(load_requests()), len(tool_tasks()))", cwd=tmp_path
    )
    assert counted.stdout.split() == ["48", "20", "12"], counted.stderr


def test_nothing_of_the_checkout_is_used(installed, tmp_path):
    _, site = installed
    code = (
        "import daemon, graph, store, migrations; from daemon.commands.setup import examples_folder;"
        "from daemon.steering.neutral import load_neutral; load_neutral('test');"
        "print(daemon.__file__, graph.__file__, store.__file__, migrations.__file__, examples_folder())"
    )
    done = run(site, "-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert all(path.startswith(str(site)) for path in done.stdout.split())


def test_the_wheel_holds_no_tests_and_nothing_large(installed):
    wheel, _ = installed
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert tops == {"daemon", "graph", "store", "migrations"}
    assert wheel.stat().st_size < 2**20
