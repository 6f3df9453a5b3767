"""How much one session, source or day may say, and what became of everything that could have been a pair."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from pydantic import Field

from graph.schema import Frozen, Pair

__all__ = ["Candidate", "MiningLimits", "MiningReport", "capped", "source_of"]

_DAY_MS = 86_400_000


class MiningLimits(Frozen):
    """Caps, so that no single conversation, source or day can steer alone, and what may be matched."""

    per_session: int = Field(default=12, ge=1, description="Most pairs of one behaviour from one session.")
    per_source: int = Field(
        default=200, ge=1, description="Most pairs of one behaviour from one source, a file of one kind (`kind:file`)."
    )
    per_day: int = Field(
        default=40, ge=1, description="Most pairs of one behaviour from one day (UTC); undated ones are not counted."
    )
    near_duplicate: float = Field(
        default=0.8,
        gt=0,
        le=1,
        description="Share of words and runs of words in common from which a pair repeats an earlier one; "
        "1 collapses only what differs in nothing but case, punctuation and numbers.",
    )
    match_similarity: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="How alike two directions of one session must be, for an accepted response to one to be set "
        "against a rejected response to the other; 1 matches the same words only.",
    )


class MiningReport(Frozen):
    """What became of each rejected response that shows a behaviour: paired, or left out, and why. They add up."""

    positives: int = Field(default=0, description="Accepted responses that show the positive pole.")
    negatives: int = Field(default=0, description="Rejected responses that show the negative pole.")
    by_direction: int = Field(default=0, description="Set against an accepted response to the same direction.")
    by_similarity: int = Field(default=0, description="Set against an accepted response to a like direction.")
    no_counterpart: int = Field(default=0, description="No accepted response in the session is near enough.")
    incomparable: int = Field(default=0, description="Too unlike in length, without a stance, or the same words.")
    duplicate: int = Field(default=0, description="Nearly an earlier pair, word for word.")
    dropped: int = Field(default=0, description="A person dropped this pair.")
    capped_session: int = Field(default=0, description="The session has its share already.")
    capped_source: int = Field(default=0, description="The source has its share already.")
    capped_day: int = Field(default=0, description="The day has its share already.")
    kept: int = Field(default=0, description="What is left: the pairs.")


@dataclass(frozen=True)
class Candidate:
    """A pair with when its evidence was complete (UTC milliseconds, 0 unknown) and where it comes from."""

    pair: Pair
    ts: int
    source: str

    @property
    def order(self) -> tuple[int, str]:
        """By time, then id."""
        return self.ts, self.pair.id


def source_of(source_ref: str) -> str:
    """`kind:file` of `kind:file:place`; places may hold colons."""
    return ":".join(source_ref.split(":", 2)[:2])


def capped(
    candidates: Sequence[Candidate], limits: MiningLimits, pinned: Collection[str]
) -> tuple[list[Candidate], Counter[str]]:
    """What stays within the limits, by time, and how many went beyond which.

    Pinned pairs always stay, and take their room first; then the heaviest, of equals the earliest.
    """
    room: Counter[tuple[str, str]] = Counter()
    kept: list[Candidate] = []
    over: Counter[str] = Counter()
    for candidate in sorted(candidates, key=lambda c: (c.pair.id not in pinned, -c.pair.weight, *c.order)):
        takes = [
            ("capped_session", candidate.pair.group, limits.per_session),
            ("capped_source", candidate.source, limits.per_source),
            *([("capped_day", str(candidate.ts // _DAY_MS), limits.per_day)] if candidate.ts else []),
        ]
        full = next((reason for reason, where, most in takes if room[reason, where] >= most), None)
        if full is None or candidate.pair.id in pinned:
            kept.append(candidate)
            room.update((reason, where) for reason, where, _ in takes)
        else:
            over[full] += 1
    return sorted(kept, key=lambda candidate: candidate.order), over
