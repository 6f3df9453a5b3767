"""status: one screen, from the store alone, in well under a third of a second."""

import click

from daemon.busy import read_waiting
from daemon.commands.opened import home_of, is_working, reading
from daemon.commands.output import json_option, print_fields, print_json

_COUNTS = (
    ("sources", "SELECT count(*) AS n FROM source WHERE removed_at IS NULL"),
    ("sources_failing", "SELECT count(*) AS n FROM source WHERE removed_at IS NULL AND last_error IS NOT NULL"),
    ("episodes", "SELECT count(*) AS n FROM episode WHERE gone_at IS NULL"),
    ("pairs", "SELECT count(*) AS n FROM pair WHERE gone_at IS NULL AND dropped_at IS NULL"),
    ("served", "SELECT count(*) AS n FROM serving WHERE enabled = 1"),
)


@click.command()
@json_option
@click.pass_context
def status(ctx: click.Context, as_json: bool) -> None:
    """Say in one screen how things stand. Exit code 1 when something is not well."""
    home = home_of(ctx)
    with reading(ctx) as reader:
        fields: dict[str, object] = {name: reader.rows(sql)[0]["n"] for name, sql in _COUNTS}
        for table, name in (("vector_version", "vectors"), ("training_job", "queue")):
            rows = reader.rows(f"SELECT state, count(*) AS n FROM {table} GROUP BY state ORDER BY state")
            fields[name] = {str(row["state"]): row["n"] for row in rows}
        fields["waiting"] = {str(row["behaviour"]): row for row in reader.rows("SELECT * FROM waiting")}
        model = reader.rows("SELECT name FROM model WHERE current = 1")
        failing = reader.rows("SELECT name, last_error FROM tick WHERE last_error IS NOT NULL")
        weights = model[0]["name"] if model else None
    working = is_working(home)
    held_up = (read_waiting(home.state) or None) if working else None
    fields = {"store": str(home.database), "working": working, "model_work_waits": held_up, "model": weights} | fields
    fields["failing"] = {str(row["name"]): row["last_error"] for row in failing}
    well = not fields["sources_failing"] and not failing and weights is not None
    if as_json:
        print_json({"well": well, **fields})
    else:
        print_fields(_for_people(fields), False)
    ctx.exit(0 if well else 1)


def _for_people(fields: dict[str, object]) -> dict[str, object]:
    shown = dict(fields)
    shown["model_work_waits"] = fields["model_work_waits"] or "no"
    shown["model"] = fields["model"] or "none yet: `reflexd model add smollm2`"
    for name in ("vectors", "queue", "failing"):
        counts = fields[name]
        assert isinstance(counts, dict)
        shown[name] = ", ".join(f"{n} {state.replace('_', ' ')}" for state, n in counts.items()) or "none"
    waiting = fields["waiting"]
    assert isinstance(waiting, dict)
    shown["waiting"] = "; ".join(f"{name}: {_waits(row)}" for name, row in waiting.items()) or "none"
    if fields["sources_failing"]:
        shown["sources_failing"] = f"{fields['sources_failing']}: `reflexd source list` says why"
    return shown


def _waits(row: dict[str, object]) -> str:
    """New evidence of a behaviour in words; `reflexd why` has the bar that it must reach."""
    counts = (
        ("new_training", "new training pairs"),
        ("gone_training", "gone"),
        ("held_out_changed", "held-out changed"),
    )
    told = [f"{row[name]} {words}" for name, words in counts if row[name]]
    since = f" since {row['since']}" if row["since"] else ", no version yet"
    stale = f"; {row['since']} is stale: {row['stale']}" if row["stale"] else ""
    return (", ".join(told) + since if told else "nothing new") + stale
