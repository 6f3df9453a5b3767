"""mine: label live episodes, pair them within a direction, and give each session its side of the split."""

from collections import Counter
from collections.abc import Sequence
from typing import cast

import orjson

from daemon.pipeline.context import Context
from daemon.pipeline.watch import behaviour_row
from graph.mining import assign_splits, mine_pairs
from graph.patterns import classify
from graph.schema import Behaviour, Episode, Label, Pair, Split
from store.evidence import (
    BehaviourRow,
    EpisodeRow,
    LabelRow,
    PairRow,
    list_behaviours,
    live_episodes,
    live_labels,
    replace_pairs,
    save_behaviours,
    save_labels,
    save_splits,
    splits,
)


def mine(ctx: Context) -> bool:
    """Bring labels, splits and pairs of every behaviour up to date. True if any pair came or went."""
    configured = ctx.behaviours()
    with ctx.store.write() as conn:
        save_behaviours(conn, [behaviour_row(b, _origin(ctx, b)) for b in configured], ctx.now())
        names = {b.name for b in configured}
        own = [_behaviour(row) for row in list_behaviours(conn) if row.origin == "graph" and row.name not in names]
        episodes = _episodes(live_episodes(conn), live_labels(conn))
        mined = {b.name: _mine_one(episodes, b) for b in [*configured, *own]}
        save_labels(conn, [row for labelled, _ in mined.values() for row in labelled])
        sides = cast("dict[str, Split]", splits(conn))
        for _, pairs in mined.values():  # one after the other, so that each behaviour gets its own shares
            sides = assign_splits(_groups(pairs, episodes), sides)
        save_splits(conn, sides, ctx.now())
        changes = {
            name: replace_pairs(conn, name, [pair_row(pair, sides[pair.group]) for pair in pairs], ctx.now())
            for name, (_, pairs) in mined.items()
        }
    for name, change in changes.items():
        if change.added or change.gone:
            ctx.say(f"{name}: {change.added} new pairs, {change.gone} gone, {change.kept} kept")
    return any(change.added or change.gone for change in changes.values())


def _origin(ctx: Context, behaviour: Behaviour) -> str:
    return "config" if behaviour.name in ctx.settings.behaviours else "builtin"


def _behaviour(row: BehaviourRow) -> Behaviour:
    return Behaviour(**{name: getattr(row, name) for name in Behaviour.model_fields})


def _episodes(rows: Sequence[EpisodeRow], labels: Sequence[LabelRow]) -> list[Episode]:
    """Episodes with the labels that their own source gave them (rules are applied afresh)."""
    given: dict[str, list[Label]] = {}
    for label in labels:
        if label.method == "marker":
            body = {name: getattr(label, name) for name in Label.model_fields}
            given.setdefault(label.episode_id, []).append(Label(**body))
    fields = [name for name in Episode.model_fields if name != "labels"]
    return [
        Episode(**{name: getattr(row, name) for name in fields}, labels=tuple(given.get(row.id, ()))) for row in rows
    ]


def _mine_one(episodes: list[Episode], behaviour: Behaviour) -> tuple[list[LabelRow], list[Pair]]:
    labelled = [(episode, classify(episode, behaviour)) for episode in episodes]
    rows = [
        LabelRow(episode_id=e.id, **label.model_dump()) for e, label in labelled if label and label.method != "marker"
    ]
    return rows, mine_pairs(episodes, behaviour)


def _groups(pairs: list[Pair], episodes: list[Episode]) -> list[tuple[str, int]]:
    """Sessions in the order in which they happened, with how many pairs each holds."""
    sizes = Counter(pair.group for pair in pairs)
    first: dict[str, int] = {}
    for episode in episodes:
        first[episode.session] = min(first.get(episode.session, episode.ts), episode.ts)
    return [(group, sizes[group]) for group in sorted(sizes, key=lambda group: (first.get(group, 0), group))]


def pair_row(pair: Pair, split: Split) -> PairRow:
    """The pair as the store keeps it."""
    body = pair.model_dump(mode="json")
    prompt = orjson.dumps(body["prompt"]).decode()
    return PairRow(
        id=pair.id,
        behaviour=pair.behaviour,
        prompt=prompt,
        positive=pair.positive,
        negative=pair.negative,
        group=pair.group,
        split=split,
        weight=pair.weight,
        episodes=pair.episodes,
    )


def as_pair(row: PairRow) -> Pair:
    """The stored pair as the model side wants it."""
    return Pair(
        behaviour=row.behaviour,
        prompt=orjson.loads(row.prompt),
        positive=row.positive,
        negative=row.negative,
        group=row.group,
        weight=row.weight,
        episodes=tuple(row.episodes),
    )
