"""Looking: what is known, and where everything stands. Reads the store's views; works with the daemon stopped."""

from typing import Any

import click

from daemon.commands.opened import reading
from daemon.commands.output import in_a_line, json_option, print_fields, print_json, print_rows
from daemon.errors import UsageError


@click.command()
@click.argument("behaviour")
@click.option("--split", type=click.Choice(["train", "validation", "test"]), help="Only one side of the split.")
@json_option
@click.pass_context
def pairs(ctx: click.Context, behaviour: str, split: str | None, as_json: bool) -> None:
    """List the contrastive pairs of BEHAVIOUR, with where both sides come from."""
    with reading(ctx) as reader:
        _known(reader.rows("SELECT name FROM behaviour"), behaviour)
        rows = reader.rows(
            "SELECT * FROM pairs WHERE behaviour = ? AND (? IS NULL OR split = ?)", (behaviour, split, split)
        )
    if as_json or not rows:
        print_rows(rows, as_json, empty=f"{behaviour}: no pairs yet; `reflexd once --until mine` looks for them")
        return
    for row in rows:
        pinned = ", pinned" if row["pinned"] else ""
        click.echo(f"{row['pair']}  {row['split']}, weight {row['weight']:.2f}{pinned}, session {row['session']}")
        for title, key in (("asked", "direction"), ("accepted", "positive"), ("rejected", "negative")):
            click.echo(f"  {title:<9} {in_a_line(row[key])}")
    click.echo(f"\n{len(rows)} pairs; `reflexd pair show ID` has one whole, with where both sides come from")


def _known(rows: list[dict[str, object]], name: str) -> None:
    names = sorted(str(row["name"]) for row in rows)
    if name not in names:
        raise UsageError(f"{name}: no such behaviour; known are: {', '.join(names) or 'none yet'}")


@click.command()
@click.argument("behaviour", required=False)
@json_option
@click.pass_context
def vectors(ctx: click.Context, behaviour: str | None, as_json: bool) -> None:
    """List vector versions, of BEHAVIOUR or of all."""
    with reading(ctx) as reader:
        rows = reader.rows("SELECT * FROM vectors WHERE ? IS NULL OR behaviour = ?", (behaviour, behaviour))
    print_rows(rows, as_json, empty="no vectors yet; `reflexd once` extracts them")


@click.command()
@click.argument("vector")
@json_option
@click.pass_context
def show(ctx: click.Context, vector: str, as_json: bool) -> None:
    """Show one version, VECTOR as in `listening@3`: lineage, proof, job. `reflexd report` draws the proof."""
    import orjson

    with reading(ctx) as reader:
        found = reader.rows("SELECT * FROM vectors WHERE vector = ?", (vector,))
        if not found:
            known = ", ".join(str(row["vector"]) for row in reader.rows("SELECT vector FROM vectors"))
            raise UsageError(f"{vector}: no such version; known are: {known or 'none yet'}")
        (identity,) = reader.rows(
            "SELECT v.*, n.report FROM vector_version v LEFT JOIN verification n ON n.vector_id = v.id "
            "WHERE v.behaviour || '@' || v.version = ?",
            (vector,),
        )
        jobs = reader.rows("SELECT * FROM queue WHERE vector = ?", (vector,))
        parent = reader.rows(
            "SELECT behaviour || '@' || version AS vector FROM vector_version WHERE id = ?", (identity["parent_id"],)
        )
    lineage = orjson.loads(str(identity.pop("lineage") or "{}"))
    report = orjson.loads(str(identity.pop("report") or "null"))
    if as_json:
        print_json({**identity, "lineage": lineage, "verification": report, "jobs": jobs})
        return
    print_fields(found[0], False)
    click.echo("\nlineage")
    print_fields(_lineage(identity, lineage, parent[0]["vector"] if parent else None), False)
    if report:
        click.echo("\nproof, on directions never used for extraction")
        print_fields(_proof(report), False)
    if jobs:
        click.echo("\ntraining")
        print_rows(jobs, False, empty="")


def _lineage(identity: dict[str, Any], lineage: dict[str, Any], parent: object) -> dict[str, object]:
    """What it came from and was made with; what an older reflexd did not record is left out."""
    cosines = lineage.get("cosine_to_parent")
    layer = identity["layer"]
    turned = {}
    if cosines and layer is not None and layer < len(cosines):
        turned[f"cosine to it, layer {layer}"] = cosines[layer]
    if cosines and (known := [value for value in cosines if value is not None]):
        turned["cosine to it, all layers"] = f"{min(known):.3f} to {max(known):.3f}"
    told = ("code_version", "python", "threads", "device", "seconds")
    return {
        "made because": lineage.get("because"),
        "parent": parent,
        **turned,
        "pairs_digest": identity["pairs_digest"],
        "model_digest": identity["model_digest"],
        "template_digest": identity["template_digest"],
        "recipe": identity["recipe"],
        **{name: lineage[name] for name in told if lineage.get(name)},
        **lineage.get("libraries", {}),
    }


def _proof(report: dict[str, object]) -> dict[str, object]:
    named = (
        "verdict",
        "reason",
        "effect",
        "effect_interval",
        "base_gap",
        "steered_gap",
        "steerability",
        "anti_steerable",
    )
    nulls = report.get("nulls") or []
    assert isinstance(nulls, list)
    side = report.get("side_effects") or {}
    assert isinstance(side, dict)
    fields = {name: report.get(name) for name in named}
    fields["strongest baseline"] = max((null["effect"] for null in nulls), default=None)
    fields["baselines"] = len(nulls)
    chance, gate = report.get("null_test"), report.get("gate")
    if isinstance(chance, dict):
        fields |= {"what chance does": chance["bar"], "p-value": chance["p_value"]}
    fields |= {f"neutral {name}": value for name, value in side.items()}
    if isinstance(gate, dict):
        fields |= {f"gate {name}": gate[name] for name in ("passed", "effect_kept", "kl_left", "false_open")}
    return fields


@click.command()
@click.argument("behaviour", required=False)
@json_option
@click.pass_context
def history(ctx: click.Context, behaviour: str | None, as_json: bool) -> None:
    """Tell what happened, oldest first, to BEHAVIOUR or to everything."""
    with reading(ctx) as reader:
        rows = reader.rows("SELECT * FROM history WHERE ? IS NULL OR subject LIKE ? || '%'", (behaviour, behaviour))
    print_rows(rows, as_json, empty="nothing has happened yet")


@click.command()
@json_option
@click.pass_context
def queue(ctx: click.Context, as_json: bool) -> None:
    """Show the training queue."""
    with reading(ctx) as reader:
        rows = reader.rows("SELECT * FROM queue")
    print_rows(rows, as_json, empty="the training queue is empty")


@click.command()
@json_option
@click.pass_context
def active(ctx: click.Context, as_json: bool) -> None:
    """Show what is served now, for the current weights, at the doses that servers get.

    `scale` is the share of its own dose that a vector gets, so that all that are on stay within one budget.
    """
    with reading(ctx) as reader:
        rows = reader.rows("SELECT * FROM serving")
    print_rows(rows, as_json, empty="nothing is served: no verified vector, or all of them live in the weights already")
