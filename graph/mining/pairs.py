"""Episodes become contrastive pairs: once answered well and once not, and nothing else different.

    accepted, positive pole ─┐ same session: same direction, else a like one
                             ├──────▶ stances of like length ──▶ no near-duplicate ──▶ within the caps ──▶ pair
    rejected, negative pole ─┘

A pair never spans sessions. Sessions are what a split divides, and one that is on a side stays there: a response
borrowed from another session would carry that session's words to the other side, if not today then once it brings a
pair of its own. Little is lost: directions of different sessions are seldom about the same matter.

`assign_splits`, `read_pairs_file` and `write_pairs_file` live beside this and are offered here too.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from graph.behaviours.patterns import classify
from graph.mining.duplicates import first_of_alike, normalised
from graph.mining.limits import Candidate, MiningLimits, MiningReport, capped, source_of
from graph.mining.pairs_file import read_pairs_file, write_pairs_file
from graph.mining.similarity import Similarity, content_words, dot
from graph.mining.splits import assign_splits
from graph.mining.stance import Comparable, comparable, stance
from graph.schema import Behaviour, ChatMessage, Episode, Label, Outcome, Pair, Pole

__all__ = [
    "MiningLimits",
    "MiningReport",
    "assign_splits",
    "mine",
    "normalised",
    "read_pairs_file",
    "write_pairs_file",
]

_ENDED = {
    "positive": frozenset({Outcome.ACCEPTED}),
    "negative": frozenset({Outcome.REJECTED, Outcome.CORRECTED}),
}
_OF_DIRECTION = 0.75
"""How much of a match is the directions' likeness; the rest is the responses'."""

_NAMES_A_MATTER = 3


@dataclass(frozen=True)
class _Side:
    """An episode that shows a pole, and how much it counts: the outcome's weight times the label's."""

    episode: Episode
    label: Label
    weight: float

    @property
    def order(self) -> tuple[int, str]:
        return self.episode.ts, self.episode.id

    @property
    def thread(self) -> tuple[str, str, str]:
        """The text is part of it: an edited direction is another one."""
        return self.episode.session, self.episode.direction_id, self.episode.direction


def mine(
    episodes: Sequence[Episode],
    behaviour: Behaviour,
    limits: MiningLimits = MiningLimits(),  # noqa: B008 - frozen
    pinned: Collection[str] = frozenset(),
    dropped: Collection[str] = frozenset(),
) -> tuple[list[Pair], MiningReport]:
    """All pairs of `behaviour`, by time, then id, and what became of every rejected response that shows it.

    `pinned` and `dropped` are ids of pairs. A pinned one is never taken for a duplicate and never capped; a dropped one
    is left out, and so is what nearly repeats it.

    Raises:
        GraphError: A cue of the behaviour is no usable regular expression.
    """
    good, bad = (_showing(episodes, behaviour, pole) for pole in ("positive", "negative"))
    counts: Counter[str] = Counter(positives=len(good), negatives=len(bad))
    by_direction = _by_direction(good, bad, behaviour, counts)
    alone = [side for side in bad if side.episode.id not in by_direction]
    by_similarity = _by_similarity(good, alone, behaviour, limits.match_similarity)
    counts["by_direction"] = sum(pair is not None for pair in by_direction.values())
    counts["by_similarity"] = len(by_similarity)
    counts["no_counterpart"] = len(alone) - len(by_similarity)
    found = {id_: pair for id_, pair in (by_direction | by_similarity).items() if pair is not None}
    distinct = _distinct(_candidates(found, good, bad), limits.near_duplicate, pinned, dropped, counts)
    kept, over = capped(distinct, limits, pinned)
    counts.update(over, kept=len(kept))
    return [candidate.pair for candidate in kept], MiningReport(**counts)


def _showing(episodes: Iterable[Episode], behaviour: Behaviour, pole: Pole) -> list[_Side]:
    """Pairable episodes that show `pole` and ended as it should end, by time."""
    ended = [episode for episode in episodes if episode.pairable and episode.outcome in _ENDED[pole]]
    labelled = [(episode, classify(episode, behaviour)) for episode in ended]
    sides = [_Side(e, label, e.weight * label.weight) for e, label in labelled if label and label.pole == pole]
    return sorted((side for side in sides if side.weight > 0), key=lambda side: side.order)


def _by_direction(
    good: list[_Side], bad: list[_Side], behaviour: Behaviour, counts: Counter[str]
) -> dict[str, Pair | None]:
    """Negative episode → its pair with an accepted response to the same direction; None where none can be compared.

    The first accepted after it is tried first: it is what the correction led to.
    """
    threads: dict[tuple[str, str, str], list[_Side]] = {}
    for side in good:
        threads.setdefault(side.thread, []).append(side)
    found: dict[str, Pair | None] = {}
    for side in bad:
        answers = threads.get(side.thread, [])
        later = [answer for answer in answers if answer.episode.ts >= side.episode.ts]
        tried = (_pair(answer, side, behaviour) for answer in (*later, *answers))
        if answers:
            found[side.episode.id] = next((pair for pair in tried if pair is not None), None)
            counts["incomparable"] += found[side.episode.id] is None
    return found


def _by_similarity(good: list[_Side], alone: list[_Side], behaviour: Behaviour, floor: float) -> dict[str, Pair]:
    """Negative episode → its pair with an accepted response to a like direction of its session, the best match first.

    An accepted response serves once, so that one good answer does not stand for a whole session.
    """
    sessions: dict[str, list[_Side]] = {}
    for side in filter(_says_what, good):
        sessions.setdefault(side.episode.session, []).append(side)
    asking = [side for side in alone if side.episode.session in sessions and _says_what(side)]
    near = [(side, answer) for side in asking for answer in sessions[side.episode.session]]
    found: dict[str, Pair] = {}
    used: set[str] = set()
    for score, side, answer in _scored(near, floor):
        if side.episode.id in found or answer.episode.id in used:
            continue
        pair = _pair(answer, side, behaviour, score)
        if pair is not None:
            found[side.episode.id] = pair
            used.add(answer.episode.id)
    return found


def _says_what(side: _Side) -> bool:
    """Whether its direction names a matter: "push it" is like any other "push it"."""
    return len(set(content_words(side.episode.direction))) >= _NAMES_A_MATTER


def _scored(near: list[tuple[_Side, _Side]], floor: float) -> Iterator[tuple[float, _Side, _Side]]:
    """(score, negative, positive) of those whose directions are alike by `floor` or more, the best first."""
    directions = {side.episode.direction for pair in near for side in pair}
    measure = Similarity.of(sorted(directions))
    vector = lru_cache(maxsize=None)(measure.vector)
    scored = []
    for bad, good in near:
        asked = dot(vector(bad.episode.direction), vector(good.episode.direction))
        if asked >= floor:
            said = dot(vector(stance(bad.episode.response)), vector(stance(good.episode.response)))
            scored.append((round(_OF_DIRECTION * asked + (1 - _OF_DIRECTION) * said, 12), bad, good))
    yield from sorted(scored, key=lambda found: (-found[0], found[1].order, found[2].order))


def _pair(good: _Side, bad: _Side, behaviour: Behaviour, likeness: float | None = None) -> Pair | None:
    """A pair for the direction of `bad`, or None if the two cannot be compared once they are cut to like length.

    `likeness` is how well the other direction of `good` matches, None where both answer the same.
    """
    sides = comparable(good.episode.response, bad.episode.response)
    if not isinstance(sides, Comparable) or normalised(sides.positive) == normalised(sides.negative):
        return None
    if not (_still(good, sides.positive, behaviour) and _still(bad, sides.negative, behaviour)):
        return None
    return Pair(
        behaviour=behaviour.name,
        prompt=(ChatMessage(role="user", content=bad.episode.direction),),
        positive=sides.positive,
        negative=sides.negative,
        group=bad.episode.session,
        weight=min(good.weight, bad.weight) * (1.0 if likeness is None else likeness),
        episodes=(good.episode.id, bad.episode.id),
    )


def _still(side: _Side, text: str, behaviour: Behaviour) -> bool:
    """Whether what is left of a response still shows its pole; the memory's own word stands for the whole of it."""
    if side.label.method == "marker" or text == side.episode.response:
        return True
    label = classify(side.episode.model_copy(update={"response": text}), behaviour)
    return label is not None and label.pole == side.label.pole


