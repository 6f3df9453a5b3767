"""The documentation is tested: every command, option, setting, table and view is in it, every link leads somewhere."""

import re
from pathlib import Path

import click
import pytest
from pydantic import BaseModel

from daemon.cli import COMMANDS, cli
from daemon.settings import Settings
from graph.sources import KINDS

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
EVERYTHING = "\n".join(page.read_text() for page in PAGES)


def every_command():
    context = click.Context(cli)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        yield name, command
        if isinstance(command, click.Group):
            yield from ((f"{name} {sub}", command.commands[sub]) for sub in command.commands)


@pytest.mark.parametrize(("name", "command"), [*every_command()])
def test_every_command_helps_and_is_documented(name, command):
    assert command.help
    assert command.help.strip().endswith((".", '"', ")"))
    assert "\\b" not in command.help  # in a raw docstring it would be printed
    assert f"reflexd {name}" in EVERYTHING


@pytest.mark.parametrize(("name", "command"), [*every_command()])
def test_every_option_says_what_it_is(name, command):
    silent = [p.name for p in command.params if isinstance(p, click.Option) and not p.help and not p.show_default]
    assert silent == []


def test_every_kind_of_source_is_documented():
    help_text = cli.get_command(click.Context(cli), "source").commands["add"].help
    for kind in KINDS:
        assert re.search(rf"\b{kind}\b", help_text)
        assert f"`{kind}`" in (ROOT / "docs" / "memory.md").read_text()


def keys(model, prefix=""):
    for name, field in model.model_fields.items():
        default = field.default
        if isinstance(default, BaseModel):
            yield from keys(type(default), f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


@pytest.mark.parametrize("key", sorted(keys(Settings)))
def test_every_setting_is_documented(key):
    page = (ROOT / "docs" / "configuration.md").read_text()
    assert f"`{key}`" in page


def test_the_defaults_in_the_documentation_are_the_defaults():
    page = (ROOT / "docs" / "configuration.md").read_text()
    told = dict(re.findall(r"^\| `([a-z_.0-9]+)` \| `([^`]+)` \|", page, flags=re.MULTILINE))
    settings = Settings()

    def value(key):
        found = settings
        for part in key.split("."):
            found = getattr(found, part)
        return found

    wrong = {key: (text, value(key)) for key, text in told.items() if _toml(value(key)) != text}
    assert wrong == {}
    assert set(told) == {key for key in keys(Settings) if key != "behaviours"}


def _toml(value):
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return str(value)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page):
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_table_and_view_is_documented():
    sql = "\n".join(path.read_text() for path in (ROOT / "store" / "sql").glob("*.sql"))
    names = re.findall(r"CREATE (?:TABLE|VIEW) (\w+)", sql)
    page = (ROOT / "docs" / "store.md").read_text()
    assert names
    assert [name for name in names if f"`{name}`" not in page] == []
