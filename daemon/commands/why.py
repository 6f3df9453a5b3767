"""why: the numbers that verified, rejected, promoted or hold back a version, and what its behaviour's evidence gave."""

from typing import TYPE_CHECKING, Any

import click
import orjson

from daemon.commands.opened import home_of, opened_store
from daemon.commands.output import json_option, print_json, print_rows
from daemon.errors import UsageError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from daemon.settings import Settings
    from graph.schema import Behaviour
    from store.jobs import JobRow

_ALWAYS = {"positives", "negatives", "kept"}


@click.command()
@click.argument("vector", metavar="VECTOR|BEHAVIOUR")
@json_option
@click.pass_context
def why(ctx: click.Context, vector: str, as_json: bool) -> None:
    """Explain why VECTOR (as in `listening@3`) is where it is: each condition, its number and its bar.

    For it, and for a BEHAVIOUR (as in `listening`), also what became of the evidence: how many responses show it, and
    why which of them made no pair.
    """
    from daemon.pipeline.mine import known_behaviours
    from daemon.settings import load_settings

    home = home_of(ctx)
    settings = load_settings(home.config)
    name, at, _ = vector.partition("@")
    with opened_store(home) as store, store.read() as conn:
        version, jobs = _version(conn, settings, vector) if at else (None, [])
        known = {behaviour.name: behaviour for behaviour in known_behaviours(conn, settings)}
        if not at and name not in known:
            raise UsageError(f"{name}: no such behaviour; known are: {', '.join(sorted(known))}")
        evidence = _evidence(conn, settings, known[name]) if name in known else None
    if as_json:
        print_json({**(version or {"behaviour": name}), "evidence": evidence})
        return
    if version:
        _tell_version(version, jobs)
    if evidence:
        _tell_evidence(name, evidence)


def _version(conn: "Connection", settings: "Settings", name: str) -> tuple[dict[str, Any], list["JobRow"]]:
    """Where the version stands, the conditions behind that, and its jobs."""
    from daemon.pipeline.extract import next_version
    from daemon.pipeline.promote import conditions
    from daemon.reasons import proof_conditions, refresh_conditions, training_conditions
    from store.jobs import list_jobs
    from store.vectors import by_name, latest, verification

    row = by_name(conn, name)
    report = orjson.loads(verification(conn, row.id) or "null")
    stable = conditions(conn, row, settings.promotion) if row.effect is not None else []
    jobs = [job for job in list_jobs(conn) if job.vector_id == row.id]
    rows = [*proof_conditions(report)]
    rows += [{"stage": "promote", "what": c.name, "value": c.value, "bar": c.bar, "met": c.met} for c in stable]
    rows += training_conditions(jobs[-1].result if jobs else None)
    after = next_version(conn, settings.extraction, row.behaviour) if latest(conn, row.behaviour) == row else None
    rows += refresh_conditions(after, settings.extraction) if after else []
    told = {"vector": name, "state": row.state, "reason": row.reason, "stale": row.stale_reason}
    return told | {"conditions": rows}, jobs


def _tell_version(version: dict[str, Any], jobs: list["JobRow"]) -> None:
    reason = f": {version['reason']}" if version["reason"] else ""
    click.echo(f"{version['vector']} is {version['state']}{reason}")
    if version["stale"]:
        click.echo(f"{version['vector']} is stale: {version['stale']}")
    for job in jobs:
        click.echo(f"job {job.id} is {job.state}" + (f": {job.error}" if job.error else ""))
    print_rows(version["conditions"], False, empty="nothing was measured yet; `reflexd once` does")
    click.echo()


def _evidence(conn: "Connection", settings: "Settings", behaviour: "Behaviour") -> dict[str, Any]:
    """The pairs in use, how many a first version needs, and what became of each response that mining looked at."""
    from daemon.pipeline.extract import next_version
    from daemon.pipeline.mine import mined_now
    from store.evidence import live_pairs

    mined = mined_now(conn, behaviour, settings.mining)
    sides = [pair.split for pair in live_pairs(conn, behaviour.name)]
    after = next_version(conn, settings.extraction, behaviour.name)
    return {
        "pairs": {side: sides.count(side) for side in ("train", "validation", "test")},
        "train_needed": settings.extraction.min_pairs,
        "next_version": after.because if after else "",
        "accepted": mined.accepted,
        "rejected": mined.rejected,
        "mining": mined.report.model_dump(),
    }


def _tell_evidence(name: str, evidence: dict[str, Any]) -> None:
    from graph.mining.limits import MiningReport

    pairs, mining = evidence["pairs"], evidence["mining"]
    sides = ", ".join(f"{count} {side}" for side, count in pairs.items())
    click.echo(
        f"{name}: {sum(pairs.values())} pairs ({sides}); a first vector needs {evidence['train_needed']} for training"
    )
    if evidence["next_version"]:
        click.echo(f"{name}: {evidence['next_version']}")
    rows: list[dict[str, object]] = [
        {"responses": evidence[ended], "what": f"{ended.capitalize()}, and may be a side of a pair."}
        for ended in ("accepted", "rejected")
    ]
    rows += [
        {"responses": mining[key], "what": field.description}
        for key, field in MiningReport.model_fields.items()
        if mining[key] or key in _ALWAYS
    ]
    print_rows(rows, False, empty="")
    if not mining["kept"]:
        click.echo("a pair needs both poles, one accepted and one rejected, in one session; docs/mining.md says more")
