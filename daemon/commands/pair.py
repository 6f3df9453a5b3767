"""One contrastive pair: read it whole, drop it for good, or pin it."""

import getpass
from typing import TYPE_CHECKING

import click

from daemon.commands.opened import home_of, opened_store, reading
from daemon.commands.output import json_option, print_fields, print_json
from daemon.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

_PAIR = """
SELECT p.*, v.split, v.direction, v.positive_from, v.negative_from,
  ep.words AS positive_words, ep.signal AS positive_signal, en.words AS negative_words, en.signal AS negative_signal,
  (SELECT group_concat(x.behaviour || '@' || x.version, ', ')
   FROM vector_pair f JOIN vector_version x ON x.id = f.vector_id WHERE f.pair_id = p.id) AS feeds
FROM pair p LEFT JOIN pairs v ON v.pair = substr(p.id, 1, 12)
LEFT JOIN pair_episode pp ON pp.pair_id = p.id AND pp.side = 'positive' LEFT JOIN episode ep ON ep.id = pp.episode_id
LEFT JOIN pair_episode pn ON pn.pair_id = p.id AND pn.side = 'negative' LEFT JOIN episode en ON en.id = pn.episode_id
WHERE p.id LIKE ? || '%'
"""


@click.group()
def pair() -> None:
    """Read one pair, drop it or pin it; `reflexd pairs B` lists them with their ids."""


@pair.command("show")
@click.argument("pair_id", metavar="PAIR")
@json_option
@click.pass_context
def pair_show(ctx: click.Context, pair_id: str, as_json: bool) -> None:
    """Show PAIR (its id, or the beginning of it) whole: both sides, where each comes from, what it feeds."""
    if not pair_id.isalnum():
        raise UsageError(f"{pair_id}: no pair id; `reflexd pairs B` shows them")
    with reading(ctx) as reader:
        rows = reader.rows(_PAIR, (pair_id,))
    if len(rows) != 1:
        many = (
            f"{len(rows)} pairs begin with it; type more of it"
            if rows
            else "no such pair; `reflexd pairs B` lists them"
        )
        raise UsageError(f"{pair_id}: {many}")
    (row,) = rows
    if as_json:
        print_json(row)
        return
    print_fields(
        {
            "pair": row["id"],
            "behaviour": row["behaviour"],
            "session": row["session"],
            "split": row["split"],
            "weight": row["weight"],
            "state": _state(row),
            "feeds": row["feeds"],
        },
        False,
    )
    for title, key in (("asked", "direction"), ("accepted", "positive"), ("rejected", "negative")):
        source = row.get(f"{key}_from")
        click.echo(f"\n{title}{f'  ({source})' if source else ''}\n  {row[key] or row['prompt']}")
        if row.get(f"{key}_words"):
            click.echo(f"  └ the human, {row[f'{key}_signal']}: {row[f'{key}_words']}")


def _state(row: dict[str, object]) -> str:
    if row["dropped_at"]:
        return "dropped"
    if row["gone_at"]:
        return "no longer mined"
    return "pinned" if row["pinned_at"] else "in use"


def _change(ctx: click.Context, pair_id: str, change: "Callable[[Connection, str, int, str], object]") -> str:
    """Find the pair and run `change(conn, id, now, actor)` on it, in one transaction; its id."""
    from store.evidence import find_pair

    with opened_store(home_of(ctx)) as store, store.write() as conn:
        found = find_pair(conn, pair_id)
        change(conn, found, store.clock.wall_ms(), getpass.getuser())
    return found


@pair.command("drop")
@click.argument("pair_id", metavar="PAIR")
@click.pass_context
def pair_drop(ctx: click.Context, pair_id: str) -> None:
    """Drop PAIR for good: mining never brings it back, and each vector that it fed is marked stale."""
    from store.evidence import drop_pair

    found = _change(ctx, pair_id, drop_pair)
    with reading(ctx) as reader:
        stale = reader.rows("SELECT vector FROM vectors WHERE stale LIKE '%' || ? || '%'", (found[:12],))
    told = ", ".join(str(row["vector"]) for row in stale)
    click.echo(f"pair {found[:12]}: dropped" + (f"; stale now: {told}" if told else ""))


@pair.command("pin")
@click.argument("pair_id", metavar="PAIR")
@click.pass_context
def pair_pin(ctx: click.Context, pair_id: str) -> None:
    """Pin PAIR: no cap ever leaves it out."""
    from store.evidence import pin_pair

    click.echo(f"pair {_change(ctx, pair_id, pin_pair)[:12]}: pinned")


@pair.command("unpin")
@click.argument("pair_id", metavar="PAIR")
@click.pass_context
def pair_unpin(ctx: click.Context, pair_id: str) -> None:
    """Let the caps decide about PAIR again."""
    from store.evidence import unpin_pair

    click.echo(f"pair {_change(ctx, pair_id, unpin_pair)[:12]}: no longer pinned")
