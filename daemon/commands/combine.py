"""combine: several vectors at once, how they disturb each other, and doses that keep all of them in one budget."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from daemon.commands.opened import home_of, working
from daemon.commands.output import json_option, print_json, print_rows
from daemon.errors import UsageError

if TYPE_CHECKING:
    from daemon.pipeline.context import Context
    from daemon.protocol.combine import CombineReport, CombineSettings
    from store.models import ModelRow
    from store.served import ServedRow


@click.command()
@click.argument("behaviours", metavar="[BEHAVIOUR]...", nargs=-1)
@click.option("--budget", type=float, help="Neutral KL p95 of all together, nats (default: that of verification).")
@click.option("--use", is_flag=True, help="Serve the chosen doses at once.")
@click.option("--name", metavar="SET", help="Publish the chosen doses as a set that a request may ask for.")
@json_option
@click.pass_context
def combine(
    ctx: click.Context, behaviours: tuple[str, ...], budget: float | None, use: bool, name: str | None, as_json: bool
) -> None:
    """Measure the vectors of several BEHAVIOURs together, and find doses for all of them.

    Without a BEHAVIOUR, all that are on. Shown are the angles between the vectors, what each does to the others'
    behaviours, how much of its own effect the weakest keeps within several budgets, and the doses for the whole one,
    measured once on pairs and text that nothing was chosen on. Nothing is served differently without --use
    or --name.
    """
    import orjson

    from daemon.pipeline.combine import request_of, row_of
    from daemon.pipeline.publish import publish
    from daemon.progress import display
    from daemon.protocol.combine import CombineReport
    from store.combinations import keep

    home = home_of(ctx)
    with display(quiet=as_json) as shown, working(home, shown.on_progress, shown.say) as context:
        model = context.model()
        rows = chosen_rows(context, model, behaviours)
        request = request_of(context, model, rows, _settings(context, budget))
        report = context.ask("combine", request, CombineReport)
        told = report.model_dump(mode="json") | {"set": name if report.within_budget else None}
        kept = row_of(context, model, report.members, report.kl, report.reason, orjson.dumps(told).decode())
        with context.store.write() as conn:
            keep(conn, kept)
        if use or name is not None:
            _require_within(report)
            if use:
                _serve(context, rows, report)
            publish(context.store, context.home, context.settings.serving.max_relative_dose)
    if as_json:
        print_json(told | {"used": use})
        return
    show(report)
    _say_what_is_served(report, use, name)


def chosen_rows(context: "Context", model: "ModelRow", behaviours: Sequence[str]) -> "list[ServedRow]":
    """The served versions that are meant: of those behaviours, or all that are on, for the weights in use.

    Raises:
        UsageError: A behaviour has none, or there are fewer than two.
    """
    from daemon.pipeline.publish import served_for

    with context.store.read() as conn:
        mine = served_for(conn, model)
    there = {row.behaviour: row for row in mine}
    if unknown := [name for name in behaviours if name not in there]:
        raise UsageError(
            f"{', '.join(unknown)}: no vector of it is served; served are: {', '.join(sorted(there)) or 'none'}"
        )
    found = [there[name] for name in dict.fromkeys(behaviours)] or [row for row in mine if row.enabled]
    if len(found) < 2:
        names = ", ".join(row.behaviour for row in found) or "none"
        what = "named" if behaviours else "on"
        raise UsageError(f"combine: needs at least two vectors, {what}: {names}; `reflexd active` shows what is served")
    return found


def _settings(context: "Context", budget: float | None) -> "CombineSettings":
    """Another budget scales both bars."""
    from daemon.pipeline.combine import settings_of

    bars = context.settings.verification
    scale = 1.0 if budget is None else budget / bars.kl_p95_max
    if not scale > 0:
        raise UsageError(f"--budget {budget:g}: must be above 0, in nats")
    return settings_of(bars, scale)


def _require_within(report: "CombineReport") -> None:
    """Refuse doses that together miss the budget on test text.

    Raises:
        UsageError: They do.
    """
    if not report.within_budget:
        raise UsageError(f"the chosen doses are not served: {report.reason}; ask for a smaller --budget")


def _serve(context: "Context", rows: "Sequence[ServedRow]", report: "CombineReport") -> None:
    """The chosen doses in place of those that were measured."""
    import getpass

    from store.served import set_dose

    with context.store.write() as conn:
        for row, effect in zip(rows, report.joint, strict=True):
            at = effect.placements[0]
            set_dose(conn, row.behaviour, at.dose, at.coefficient, context.now(), getpass.getuser())


def show(report: "CombineReport") -> None:
    """Tables for people: interference, the frontier, the chosen doses."""
    names = report.members
    click.echo("what a vector (column) does alone to a behaviour (row), nats a token, on validation pairs")
    cells = {(cross.behaviour, cross.vector): cross for cross in report.cross}
    print_rows(
        [{"": row} | {name: cells[row, name].effect for name in names} | {"n": cells[row, row].n} for row in names],
        False,
        empty="",
    )
    click.echo("\ncosine of the vectors, at the row's layer")
    print_rows(
        [{"": row} | dict(zip(names, line, strict=True)) for row, line in zip(names, report.cosines, strict=True)],
        False,
        empty="",
    )
    click.echo("\nshare of its own effect that each keeps, within a share of the budget, on validation")
    print_rows(
        [
            {"budget": point.budget}
            | {f"{name} kept": kept for name, kept in zip(names, point.kept, strict=True)}
            | {f"{name} dose ×": scale for name, scale in zip(names, point.multipliers, strict=True)}
            | {"neutral KL p95": point.kl_p95, "rmse": point.kl_rmse}
            for point in report.frontier
        ],
        False,
        empty="",
    )
    click.echo(f"\none scale for all that fits the budget: {report.common_scale:.3f}")
    click.echo("\nthe chosen doses, measured once on test pairs and text")
    print_rows([_chosen(effect) for effect in report.joint], False, empty="")
    kl = report.kl
    click.echo(f"neutral KL of all together: mean {kl.mean:.3f}, p95 {kl.p95:.3f}, rmse {kl.rmse:.3f} nat")
    click.echo(f"where a server heeds no gates: p95 {kl.p95_without_gates:.3f} nat")


def _chosen(effect: "object") -> dict[str, object]:
    from daemon.protocol.combine import JointEffect

    assert isinstance(effect, JointEffect)
    low, high = effect.kept_interval or (None, None)
    return {
        "vector": effect.name,
        "layers": ", ".join(str(at.layer) for at in effect.placements),
        "dose": effect.placements[0].dose,
        "alone": effect.single,
        "together": effect.joint,
        "kept": effect.kept,
        "kept low": low,
        "kept high": high,
        "n": effect.n,
    }


def _say_what_is_served(report: "CombineReport", use: bool, name: str | None) -> None:
    if name is not None:
        click.echo(f"set {name}: published with these doses; a request that asks for it gets them")
    if use:
        click.echo("these doses are served from the next request on")
    elif not report.within_budget:
        click.echo(f"not within the budget: {report.reason}")
    elif name is None:
        behaviours = " ".join(member.partition("@")[0] for member in report.members)
        click.echo(f"nothing was changed; `reflexd combine {behaviours} --use` serves these doses")
