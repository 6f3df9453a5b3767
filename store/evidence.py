"""What the memory says: episodes with their labels, behaviours, sides of the split, pairs. Nothing is ever deleted."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection

from store.rows import run, run_many, select, shaped

_DAY_MS = 86_400_000


@dataclass(frozen=True)
class Change:
    """How many came, went, and stayed."""

    added: int
    gone: int
    kept: int


@dataclass(frozen=True)
class EpisodeRow:
    """direction → response → outcome, as stored."""

    id: str
    session: str
    direction_id: str
    direction: str
    response: str
    outcome: str
    signal: str
    weight: float
    pairable: bool
    source_ref: str
    ts: int
    words: str


@dataclass(frozen=True)
class LabelRow:
    """The pole of a behaviour that an episode shows, and how that is known."""

    episode_id: str
    behaviour: str
    pole: str
    method: str
    method_version: str
    weight: float


@dataclass(frozen=True)
class BehaviourRow:
    """A named pattern with two poles."""

    name: str
    description: str
    positive: str
    negative: str
    positive_cues: tuple[str, ...]
    negative_cues: tuple[str, ...]
    version: str
    origin: str


@dataclass(frozen=True)
class PairRow:
    """A contrastive pair; `prompt` is JSON, `episodes` are (positive id, negative id)."""

    id: str
    behaviour: str
    prompt: str
    positive: str
    negative: str
    group: str
    split: str
    weight: float
    episodes: tuple[str, ...]


def replace_episodes(conn: Connection, source_id: int, episodes: Sequence[EpisodeRow], now: int) -> Change:
    """Make the live episodes of a source exactly these; what vanished keeps its row and gets `gone_at`.

    What a source says may change under one id (a weight, a remark). The labels that it gave itself (markers) are
    forgotten: save them anew in the same transaction.
    """
    sql = "SELECT id FROM episode WHERE source_id = :source AND gone_at IS NULL"
    live = {row["id"] for row in select(conn, sql, source=source_id)}
    wanted = {episode.id: episode for episode in episodes}
    run_many(conn, _PUT_EPISODE, [asdict(e) | {"source": source_id, "now": now} for e in wanted.values()])
    forget = "DELETE FROM episode_label WHERE episode_id = :id AND method = 'marker'"
    run_many(conn, forget, [{"id": each} for each in wanted])
    gone = [{"id": each, "now": now} for each in sorted(live - wanted.keys())]
    run_many(conn, "UPDATE episode SET gone_at = :now WHERE id = :id", gone)
    return Change(len(wanted.keys() - live), len(gone), len(live & wanted.keys()))


_PUT_EPISODE = """
INSERT INTO episode (id, source_id, session, direction_id, direction, response, outcome, signal, weight, pairable,
  source_ref, ts, words, seen_at)
VALUES (:id, :source, :session, :direction_id, :direction, :response, :outcome, :signal, :weight, :pairable,
  :source_ref, :ts, :words, :now)
ON CONFLICT (id) DO UPDATE SET gone_at = NULL, source_id = excluded.source_id, source_ref = excluded.source_ref,
  signal = excluded.signal, weight = excluded.weight, pairable = excluded.pairable, ts = excluded.ts,
  words = excluded.words
"""


def live_episodes(conn: Connection) -> list[EpisodeRow]:
    """Every episode that its source still holds, by time."""
    rows = select(conn, "SELECT * FROM episode WHERE gone_at IS NULL ORDER BY ts, id")
    return [shaped(EpisodeRow, row | {"pairable": bool(row["pairable"])}) for row in rows]


def save_labels(conn: Connection, labels: Sequence[LabelRow]) -> None:
    """Add labels; a label of another method or version stands beside the older ones."""
    run_many(
        conn,
        "INSERT INTO episode_label (episode_id, behaviour, pole, method, method_version, weight) "
        "VALUES (:episode_id, :behaviour, :pole, :method, :method_version, :weight) "
        "ON CONFLICT DO UPDATE SET pole = excluded.pole, weight = excluded.weight "
        "WHERE pole <> excluded.pole OR weight <> excluded.weight",
        [asdict(label) for label in labels],
    )


def live_labels(conn: Connection) -> list[LabelRow]:
    """Labels of live episodes."""
    sql = (
        "SELECT l.* FROM episode_label l JOIN episode e ON e.id = l.episode_id WHERE e.gone_at IS NULL ORDER BY l.rowid"
    )
    return [shaped(LabelRow, row) for row in select(conn, sql)]


def episode_days(conn: Connection, ids: Sequence[str]) -> set[int]:
    """The distinct UTC days (counted from 1970) on which these episodes happened."""
    wanted = set(ids)
    return {row["ts"] // _DAY_MS for row in select(conn, "SELECT id, ts FROM episode") if row["id"] in wanted}


def save_behaviours(conn: Connection, behaviours: Sequence[BehaviourRow], now: int) -> None:
    """Add or redefine behaviours."""
    cues = {"positive_cues", "negative_cues"}
    rows = [{k: json.dumps(v) if k in cues else v for k, v in asdict(b).items()} | {"now": now} for b in behaviours]
    run_many(conn, _PUT_BEHAVIOUR, rows)


_PUT_BEHAVIOUR = """
INSERT INTO behaviour (name, description, positive, negative, positive_cues, negative_cues, version, origin, changed_at)
VALUES (:name, :description, :positive, :negative, :positive_cues, :negative_cues, :version, :origin, :now)
ON CONFLICT (name) DO UPDATE SET description = excluded.description, positive = excluded.positive,
  negative = excluded.negative, positive_cues = excluded.positive_cues, negative_cues = excluded.negative_cues,
  version = excluded.version, origin = excluded.origin, changed_at = excluded.changed_at
