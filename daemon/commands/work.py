"""Working: every stage once, or for ever."""

import click

from daemon.commands.opened import home_of, working
from daemon.commands.output import json_option, print_json

UNTIL = ("watch", "judge", "mine", "extract", "verify", "recheck", "combine", "promote", "train")


@click.command()
@click.option("--until", type=click.Choice(UNTIL), default="train", show_default=True, help="The last stage to run.")
@json_option
@click.pass_context
def once(ctx: click.Context, until: str, as_json: bool) -> None:
    """Run every stage once, from memory to weights, and show what came of it.

    A run that was stopped or killed is picked up where it ended.
    """
    from daemon.pipeline.once import run_once
    from daemon.progress import display
    from daemon.summary import read_failing_sources, read_summary, render_summary

    home = home_of(ctx)
    with display(quiet=as_json) as shown, working(home, shown.on_progress, shown.say) as context:
        run_once(context, until)
    summary = read_summary(home)
    if as_json:
        print_json(summary)
    else:
        click.echo(render_summary(summary, home))
    failing = [f"{kind} {path}: {error}" for kind, path, error in read_failing_sources(home)]
    for line in failing:
        click.echo(f"reflexd: source {line}", err=True)
    ctx.exit(1 if failing else 0)


@click.command()
@click.pass_context
def run(ctx: click.Context) -> None:
    """Be the daemon: look at the memory again and again, and do what it asks for. SIGTERM ends it cleanly."""
    from daemon.service import serve_forever

    ctx.exit(serve_forever(home_of(ctx)))
