"""why: the numbers that verified, rejected, promoted or hold back one version."""

import click
import orjson

from daemon.commands.opened import home_of, opened_store
from daemon.commands.output import json_option, print_json, print_rows


@click.command()
@click.argument("vector")
@json_option
@click.pass_context
def why(ctx: click.Context, vector: str, as_json: bool) -> None:
    """Explain why VECTOR (as in `listening@3`) is where it is: each condition, its number and its bar."""
    from daemon.pipeline.promote import conditions
    from daemon.reasons import proof_conditions, training_conditions
    from daemon.settings import load_settings
    from store.jobs import list_jobs
    from store.vectors import by_name, verification

    home = home_of(ctx)
    settings = load_settings(home.config)
    with opened_store(home) as store, store.read() as conn:
        row = by_name(conn, vector)
        report = orjson.loads(verification(conn, row.id) or "null")
        stable = conditions(conn, row, settings.promotion) if row.effect is not None else []
        jobs = [job for job in list_jobs(conn) if job.vector_id == row.id]
    rows = [*proof_conditions(report, settings.verification)]
    rows += [{"stage": "promote", "what": c.name, "value": c.value, "bar": c.bar, "met": c.met} for c in stable]
    rows += training_conditions(jobs[-1].result if jobs else None)
    if as_json:
        print_json({"vector": vector, "state": row.state, "reason": row.reason, "conditions": rows})
        return
    click.echo(f"{vector} is {row.state}" + (f": {row.reason}" if row.reason else ""))
    for job in jobs:
        click.echo(f"job {job.id} is {job.state}" + (f": {job.error}" if job.error else ""))
    print_rows(rows, False, empty="nothing was measured yet; `reflexd once` does")