def _candidates(pairs: dict[str, Pair], good: list[_Side], bad: list[_Side]) -> list[Candidate]:
    episodes = {side.episode.id: side.episode for side in (*good, *bad)}
    return [
        Candidate(pair, max(episodes[one].ts for one in pair.episodes), source_of(episodes[negative].source_ref))
        for negative, pair in pairs.items()
    ]


def _distinct(
    candidates: list[Candidate],
    threshold: float,
    pinned: Collection[str],
    dropped: Collection[str],
    counts: Counter[str],
) -> list[Candidate]:
    """The earliest of near-duplicates, in whichever session, without what a person dropped and what repeats that."""
    ordered = sorted(candidates, key=lambda c: (c.pair.id not in pinned, c.pair.id not in dropped, *c.order))
    first = first_of_alike([_texts(candidate.pair) for candidate in ordered], threshold)
    kept = []
    for index, candidate in enumerate(ordered):
        if candidate.pair.id in dropped or (first[index] != index and ordered[first[index]].pair.id in dropped):
            counts["dropped"] += 1
        elif first[index] == index or candidate.pair.id in pinned:
            kept.append(candidate)
        else:
            counts["duplicate"] += 1
    return kept


def _texts(pair: Pair) -> tuple[str, str, str]:
    asked = [pair.prompt] if isinstance(pair.prompt, str) else [message.content for message in pair.prompt]
    return "\n".join(asked), pair.positive, pair.negative
