"""report: a page to look at, one file that needs nothing beside itself."""

from pathlib import Path

import click

from daemon.commands.opened import reading
from daemon.commands.output import json_option, print_json


@click.command()
@click.argument("vector", required=False)
@click.option(
    "--out", type=click.Path(path_type=Path), help="The file to write (default: ./VECTOR.html or ./reflexd.html)."
)
@json_option
@click.pass_context
def report(ctx: click.Context, vector: str | None, out: Path | None, as_json: bool) -> None:
    """Write a page about VECTOR (as in `listening@3`), or about everything: one HTML file, without script.

    With --json, what the page is made of is printed, and nothing is written.
    """
    from daemon.durable import write_durably
    from daemon.report.read import read_overview, read_version

    with reading(ctx) as reader:
        found = read_version(reader, vector) if vector else read_overview(reader)
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    path = out or Path(f"{vector or 'reflexd'}.html")
    write_durably(path, _page(found).encode())
    click.echo(path)


def _page(found: object) -> str:
    from daemon.report.data import VersionPage
    from daemon.report.overview import overview_page
    from daemon.report.page import version_page

    if isinstance(found, VersionPage):
        return version_page(found)
    from daemon.report.data import Overview

    assert isinstance(found, Overview)
    return overview_page(found)
