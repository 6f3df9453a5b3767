"""doctor: every check ok, warn or fail, each with what to do. Repairs nothing."""

import shutil
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

import click

from daemon.commands.opened import home_of
from daemon.commands.output import json_option, print_rows
from daemon.home import Home


class Check(NamedTuple):
    """One line of the doctor."""

    check: str
    result: str
    detail: str


@click.command()
@json_option
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Check the installation, the store, the sources and the model; exit code 1 when something fails."""
    home = home_of(ctx)
    checks = [check for look in CHECKS for check in _guarded(look, home)]
    print_rows([check._asdict() for check in checks], as_json, empty="")
    ctx.exit(1 if any(check.result == "fail" for check in checks) else 0)


def _guarded(look: Callable[[Home], Iterator[Check]], home: Home) -> list[Check]:
    try:
        return list(look(home))
    except Exception as error:  # noqa: BLE001 - a check that breaks is itself a finding
        return [Check(look.__name__.removeprefix("_"), "fail", str(error))]


def _python(_: Home) -> Iterator[Check]:
    import importlib.metadata

    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("torch", "transformers", "sqlalchemy")
    )
    yield Check("python", "ok", f"{sys.version.split()[0]}; {versions}")


def _configuration(home: Home) -> Iterator[Check]:
    from daemon.settings import load_settings

    load_settings(home.config)
    yield Check("configuration", "ok", str(home.config))


def _store(home: Home) -> Iterator[Check]:
    from store.engine import Store

    with Store.open(home.database) as store:
        choice = store.journal
        yield Check(
            "sqlite",
            "ok" if choice.fixed else "warn",
            f"{choice.source} {choice.version}, {choice.mode}: {choice.reason}",
        )
        with store.read() as conn:
            problems = [row[0] for row in conn.exec_driver_sql("PRAGMA integrity_check").all() if row[0] != "ok"]
            orphans = conn.exec_driver_sql("PRAGMA foreign_key_check").all()
    well = not problems and not orphans
    yield Check(
        "store",
        "ok" if well else "fail",
        str(home.database) if well else f"damaged: {problems[:1] or orphans[:1]}; restore a backup",
    )


def _sources(home: Home) -> Iterator[Check]:
    from store.reader import open_reader

    with open_reader(home.database) as reader:
        rows = reader.rows("SELECT id, kind, path, error, units, problems FROM sources")
        drift = reader.rows(
            "SELECT source, type, sum(n) AS n FROM unknown_records GROUP BY source, type ORDER BY n DESC"
        )
    if not rows:
        yield Check("sources", "warn", "nothing is watched; `reflexd source add KIND PATH`")
    for row in rows:
        named = f"{row['kind']} {row['path']}"
        told = f"{named}: {row['units']} files, {row['problems']} problems in what was read last"
        yield Check("source", "fail" if row["error"] else "ok", str(row["error"] or told))
        unknown = [each for each in drift if each["source"] == named]
        if unknown:
            most = ", ".join(f"{each['type']} ({each['n']})" for each in unknown[:5])
            yield Check("format", "warn", f"{named}: record types that this version does not know: {most}; left out")


def _model(home: Home) -> Iterator[Check]:
    from pathlib import Path

    from daemon.steering.model_folder import model_digest
    from store.reader import open_reader

    with open_reader(home.database) as reader:
        rows = reader.rows("SELECT name, path, digest FROM model WHERE current = 1")
    if not rows:
        yield Check("model", "warn", "none yet; `reflexd model add smollm2`")
        return
    same = model_digest(Path(str(rows[0]["path"]))) == rows[0]["digest"]
    told = "its files changed since they were added; add the model again"
    yield Check("model", "ok" if same else "fail", f"{rows[0]['name']}: {rows[0]['path'] if same else told}")


def _disk(home: Home) -> Iterator[Check]:
    free = shutil.disk_usage(home.state).free
    yield Check(
        "disk",
        "ok" if free > 5 * 2**30 else "warn",
        f"{free / 2**30:.1f} GiB free; a training writes a copy of the weights",
    )


CHECKS = (_python, _configuration, _store, _sources, _model, _disk)
