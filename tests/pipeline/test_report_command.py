"""`reflexd report`: one file that can be sent to somebody, or the data that it is made of."""

import subprocess
import sys

import pytest

from tests.report.furnished import Furnished


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Furnished(tmp_path) as made:
        yield made


@pytest.fixture
def reflexd(home, command_line):
    return command_line(home.home.config)


def test_the_page_lies_in_the_current_folder_and_its_path_is_printed(home, reflexd, tmp_path):
    assert reflexd("report", "listening@3") == "listening@3.html\n"
    page = (tmp_path / "listening@3.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "Verified: +1.59" in page


def test_a_page_that_is_there_is_written_anew(home, reflexd, tmp_path):
    (tmp_path / "listening@3.html").write_text("old")
    reflexd("report", "listening@3")
    assert (tmp_path / "listening@3.html").read_text() != "old"
    assert [path.name for path in tmp_path.glob("*.partial")] == []


def test_out_names_the_file_and_its_folder_is_made(home, reflexd, tmp_path):
    assert reflexd("report", "listening@2", "--out", "pages/two.html") == "pages/two.html\n"
    assert "listening@2" in (tmp_path / "pages" / "two.html").read_text()


def test_without_a_name_it_is_about_everything(home, reflexd, tmp_path):
    assert reflexd("report") == "reflexd.html\n"
    page = (tmp_path / "reflexd.html").read_text()
    assert "not_rushing" in page
    assert "Training queue" in page


def test_json_is_what_the_page_is_made_of_and_writes_nothing(home, reflexd, tmp_path):
    before = sorted(tmp_path.iterdir())
    told = reflexd("report", "listening@3", "--json")
    assert told["proof"]["effect"] == 1.59
    assert [row["vector"] for row in told["versions"]] == ["listening@1", "listening@2", "listening@3"]
    assert reflexd("report", "--json")["behaviours"][0]["behaviour"] == "listening"
    assert sorted(tmp_path.iterdir()) == before


def test_a_version_that_is_not_there_is_a_mistake_of_the_command_line(home, reflexd, tmp_path):
    assert "listening@9: no such version; known are:" in reflexd("report", "listening@9", code=2)
    assert [*tmp_path.glob("*.html")] == []


def test_a_folder_that_cannot_be_written_is_told_in_one_line(home, reflexd, tmp_path):
    (tmp_path / "file").write_text("")
    said = reflexd("report", "listening@3", "--out", "file/page.html", code=74)
    assert said.startswith("reflexd: file")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    "loaded", ["daemon.commands.report", "daemon.report.read, daemon.report.page, daemon.report.overview"]
)
def test_nothing_heavy_is_loaded_before_something_is_drawn(loaded):
    code = f"import {loaded}, sys; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"torch", "matplotlib", "sqlalchemy", "numpy"}.isdisjoint(found)
