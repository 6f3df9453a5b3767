"""Tools: export, SQL, systemd units."""

import shutil
import sys
from pathlib import Path

import click

from daemon.commands.opened import home_of, opened_store, reading
from daemon.commands.output import json_option, print_rows
from daemon.errors import UsageError


@click.command()
@click.argument("vector")
@click.option("--format", "kind", type=click.Choice(["safetensors", "gguf"]), default="safetensors", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="The file to write (default: ./VECTOR.FORMAT).")
@click.pass_context
def export(ctx: click.Context, vector: str, kind: str, out: Path | None) -> None:
    """Write VECTOR (as in `listening@3`) for llama.cpp (gguf, dose folded in) or others (safetensors)."""
    from daemon.exporting import export_gguf, export_safetensors

    path = out or Path(f"{vector}.{kind}")
    with opened_store(home_of(ctx)) as store:
        (export_gguf if kind == "gguf" else export_safetensors)(store, vector, path)
    click.echo(f"{path}: written")
    if kind == "gguf":
        click.echo(f"try: llama-cli -m MODEL.gguf --control-vector {path}")


_LISTING = (
    "SELECT type, name FROM sqlite_master WHERE type IN ('view', 'table') AND name NOT LIKE 'sqlite_%' "
    "ORDER BY type DESC, name"
)


_SQL_HELP = """Run one read-only QUERY on the store, or list its views and tables.

\b
reflexd sql "SELECT * FROM queue"
reflexd sql "SELECT * FROM history"
"""


@click.command(help=_SQL_HELP)
@click.argument("query", required=False)
@json_option
@click.pass_context
def sql(ctx: click.Context, query: str | None, as_json: bool) -> None:
    """Run one read-only QUERY on the store, or list its views and tables."""
    with reading(ctx) as reader:
        if query is None:
            query = _LISTING
        rows = reader.rows(query)
    print_rows(rows, as_json, empty="no rows")


@click.command("install-service")
@click.option("--user", is_flag=True, help="For your own systemd instance instead of the machine's.")
@click.option("--dry-run", is_flag=True, help="Print the files, each after a line `# NAME`, and write nothing.")
@click.pass_context
def install_service(ctx: click.Context, user: bool, dry_run: bool) -> None:
    """Install the systemd units that run reflexd beside the agent."""
    from daemon.units import install_units, render_units

    home = home_of(ctx)
    executable = Path(shutil.which("reflexd") or Path(sys.argv[0])).resolve()
    if not executable.is_file():
        raise UsageError("install-service: cannot find the reflexd executable; call it by its full path")
    units = render_units(user=user, executable=executable, config=home.config, state_dir=home.state)
    if dry_run:
        for name, text in units.items():
            click.echo(f"# {name}\n{text}")
        return
    for line in install_units(units, user=user):
        click.echo(line)
