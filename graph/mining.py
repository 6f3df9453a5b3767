"""Episodes become contrastive pairs: the same direction, once answered well and once not, and nothing else different.

    accepted, positive pole ─┐
                             ├─ same session, same direction ─▶ pair (weight: the weaker side's)
    rejected, negative pole ─┘

`assign_splits`, `read_pairs_file` and `write_pairs_file` live beside this and are offered here too.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

from graph.pairs_file import read_pairs_file, write_pairs_file
from graph.patterns import classify
from graph.schema import Behaviour, ChatMessage, Episode, Outcome, Pair, Pole
from graph.splits import assign_splits

__all__ = ["assign_splits", "mine_pairs", "normalised", "read_pairs_file", "write_pairs_file"]

_ENDED = {
    "positive": frozenset({Outcome.ACCEPTED}),
    "negative": frozenset({Outcome.REJECTED, Outcome.CORRECTED}),
}
Side = tuple[Episode, float]
"""An episode that shows a pole, and how much it counts: the outcome's weight times the label's."""


def normalised(text: str) -> str:
    """`text` for comparison: case, punctuation, spacing and the digits of numbers make no difference."""
    return " ".join(re.sub(r"\d+", "0", word) for word in re.findall(r"\w+", text.casefold()))


def mine_pairs(episodes: Sequence[Episode], behaviour: Behaviour) -> list[Pair]:
    """All pairs of `behaviour`, by time, then id. Of near-duplicates, in whichever session, the earliest is kept.

    Raises:
        GraphError: A cue of the behaviour is no usable regular expression.
    """
    found = [
        (max(good[0].ts, bad[0].ts), pair.id, pair)
        for sides in _by_direction(episodes).values()
        for good, bad in _matched(sides, behaviour)
        if (pair := _pair(good, bad, behaviour)) is not None
    ]
    kept: dict[tuple[str, str, str], Pair] = {}
    for _, _, pair in sorted(found, key=lambda entry: entry[:2]):
        kept.setdefault((_asked(pair), normalised(pair.positive), normalised(pair.negative)), pair)
    return list(kept.values())


def _by_direction(episodes: Iterable[Episode]) -> dict[tuple[str, str, str], list[Episode]]:
    """Pairable episodes of each direction, by time. The text is part of the key: an edited direction is another one."""
    found: dict[tuple[str, str, str], list[Episode]] = {}
    for episode in sorted(episodes, key=lambda episode: (episode.ts, episode.id)):
        if episode.pairable:
            found.setdefault((episode.session, episode.direction_id, episode.direction), []).append(episode)
    return found


def _matched(episodes: list[Episode], behaviour: Behaviour) -> Iterator[tuple[Side, Side]]:
    """Each rejected response with the first accepted one after it, else with the first there is."""
    positives = _showing(episodes, behaviour, "positive")
    for bad in _showing(episodes, behaviour, "negative"):
        later = [good for good in positives if good[0].ts >= bad[0].ts]
        if later or positives:
            yield (later or positives)[0], bad


def _showing(episodes: list[Episode], behaviour: Behaviour, pole: Pole) -> list[Side]:
    ended = [episode for episode in episodes if episode.outcome in _ENDED[pole]]
    labelled = [(episode, classify(episode, behaviour)) for episode in ended]
    return [(e, e.weight * label.weight) for e, label in labelled if label is not None and label.pole == pole]


def _pair(good: Side, bad: Side, behaviour: Behaviour) -> Pair | None:
    weight = min(good[1], bad[1])
    if weight <= 0 or normalised(good[0].response) == normalised(bad[0].response):
        return None
    return Pair(
        behaviour=behaviour.name,
        prompt=(ChatMessage(role="user", content=good[0].direction),),
        positive=good[0].response,
        negative=bad[0].response,
        group=good[0].session,
        weight=weight,
        episodes=(good[0].id, bad[0].id),
    )


def _asked(pair: Pair) -> str:
    said = [pair.prompt] if isinstance(pair.prompt, str) else [message.content for message in pair.prompt]
    return normalised("\n".join(said))
