"""diff: what changed between two versions of a behaviour, down to the episodes."""

from typing import Any

import click

from daemon.commands.opened import reading
from daemon.commands.output import in_a_line, json_option, print_json


@click.command()
@click.argument("before")
@click.argument("after")
@json_option
@click.pass_context
def diff(ctx: click.Context, before: str, after: str, as_json: bool) -> None:
    """Show what changed from BEFORE to AFTER, two versions of one behaviour, as in `listening@2 listening@3`.

    Pairs that came and went with where both sides come from, what the versions were made with, how far the direction
    turned, and what was measured of each.
    """
    from daemon.difference import read_difference

    with reading(ctx) as reader:
        found = read_difference(reader, before, after)
    if as_json:
        print_json(found)
        return
    click.echo("\n".join(difference_lines(found)))


def difference_lines(found: dict[str, Any]) -> list[str]:
    """The difference for people, line by line."""
    one, other = found["from"], found["to"]
    lines = [f"{one['vector']} → {other['vector']}" + (f"   ({other['because']})" if other["because"] else ""), ""]
    for title, texts in (
        ("pairs", [_count(split, counts) for split, counts in found["pairs"].items()]),
        ("direction", [_turned(found["direction"])]),
        ("effect", _step(_effect(one), _effect(other))),
        ("state", _step(_state(one), _state(other))),
        (
            "made with",
            [_made_with(row) for row in found["made_with"]] or ["the same model, recipe, code and libraries"],
        ),
    ):
        lines += [f"{head:<10} {text}" for head, text in zip([title] + [""] * len(texts), texts, strict=False)]
    for title, rows in (("came", found["came"]), ("went", found["went"])):
        if rows:
            lines += ["", f"{len(rows)} pair{'' if len(rows) == 1 else 's'} {title}"]
            lines += [line for row in rows for line in _pair(row, title)]
    return lines


def _count(split: str, counts: dict[str, int]) -> str:
    told = [f"{counts[what]} {what}" for what in ("came", "went") if counts[what]]
    same = f"{counts['same']} the same" if counts["same"] else ""
    how_many = f"{counts['from']} → {counts['to']}" if told else str(counts["to"])
    return f"{split:<10} {how_many}" + (f": {', '.join([*told, same]).rstrip(', ')}" if told else "")


def _turned(direction: dict[str, Any]) -> str:
    if direction["why_not"]:
        return f"not to be compared: {direction['why_not']}"
    known = {i: value for i, value in enumerate(direction["layers"]) if value is not None}
    if not known:
        return "not to be compared: zero in every layer"
    least = min(known, key=lambda i: known[i])
    spread = f"{known[least]:.3f} (layer {least}) to {max(known.values()):.3f} over {len(direction['layers'])} layers"
    chosen = direction["cosine"]
    return f"cosine {spread}" if chosen is None else f"cosine {chosen:.3f} at layer {direction['layer']}; {spread}"


def _effect(version: dict[str, Any]) -> str:
    if version["effect"] is None:
        return "not measured"
    low, high = version["effect_interval"]
    at = f"layer {version['layer']}, dose {version['dose']:.2f}"
    return f"{version['effect']:+.2f} [{low:+.2f}, {high:+.2f}] nats a token at {at}"


def _state(version: dict[str, Any]) -> str:
    told = str(version["state"])
    if version["superseded_by"]:
        told += f" by {version['superseded_by']}"
    if version["reason"]:
        told += f": {version['reason']}"
    return told + (f"; stale: {version['stale']}" if version["stale"] else "")


def _step(before: str, after: str) -> list[str]:
    return [f"{before}, both"] if before == after else [before, f"→ {after}"]


def _made_with(row: dict[str, Any]) -> str:
    before, after = ("not recorded" if row[key] is None else row[key] for key in ("from", "to"))
    return f"{row['what']}: {before} → {after}"


def _pair(row: dict[str, Any], title: str) -> list[str]:
    mark = "+" if title == "came" else "-"
    now = "" if row["now"] == "in use" else f", {row['now']}"
    lines = [f"{mark} {row['pair'][:12]}  {row['split']}, weight {row['weight']:.2f}, session {row['session']}{now}"]
    for name, key in (("asked", "direction"), ("accepted", "positive"), ("rejected", "negative")):
        lines.append(f"    {name:<9} {in_a_line(row[key])}")
        if row.get(f"{key}_from"):
            lines.append(f"              {row[f'{key}_from']}")
    return lines
