"""What the memory says: episodes with their labels, behaviours, sides of the split, pairs, and a person's word on them.

Nothing that was known is ever deleted: an episode or a pair that is no more gets `gone_at`.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection

from store.errors import IllegalMoveError, NotFoundError
from store.rows import one, run, run_many, select, shaped

_DAY_MS = 86_400_000


@dataclass(frozen=True)
class Change:
    """How many came, went, and stayed."""

    added: int
    gone: int
    kept: int

    def __add__(self, other: "Change") -> "Change":
        return Change(self.added + other.added, self.gone + other.gone, self.kept + other.kept)


@dataclass(frozen=True)
class EpisodeRow:
    """direction → response → outcome, as stored. `response_node` is None where there were no nodes yet."""

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
    response_node: str | None


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
    """A contrastive pair; `prompt` is JSON, `episodes` are (positive id, negative id), `pinned` is a person's word."""

    id: str
    behaviour: str
    prompt: str
    positive: str
    negative: str
    group: str
    split: str
    weight: float
    episodes: tuple[str, ...]
    pinned: bool = False


def save_episodes(
    conn: Connection, source_id: int, responses: Collection[str], episodes: Sequence[EpisodeRow], now: int
) -> Change:
    """Make the live episodes of these responses (node ids) exactly `episodes`; others keep their row and get `gone_at`.

    What a source says may change under one id (a weight, a remark). The labels that it gave itself (markers) are
    forgotten: save them anew in the same transaction. Episodes that the source gave before there were nodes were read
    from one file, whole; so is this read, and those that it does not give are gone.
    """
    wanted = {episode.id: episode for episode in episodes}
    asked = {"source": source_id, "responses": json.dumps(sorted(responses)), "ids": json.dumps(sorted(wanted))}
    live = {row["id"] for row in select(conn, _LIVE_EPISODES, **asked)}
    run_many(conn, _PUT_EPISODE, [asdict(e) | {"source": source_id, "now": now} for e in wanted.values()])
    forget = "DELETE FROM episode_label WHERE episode_id = :id AND method = 'marker'"
    run_many(conn, forget, [{"id": each} for each in wanted])
    gone = [{"id": each, "now": now} for each in sorted(live - wanted.keys())]
    run_many(conn, "UPDATE episode SET gone_at = :now WHERE id = :id", gone)
    return Change(len(wanted.keys() - live), len(gone), len(live & wanted.keys()))


_LIVE_EPISODES = """
SELECT id FROM episode WHERE gone_at IS NULL AND response_node IN (SELECT value FROM json_each(:responses))
UNION SELECT id FROM episode WHERE gone_at IS NULL AND response_node IS NULL AND source_id = :source
UNION SELECT e.id FROM json_each(:ids) j CROSS JOIN episode e ON e.id = j.value WHERE e.gone_at IS NULL
"""

_PUT_EPISODE = """
INSERT INTO episode (id, source_id, session, direction_id, direction, response, outcome, signal, weight, pairable,
  source_ref, ts, words, response_node, seen_at)
VALUES (:id, :source, :session, :direction_id, :direction, :response, :outcome, :signal, :weight, :pairable,
  :source_ref, :ts, :words, :response_node, :now)
ON CONFLICT (id) DO UPDATE SET gone_at = NULL, source_id = excluded.source_id, source_ref = excluded.source_ref,
  signal = excluded.signal, weight = excluded.weight, pairable = excluded.pairable, ts = excluded.ts,
  words = excluded.words, response_node = excluded.response_node
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


def classifier_version(conn: Connection, name: str) -> str | None:
    """The version of a judge that has judged what is here; None when none has."""
    row = one(conn, "SELECT version FROM classifier WHERE name = :name", name=name)
    return row["version"] if row else None


def save_classifier(conn: Connection, name: str, version: str, now: int) -> None:
    """This version of a judge has judged all that is here."""
    sql = (
        "INSERT INTO classifier (name, version, applied_at) VALUES (:name, :version, :now) "
        "ON CONFLICT (name) DO UPDATE SET version = excluded.version, applied_at = excluded.applied_at"
    )
    run(conn, sql, name=name, version=version, now=now)


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
    """Make the live pairs of a behaviour exactly these and the pinned ones; a dropped one stays dropped."""
    sql = "SELECT id, gone_at, pinned_at FROM pair WHERE behaviour = :behaviour"
    known = {row["id"]: row for row in select(conn, sql, behaviour=behaviour)}
    live = {each for each, row in known.items() if row["gone_at"] is None}
    wanted = {pair.id: pair for pair in pairs}
    new = [pair for each, pair in wanted.items() if each not in live]
    run_many(conn, _NEW_PAIR, [asdict(pair) | {"now": now} for pair in new if pair.id not in known])
    run_many(conn, _PAIR_AGAIN, [asdict(pair) for pair in new if pair.id in known])
    run_many(
        conn,
        "INSERT INTO pair_episode (pair_id, side, episode_id) VALUES (:pair, :side, :episode) ON CONFLICT DO NOTHING",
        [
            {"pair": pair.id, "side": side, "episode": episode}
            for pair in new
            for side, episode in zip(("positive", "negative"), pair.episodes, strict=False)
        ],
    )
    lost = sorted(each for each in live - wanted.keys() if known[each]["pinned_at"] is None)
    run_many(conn, "UPDATE pair SET gone_at = :now WHERE id = :id", [{"id": each, "now": now} for each in lost])
    return Change(len(new), len(lost), len(live) - len(lost))


_NEW_PAIR = """
INSERT INTO pair (id, behaviour, prompt, positive, negative, session, weight, mined_at)
VALUES (:id, :behaviour, :prompt, :positive, :negative, :group, :weight, :now)
"""
_PAIR_AGAIN = "UPDATE pair SET gone_at = NULL, weight = :weight WHERE id = :id"

PAIR_COLUMNS = """
p.id, p.behaviour, p.prompt, p.positive, p.negative, p.session AS "group", p.weight,
  p.pinned_at IS NOT NULL AS pinned,
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
    return shaped(PairRow, row | {"episodes": sides if all(sides) else (), "pinned": bool(row["pinned"])})


