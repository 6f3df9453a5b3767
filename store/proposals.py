"""Behaviours that were found among corrections and proposed to a person: open until adopted or dismissed.

proposed ─▶ adopted: a behaviour, origin `adopted`
    └─────▶ dismissed: never proposed again
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection

from store.errors import IllegalMoveError, NotFoundError
from store.evidence import BehaviourRow, save_behaviours
from store.rows import one, run, run_many, select, shaped


@dataclass(frozen=True)
class ProposalRow:
    """A behaviour that was found and that does nothing until a person adopts it; `evidence` is JSON."""

    name: str
    description: str
    positive_cues: tuple[str, ...]
    negative_cues: tuple[str, ...]
    evidence: dict[str, Any]
    proposed_at: int
    adopted_at: int | None = None
    dismissed_at: int | None = None


def replace_proposals(conn: Connection, proposals: Sequence[ProposalRow]) -> None:
    """Make the open proposals exactly these; what a person has adopted or dismissed under a name stays decided."""
    run(conn, "DELETE FROM proposed_behaviour WHERE adopted_at IS NULL AND dismissed_at IS NULL")
    lists = ("positive_cues", "negative_cues", "evidence")
    rows = [asdict(each) for each in proposals]
    run_many(
        conn,
        "INSERT INTO proposed_behaviour (name, description, positive_cues, negative_cues, evidence, proposed_at) "
        "VALUES (:name, :description, :positive_cues, :negative_cues, :evidence, :proposed_at) ON CONFLICT DO NOTHING",
        [row | {name: json.dumps(row[name]) for name in lists} for row in rows],
    )


def list_proposals(conn: Connection) -> list[ProposalRow]:
    """Every proposal, open or decided, by name."""
    return [_proposal(row) for row in select(conn, "SELECT * FROM proposed_behaviour ORDER BY name")]


def _proposal(row: dict[str, Any]) -> ProposalRow:
    cues = {name: tuple(json.loads(row[name])) for name in ("positive_cues", "negative_cues")}
    return shaped(ProposalRow, row | cues | {"evidence": json.loads(row["evidence"])})


def adopt_proposal(conn: Connection, name: str, now: int) -> BehaviourRow:
    """Make an open proposal a behaviour.

    Raises:
        NotFoundError: There is no such proposal.
        IllegalMoveError: It is decided, or there is a behaviour of that name.
    """
    proposal = _open_proposal(conn, name)
    if one(conn, "SELECT 1 FROM behaviour WHERE name = :name", name=name):
        raise IllegalMoveError(f"{name}: there is a behaviour of that name; dismiss the proposal")
    made = BehaviourRow(
        name,
        proposal.description,
        "",
        "",
        proposal.positive_cues,
        proposal.negative_cues,
        version="1",
        origin="adopted",
    )
    save_behaviours(conn, [made], now)
    run(conn, "UPDATE proposed_behaviour SET adopted_at = :now WHERE name = :name", now=now, name=name)
    return made


def dismiss_proposal(conn: Connection, name: str, now: int) -> None:
    """Never propose this again.

    Raises:
        NotFoundError: There is no such proposal.
        IllegalMoveError: It is decided.
    """
    _open_proposal(conn, name)
    run(conn, "UPDATE proposed_behaviour SET dismissed_at = :now WHERE name = :name", now=now, name=name)


def _open_proposal(conn: Connection, name: str) -> ProposalRow:
    row = one(conn, "SELECT * FROM proposed_behaviour WHERE name = :name", name=name)
    if row is None:
        raise NotFoundError(f"{name}: no such proposal; `reflexd behaviours propose` lists them")
    found = _proposal(row)
    for decided, how in ((found.adopted_at, "adopted"), (found.dismissed_at, "dismissed")):
        if decided is not None:
            raise IllegalMoveError(f"{name}: was {how} already")
    return found
