"""Deciding: the training queue and what is served. Every decision is an event in the history."""

import getpass
from typing import TYPE_CHECKING

import click

from daemon.commands.opened import home_of, opened_store
from daemon.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection


def _decide(ctx: click.Context, decision: "Callable[[Connection, int, str], None]") -> None:
    """Run `decision(conn, now, actor)` in one transaction, then bring the manifests in line."""
    from daemon.pipeline.publish import publish
    from daemon.settings import load_settings

    home = home_of(ctx)
    settings = load_settings(home.config)
    with opened_store(home) as store:
        with store.write() as conn:
            decision(conn, store.clock.wall_ms(), getpass.getuser())
        publish(store, home, settings.serving.max_relative_dose)


@click.command()
@click.argument("jobs", type=int, nargs=-1)
@click.option("--all", "every", is_flag=True, help="Every job that waits for approval.")
@click.pass_context
def approve(ctx: click.Context, jobs: tuple[int, ...], every: bool) -> None:
    """Let JOBS train; `reflexd queue` shows their numbers."""
    from store.jobs import approve as let_train
    from store.jobs import list_jobs

    if not jobs and not every:
        raise UsageError("approve: name a job, or --all; `reflexd queue` shows what waits")

    def decision(conn: "Connection", now: int, actor: str) -> None:
        waiting = [job.id for job in list_jobs(conn) if job.state == "awaiting_approval"]
        for job in waiting if every else jobs:
            let_train(conn, job, now, actor)
            click.echo(f"job {job}: approved; `reflexd once` trains it, or the daemon does")
        if every and not waiting:
            click.echo("nothing waits for approval")

    _decide(ctx, decision)


@click.command()
@click.argument("job", type=int)
@click.option("--reason", default="cancelled by a person", show_default=True)
@click.pass_context
def cancel(ctx: click.Context, job: int, reason: str) -> None:
    """Cancel JOB; its vector stays verified and served."""
    from store.jobs import cancel as call_off

    _decide(ctx, lambda conn, now, actor: call_off(conn, job, now, actor, reason))
    click.echo(f"job {job}: cancelled; its vector is verified again and still served")


@click.command()
@click.argument("job", type=int)
@click.pass_context
def retry(ctx: click.Context, job: int) -> None:
    """Give the vector of a failed or cancelled JOB a new job."""
    from store.jobs import retry as try_again

    def decision(conn: "Connection", now: int, actor: str) -> None:
        click.echo(f"job {try_again(conn, job, now, actor)}: queued")

    _decide(ctx, decision)


@click.command()
@click.argument("behaviour")
@click.pass_context
def on(ctx: click.Context, behaviour: str) -> None:
    """Serve the vector of BEHAVIOUR from the next request on."""
    _toggle(ctx, behaviour, True)


@click.command()
@click.argument("behaviour")
@click.pass_context
def off(ctx: click.Context, behaviour: str) -> None:
    """Stop serving the vector of BEHAVIOUR from the next request on."""
    _toggle(ctx, behaviour, False)


def _toggle(ctx: click.Context, behaviour: str, enabled: bool) -> None:
    from store.served import set_enabled

    _decide(ctx, lambda conn, now, actor: set_enabled(conn, behaviour, enabled, now, actor))
    click.echo(f"{behaviour}: {'on' if enabled else 'off'}")


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("behaviour")
@click.argument("dose_value", metavar="X", type=float)
@click.pass_context
def dose(ctx: click.Context, behaviour: str, dose_value: float) -> None:
    """Serve BEHAVIOUR at dose X, in units of the layer's median residual norm.

    A dose that you set is never scaled to the budget of all vectors that are on; reflexd then says if they miss it.
    """
    from daemon.settings import load_settings
    from store.served import served, set_dose

    limit = load_settings(home_of(ctx).config).serving.max_relative_dose
    if not abs(dose_value) <= limit:
        raise UsageError(
            f"dose {dose_value:g}: over the limit {limit:g} (serving.max_relative_dose in the configuration)"
        )

    def decision(conn: "Connection", now: int, actor: str) -> None:
        rows = [row for row in served(conn) if row.behaviour == behaviour]
        if not rows:
            raise UsageError(f"{behaviour}: no vector of it is served; `reflexd active` shows what is")
        unit = rows[-1].coefficient_per_dose
        set_dose(conn, behaviour, dose_value, dose_value * unit, now, actor)

    _decide(ctx, decision)
    click.echo(f"{behaviour}: dose {dose_value:g}")