def find_pair(conn: Connection, prefix: str) -> str:
    """The id of the one pair, live or not, that begins with `prefix`.

    Raises:
        NotFoundError: None does, or several do.
    """
    sql = "SELECT id FROM pair WHERE substr(id, 1, length(:prefix)) = :prefix ORDER BY id"
    found = [row["id"] for row in select(conn, sql, prefix=prefix)] if prefix else []
    if len(found) > 1:
        raise NotFoundError(f"pair {prefix}: {len(found)} pairs begin so; give more of it")
    if not found:
        raise NotFoundError(f"pair {prefix}: no such pair; `reflexd pairs BEHAVIOUR` lists them")
    return str(found[0])


def drop_pair(conn: Connection, pair_id: str, now: int, actor: str) -> bool:
    """Drop a pair for good: the vectors that it fed are stale from now on. False when it is dropped already.

    Raises:
        NotFoundError: There is no such pair.
        IllegalMoveError: It is pinned.
    """
    row = _pair_standing(conn, pair_id)
    if row["pinned_at"] is not None:
        raise IllegalMoveError(f"pair {pair_id[:12]}: is pinned; unpin it first")
    if row["dropped_at"] is not None:
        return False
    return _decide(conn, pair_id, "dropped_at = :now", now, actor)


def pin_pair(conn: Connection, pair_id: str, now: int, actor: str) -> bool:
    """Keep a pair live, whatever is mined. False when it is pinned already.

    Raises:
        NotFoundError: There is no such pair.
        IllegalMoveError: It is dropped.
    """
    row = _pair_standing(conn, pair_id)
    if row["dropped_at"] is not None:
        raise IllegalMoveError(f"pair {pair_id[:12]}: is dropped, and stays dropped")
    if row["pinned_at"] is not None:
        return False
    return _decide(conn, pair_id, "pinned_at = :now, gone_at = NULL", now, actor)


def unpin_pair(conn: Connection, pair_id: str, now: int, actor: str) -> bool:
    """Leave a pair to the mining again. False when it is not pinned.

    Raises:
        NotFoundError: There is no such pair.
    """
    if _pair_standing(conn, pair_id)["pinned_at"] is None:
        return False
    return _decide(conn, pair_id, "pinned_at = NULL", now, actor)


def _pair_standing(conn: Connection, pair_id: str) -> dict[str, Any]:
    row = one(conn, "SELECT dropped_at, pinned_at FROM pair WHERE id = :id", id=pair_id)
    if row is None:
        raise NotFoundError(f"pair {pair_id[:12]}: no such pair; `reflexd pairs BEHAVIOUR` lists them")
    return row


def _decide(conn: Connection, pair_id: str, changes: str, now: int, actor: str) -> bool:
    sql = f"UPDATE pair SET {changes}, changed_by = :actor, changed_at = :now WHERE id = :id"
    return run(conn, sql, now=now, actor=actor, id=pair_id) > 0


@dataclass(frozen=True)
class Decided:
    """Ids of pairs that a person pinned, and of those that a person dropped."""

    pinned: frozenset[str]
    dropped: frozenset[str]


def decided_pairs(conn: Connection, behaviour: str) -> Decided:
    """What people have decided about the pairs of a behaviour."""
    rows = select(
        conn,
        "SELECT id, pinned_at, dropped_at FROM pair "
        "WHERE behaviour = :behaviour AND (pinned_at IS NOT NULL OR dropped_at IS NOT NULL)",
        behaviour=behaviour,
    )
    return Decided(
        pinned=frozenset(row["id"] for row in rows if row["pinned_at"] is not None),
        dropped=frozenset(row["id"] for row in rows if row["dropped_at"] is not None),
    )
