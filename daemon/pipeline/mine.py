"""mine: label live episodes, pair them within a direction, and give each session its side of the split."""

from collections import Counter
from dataclasses import dataclass
from typing import cast

import orjson
from sqlalchemy import Connection

from daemon.pipeline.context import Context
from daemon.pipeline.intake import behaviour_row
from daemon.settings import Settings
from graph.behaviours.patterns import classify
from graph.mining.pairs import MiningLimits, MiningReport, assign_splits
from graph.mining.pairs import mine as mine_pairs
from graph.schema import Behaviour, Episode, Label, Outcome, Pair, Split
from store.evidence import (
    BehaviourRow,
    LabelRow,
    PairRow,
    decided_pairs,
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
    with ctx.store.write() as conn:
        save_behaviours(conn, [behaviour_row(b, _origin(ctx.settings, b)) for b in ctx.behaviours()], ctx.now())
        episodes = stored_episodes(conn)
        known = known_behaviours(conn, ctx.settings)
        mined = {b.name: _mine_one(conn, episodes, b, ctx.settings.mining) for b in known}
        sides = cast("dict[str, Split]", splits(conn))
        for pairs, _ in mined.values():  # one after the other, so that each behaviour gets its own shares
            sides = assign_splits(_groups(pairs, episodes), sides)
        save_splits(conn, sides, ctx.now())
        changes = {
            name: replace_pairs(conn, name, [pair_row(pair, sides[pair.group]) for pair in pairs], ctx.now())
            for name, (pairs, _) in mined.items()
        }
    for name, change in changes.items():
        if change.added or change.gone:
            left = _left_out(mined[name][1])
            ctx.say(f"{name}: {change.added} new pairs, {change.gone} gone, {change.kept} kept{left}")
    if episodes and not any(change.added or change.kept for change in changes.values()):
        ctx.say(f"no pairs in {len(episodes)} episodes; `reflexd why B` says what is missing (B: {', '.join(changes)})")
    return any(change.added or change.gone for change in changes.values())


_WHY_NOT = {
    "no_counterpart": "without a counterpart",
    "incomparable": "incomparable",
    "duplicate": "duplicates",
    "capped_session": "over the session's share",
    "capped_source": "over the source's share",
    "capped_day": "over the day's share",
}


def _left_out(report: MiningReport) -> str:
    told = [f"{n} {words}" for name, words in _WHY_NOT.items() if (n := getattr(report, name))]
    return f"; left out: {', '.join(told)}" if told else ""


def _origin(settings: Settings, behaviour: Behaviour) -> str:
    return "config" if behaviour.name in settings.behaviours else "builtin"


def known_behaviours(conn: Connection, settings: Settings) -> list[Behaviour]:
    """Built-in and configured behaviours, then those of the memory and those that a person adopted."""
    configured = settings.known_behaviours()
    names = {b.name for b in configured} | {name for name, own in settings.behaviours.items() if not own.enabled}
    rows = [row for row in list_behaviours(conn) if row.origin in {"graph", "adopted"} and row.name not in names]
    return [*configured, *(_behaviour(row) for row in rows)]


def _behaviour(row: BehaviourRow) -> Behaviour:
    return Behaviour(**{name: getattr(row, name) for name in Behaviour.model_fields})


def stored_episodes(conn: Connection) -> list[Episode]:
    """Live episodes with the labels that their own source gave them (rules are applied afresh)."""
    given: dict[str, list[Label]] = {}
    for label in live_labels(conn):
        if label.method == "marker":
            body = {name: getattr(label, name) for name in Label.model_fields}
            given.setdefault(label.episode_id, []).append(Label(**body))
    fields = [name for name in Episode.model_fields if name not in {"labels", "node"}]
    return [
        Episode(**{name: getattr(row, name) for name in fields}, labels=tuple(given.get(row.id, ())))
        for row in live_episodes(conn)
    ]


def _mine_one(
    conn: Connection, episodes: list[Episode], behaviour: Behaviour, limits: MiningLimits
) -> tuple[list[Pair], MiningReport]:
    labelled = [(episode, classify(episode, behaviour)) for episode in episodes]
    save_labels(
        conn,
        [
            LabelRow(episode_id=e.id, **label.model_dump())
            for e, label in labelled
            if label and label.method != "marker"
        ],
    )
    return _pairs_of(conn, episodes, behaviour, limits)


def _pairs_of(
    conn: Connection, episodes: list[Episode], behaviour: Behaviour, limits: MiningLimits
) -> tuple[list[Pair], MiningReport]:
    decided = decided_pairs(conn, behaviour.name)
    return mine_pairs(episodes, behaviour, limits, pinned=decided.pinned, dropped=decided.dropped)


@dataclass(frozen=True)
class Mined:
    """What mining makes of the evidence for one behaviour.

    `accepted` and `rejected` are how many responses ended so and may be a side of a pair, whatever they show.
    """

    accepted: int
    rejected: int
    report: MiningReport


def mined_now(conn: Connection, behaviour: Behaviour, limits: MiningLimits) -> Mined:
    """What mining would make of the live evidence now; writes nothing."""
    episodes = stored_episodes(conn)
    ended = Counter(episode.outcome for episode in episodes if episode.pairable)
    _, report = _pairs_of(conn, episodes, behaviour, limits)
    return Mined(ended[Outcome.ACCEPTED], ended[Outcome.REJECTED] + ended[Outcome.CORRECTED], report)


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
