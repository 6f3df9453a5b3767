"""discover: groups among the corrections, kept as proposals. Runs when a person asks; nothing follows by itself."""

from daemon.pipeline.mine import known_behaviours, stored_episodes
from daemon.settings import Settings
from graph.discovery.propose import Proposal, propose_behaviours
from store.engine import Store
from store.proposals import ProposalRow, list_proposals, replace_proposals


def discover(store: Store, settings: Settings) -> list[ProposalRow]:
    """Look again, and keep what was found as the open proposals; the open ones, the largest first."""
    with store.read() as conn:
        episodes = stored_episodes(conn)
        known = known_behaviours(conn, settings)
    found = propose_behaviours(episodes, known)
    with store.write() as conn:
        replace_proposals(conn, [_row(proposal, store.clock.wall_ms()) for proposal in found])
        rows = {row.name: row for row in list_proposals(conn)}
    return [row for p in found if (row := rows.get(p.name)) and row.adopted_at is None and row.dismissed_at is None]


def _row(proposal: Proposal, now: int) -> ProposalRow:
    evidence = proposal.model_dump(mode="json", exclude={"name", "description", "positive_cues", "negative_cues"})
    return ProposalRow(
        name=proposal.name,
        description=proposal.description,
        positive_cues=proposal.positive_cues,
        negative_cues=proposal.negative_cues,
        evidence=evidence,
        proposed_at=now,
    )