WHERE (description, positive, negative, positive_cues, negative_cues, version, origin) IS NOT
  (excluded.description, excluded.positive, excluded.negative, excluded.positive_cues, excluded.negative_cues,
   excluded.version, excluded.origin)
"""


def list_behaviours(conn: Connection) -> list[BehaviourRow]:
    """Every behaviour, by name."""
    return [_behaviour(row) for row in select(conn, "SELECT * FROM behaviour ORDER BY name")]


def _behaviour(row: dict[str, Any]) -> BehaviourRow:
    cues = {name: tuple(json.loads(row[name])) for name in ("positive_cues", "negative_cues")}
    return shaped(BehaviourRow, row | cues)


def splits(conn: Connection) -> dict[str, str]:
    """The side of each session that has one."""
    return {row["session"]: row["split"] for row in select(conn, "SELECT session, split FROM session_split")}


def save_splits(conn: Connection, sides: Mapping[str, str], now: int) -> None:
    """Give new sessions their side. A session that has one keeps it, whatever `sides` says."""
    known = splits(conn)
    run_many(
        conn,
        "INSERT INTO session_split (session, split, set_at) VALUES (:session, :split, :now)",
        [{"session": s, "split": side, "now": now} for s, side in sorted(sides.items()) if s not in known],
    )


def replace_pairs(conn: Connection, behaviour: str, pairs: Sequence[PairRow], now: int) -> Change:
    """Make the live pairs of a behaviour exactly these; one that a person dropped stays dropped."""
    sql = "SELECT id FROM pair WHERE behaviour = :behaviour AND gone_at IS NULL"
    live = {row["id"] for row in select(conn, sql, behaviour=behaviour)}
    wanted = {pair.id: pair for pair in pairs}
    new = [pair for each, pair in wanted.items() if each not in live]
    run_many(conn, _PUT_PAIR, [asdict(pair) | {"now": now} for pair in new])
    run_many(
        conn,
        "INSERT INTO pair_episode (pair_id, side, episode_id) VALUES (:pair, :side, :episode) ON CONFLICT DO NOTHING",
        [
            {"pair": pair.id, "side": side, "episode": episode}
            for pair in new
            for side, episode in zip(("positive", "negative"), pair.episodes, strict=False)
        ],
    )
    gone = [{"id": each, "now": now} for each in sorted(live - wanted.keys())]
    run_many(conn, "UPDATE pair SET gone_at = :now WHERE id = :id", gone)
    return Change(len(new), len(gone), len(live & wanted.keys()))


_PUT_PAIR = """
INSERT INTO pair (id, behaviour, prompt, positive, negative, session, weight, mined_at)
VALUES (:id, :behaviour, :prompt, :positive, :negative, :group, :weight, :now)
ON CONFLICT (id) DO UPDATE SET gone_at = NULL, weight = excluded.weight
"""

PAIR_COLUMNS = """
p.id, p.behaviour, p.prompt, p.positive, p.negative, p.session AS "group", p.weight,
  (SELECT episode_id FROM pair_episode WHERE pair_id = p.id AND side = 'positive') AS positive_episode,
  (SELECT episode_id FROM pair_episode WHERE pair_id = p.id AND side = 'negative') AS negative_episode
"""


def live_pairs(conn: Connection, behaviour: str) -> list[PairRow]:
    """Pairs that the memory still holds and nobody dropped, by id."""
    sql = (
        f"SELECT {PAIR_COLUMNS}, s.split FROM pair p JOIN session_split s ON s.session = p.session "
        "WHERE p.behaviour = :behaviour AND p.gone_at IS NULL AND p.dropped_at IS NULL ORDER BY p.id"
    )
    return [pair_row(row) for row in select(conn, sql, behaviour=behaviour)]


def pair_row(row: dict[str, Any]) -> PairRow:
    """A row of `PAIR_COLUMNS` and a split."""
    sides = (row["positive_episode"], row["negative_episode"])
    return shaped(PairRow, row | {"episodes": sides if all(sides) else ()})


def drop_pair(conn: Connection, pair_id: str, now: int) -> bool:
    """Drop a pair for good; False when there is no such live pair."""
    return run(conn, "UPDATE pair SET dropped_at = :now WHERE id = :id AND dropped_at IS NULL", now=now, id=pair_id) > 0
