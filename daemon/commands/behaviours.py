"""Behaviours: what is known of each, and those that a person may adopt because the memory speaks for them."""

import click

from daemon.commands.opened import home_of, opened_store, reading
from daemon.commands.output import json_option, print_rows


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def behaviours(ctx: click.Context, as_json: bool) -> None:
    """List behaviours: evidence, newest vector, effect, what is served, what lives in the weights."""
    if ctx.invoked_subcommand is not None:
        return
    with reading(ctx) as reader:
        rows = reader.rows("SELECT * FROM behaviours")
    print_rows(rows, as_json, empty="no behaviours yet; `reflexd source add` and `reflexd once` find them")


@behaviours.command()
@json_option
@click.pass_context
def propose(ctx: click.Context, as_json: bool) -> None:
    """Look for groups of corrections that no behaviour explains; they do nothing until you adopt one."""
    from daemon.pipeline.discover import discover
    from daemon.settings import load_settings

    home = home_of(ctx)
    with opened_store(home) as store:
        found = discover(store, load_settings(home.config))
    rows: list[dict[str, object]] = [
        {
            "name": each.name,
            "corrections": each.evidence["size"],
            "sessions": each.evidence["sessions"],
            "cohesion": each.evidence["cohesion"],
            "words": ", ".join(each.evidence["terms"]),
            "example": each.evidence["examples"][0] if each.evidence["examples"] else "",
        }
        for each in found
    ]
    if as_json:
        rows = [
            row | {"evidence": each.evidence, "negative_cues": list(each.negative_cues)}
            for row, each in zip(rows, found, strict=True)
        ]
    print_rows(rows, as_json, empty="nothing to propose: no group of corrections is large, wide and alike enough")
    if rows and not as_json:
        click.echo("\nadopt one with `reflexd behaviours adopt NAME`, or dismiss it; --json shows the evidence")


@behaviours.command()
@click.argument("name")
@click.pass_context
def adopt(ctx: click.Context, name: str) -> None:
    """Make the proposal NAME a behaviour; the next `reflexd once` mines pairs for it."""
    from store.proposals import adopt_proposal

    with opened_store(home_of(ctx)) as store, store.write() as conn:
        adopt_proposal(conn, name, store.clock.wall_ms())
    click.echo(f"{name}: adopted; its cues can be refined under [behaviours.{name}] in the configuration")


@behaviours.command()
@click.argument("name")
@click.pass_context
def dismiss(ctx: click.Context, name: str) -> None:
    """Never propose NAME again."""
    from store.proposals import dismiss_proposal

    with opened_store(home_of(ctx)) as store, store.write() as conn:
        dismiss_proposal(conn, name, store.clock.wall_ms())
    click.echo(f"{name}: dismissed")
