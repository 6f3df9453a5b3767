"""Could a correction be the label? Each rejected response with the next accepted one to the same direction, as read.

    PYTHONPATH=. python benchmarks/mining/corrections_as_labels.py claude-code FOLDER aider FILE

FOLDER holds the sessions that `benchmarks/human_turns` labels, FILE the history of aider's own development (its
`.aider.chat.history.md`). `judged.jsonl` has what one reader said of each candidate, by a digest of its text, which is
not in here: `right`, the first did not take the direction and the second did; `lenient`, or so one may see it; `shows`,
one can tell so from the direction and the two openings alone. `--out` writes the comparable ones as a pairs file, for
`reflexd extract` and `evaluate`.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from graph.behaviours.patterns import BUILTIN, classify, matches
from graph.judging import turns_of
from graph.mining.duplicates import normalised
from graph.mining.pairs import write_pairs_file
from graph.mining.stance import Comparable, comparable, stance
from graph.outcomes import read_memory
from graph.schema import ChatMessage, Episode, Outcome, Pair
from graph.sources import get_source
from graph.turns.features import features

LISTENING = BUILTIN[0]
JUDGED = Path(__file__).with_name("judged.jsonl")
REFUSES = {"no_first", "stop_first", "not_first", "forbids", "meant", "asked_for", "stays", "undoes", "instead"}


@dataclass(frozen=True)
class Candidate:
    """A response that was rejected, and the first later one to its direction that was accepted, `steps` on."""

    rejected: Episode
    accepted: Episode
    steps: int

    @property
    def key(self) -> str:
        """Of the text that was read."""
        text = "\n".join((self.rejected.direction, self.rejected.response, self.rejected.words, self.accepted.response))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def openings(self) -> Comparable | None:
        """Both sides as a pair would hold them; None when they cannot be compared."""
        found = comparable(self.accepted.response, self.rejected.response)
        same = not isinstance(found, Comparable) or normalised(found.positive) == normalised(found.negative)
        return None if same else found

    def pair(self) -> Pair:
        """As it would be stored."""
        assert self.openings is not None
        prompt = (ChatMessage(role="user", content=self.rejected.direction[:1500]),)
        sides = {"positive": self.openings.positive, "negative": self.openings.negative}
        return Pair(behaviour="listening", prompt=prompt, group=self.rejected.session, **sides)


CONDITIONS: tuple[tuple[str, Callable[[Candidate], bool]], ...] = (
    ("the same thread", lambda _: True),
    ("evidence that may pair", lambda each: each.rejected.pairable),
    ("no known behaviour explains it", lambda each: not any(classify(each.rejected, known) for known in BUILTIN)),
    ("the openings can be compared", lambda each: each.openings is not None),
    ("the very next response", lambda each: each.steps == 1),
    (
        "the words refuse or restate",
        lambda each: bool(REFUSES & set(features(each.rejected.words, each.rejected.response))),
    ),
    (
        "no positive cue in the rejected",
        lambda each: not matches(LISTENING.positive_cues, stance(each.rejected.response), each.rejected.direction),
    ),
)


def candidates(episodes: list[Episode]) -> Iterator[Candidate]:
    """Of each thread (a direction in a session), by time."""
    threads = defaultdict(list)
    for episode in episodes:
        threads[episode.session, episode.direction_id, episode.direction].append(episode)
    for thread in threads.values():
        thread.sort(key=lambda episode: (episode.ts, episode.id))
        for at, episode in enumerate(thread):
            if episode.outcome not in {Outcome.REJECTED, Outcome.CORRECTED}:
                continue
            later = enumerate(thread[at + 1 :], start=1)
            taken = ((step, each) for step, each in later if each.outcome is Outcome.ACCEPTED and each.pairable)
            for step, accepted in taken:
                yield Candidate(episode, accepted, step)
                break


@click.command()
@click.argument("sources", nargs=-1, required=True)
@click.option("--out", type=click.Path(path_type=Path), help="Write the comparable ones as pairs.")
def main(sources: tuple[str, ...], out: Path | None) -> None:
    """SOURCES: kind and path, again and again."""
    judged = {row["key"]: row for row in map(json.loads, JUDGED.read_text().splitlines())}
    found: list[Candidate] = []
    turns = 0
    for kind, path in zip(sources[::2], sources[1::2], strict=True):
        memory = read_memory(get_source(kind), Path(path))
        turns += len(list(turns_of(memory)))
        found += candidates(memory.episodes(kind))
    known = [each for each in found if each.key in judged]
    print(f"{turns} human turns that follow a response; {len(found)} candidates, {len(known)} of them read")
    print(f"{'each on top of those above':34} {'left':>5} {'right':>6} {'lenient':>8} {'shows':>6}")
    left = known
    for name, holds in CONDITIONS:
        left = [each for each in left if holds(each)]
        sums = (sum(judged[each.key][what] for each in left) for what in ("right", "lenient", "shows"))
        print("{:34} {:5} {:6} {:8} {:6}".format(name, len(left), *sums))
    if out is not None:
        comparable_ones = [each for each in known if all(holds(each) for _, holds in CONDITIONS[:4])]
        write_pairs_file(out, [each.pair() for each in comparable_ones])


if __name__ == "__main__":
    main()
