"""Precision and recall of `graph.turns` on labelled turns: `python benchmarks/human_turns/measure.py TRANSCRIPTS`.

Each turn is judged with weights that never saw its person; `--blind TURNS` adds turns that were blind once and are
learnt from now, whose text is not in the project. Or, for turns that nothing was fitted on, with the weights as they
are: `python benchmarks/human_turns/measure.py --turns TURNS --labels LABELS`, both JSON lines.

Intervals are 95 %, from 2,000 draws of whole people with a fixed seed. No text of a transcript is shown. What these
numbers are worth, and which of them is clean: the README.
"""

import argparse
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from fit_weights import CLASSES, LEARNT_FROM, Example, held_out, real_turns, temperature, turns_with_labels, written

from graph.schema import Outcome
from graph.turns.judge import Weights, check_candidate, fitted, probabilities, verdict_of

Judged = list[tuple[Example, str, float]]
NEGATIVE = {"negative"}
PUSHBACK = {"negative", "failure_report"}

_REGEX_NO = re.compile(
    r"^\W*(?:no|nope|stop|wait|don't|do not|but|hmm|why (?:did|do|are) )\b|\b(?:wrong|incorrect|instead|revert|undo"
    r"|not what|should (?:be|not)|shouldn't|isn't right|not right|not correct|i meant|still (?:not|fails?|broken)"
    r"|doesn't work|didn't|too (?:much|many))\b",
    re.IGNORECASE,
)
_REGEX_YES = re.compile(
    r"^\W*(?:yes|yeah|yep|sure|ok(?:ay)?|perfect|great|good|nice|thanks|lgtm|looks good|sounds good|go ahead|do it"
    r"|let's|commit|push|implement|option \d|\d\b)",
    re.IGNORECASE,
)


def by_regex(example: Example) -> tuple[str, float]:
    """The baseline: one expression for a no, one for a yes."""
    if _REGEX_NO.search(example.words):
        return "negative", 1.0
    return ("accept", 1.0) if _REGEX_YES.search(example.words) else ("neutral", 1.0)


def staged(example: Example, weights: Weights, check: bool) -> tuple[str, float]:
    """The class that the stages give, and the probability."""
    verdict = verdict_of(probabilities(example.found, weights), example.found, weights)
    if check:
        verdict = check_candidate(verdict, example.words, example.before)
    if verdict.signal == "failure_report":
        return "failure_report", verdict.probability
    named = {Outcome.ACCEPTED: "accept", Outcome.NEUTRAL: "neutral"}
    return named.get(verdict.polarity, "negative"), verdict.probability


def figures(judged: Judged, classes: set[str]) -> tuple[float, float, int, int]:
    """Precision, recall, and how many were called and are of these classes."""
    called = [said in classes for _, said, _ in judged]
    truly = [CLASSES[example.label] in classes for example, _, _ in judged]
    both = sum(c and t for c, t in zip(called, truly, strict=True))
    return both / max(sum(called), 1), both / max(sum(truly), 1), sum(called), sum(truly)


def interval(judged: Judged, classes: set[str], draws: int = 2_000) -> tuple[tuple[float, float], ...]:
    """95 % bootstrap intervals of precision and recall, people drawn as wholes."""
    rng = np.random.default_rng(0)
    people = sorted({example.person for example, _, _ in judged})
    groups = [[row for row in judged if row[0].person == person] for person in people]
    drawn = []
    for _ in range(draws):
        sample = [row for i in rng.integers(len(groups), size=len(groups)) for row in groups[i]]
        drawn.append(figures(sample, classes)[:2])
    low, high = np.percentile(np.array(drawn), [2.5, 97.5], axis=0)
    return tuple((float(a), float(b)) for a, b in zip(low, high, strict=True))


def show(title: str, judged: Judged) -> None:
    """One line a class."""
    for name, classes in (("objects", PUSHBACK), ("listening", NEGATIVE), ("accepts", {"accept"})):
        precision, recall, called, truly = figures(judged, classes)
        (p0, p1), (r0, r1) = interval(judged, classes)
        print(
            f"{title:<24}{name:<10}precision {precision:.2f} [{p0:.2f}, {p1:.2f}]  "
            f"recall {recall:.2f} [{r0:.2f}, {r1:.2f}]  called {called:>3}  are {truly:>3}"
        )


def report(part: str, pairs: list[tuple[Example, Weights]], errors: bool) -> None:
    """Baseline, first stage, and both stages on one part."""
    people, sessions = ({getattr(example, name) for example, _ in pairs} for name in ("person", "session"))
    print(f"\n{part}: {len(pairs)} turns of {len(people)} people, {len(sessions)} sessions")
    stages: dict[str, Callable[[Example, Weights], tuple[str, float]]] = {
        "cue regex": lambda example, _: by_regex(example),
        "first stage": lambda example, weights: staged(example, weights, check=False),
        "first and second stage": lambda example, weights: staged(example, weights, check=True),
    }
    results = {name: [(e, *stage(e, w)) for e, w in pairs] for name, stage in stages.items()}
    for name, judged in results.items():
        show(name, judged)
    _dropped(results["first stage"], results["first and second stage"])
    _calibration(results["first and second stage"])
    if errors:
        for example, said, chance in results["first and second stage"]:
            if said != CLASSES[example.label]:
                print(f"  {example.uuid} {CLASSES[example.label]:<15}{example.kind:<5} said {said:<15}{chance:.2f}")


def by_person(pairs: list[tuple[Example, Weights]]) -> None:
    """One line a person: right of called of all that are, for objections and accepts."""
    for person in sorted({example.person for example, _ in pairs}):
        judged = [(e, *staged(e, w, check=True)) for e, w in pairs if e.person == person]
        told = []
        for name, classes in (("objects", PUSHBACK), ("accepts", {"accept"})):
            precision, _, called, truly = figures(judged, classes)
            told.append(f"{name} {round(precision * called):>2} of {called:>2} called, {truly:>2} are")
        print(f"{person:<24}{len(judged):>4} turns   {'   '.join(told)}")


def _dropped(first: Judged, second: Judged) -> None:
    """How many candidates the second stage drops, and how many of them were none."""
    for name, classes in (("objections", PUSHBACK), ("accepts", {"accept"})):
        before = [i for i, row in enumerate(first) if row[1] in classes]
        dropped = [i for i in before if second[i][1] == "neutral"]
        right = sum(CLASSES[first[i][0].label] not in classes for i in dropped)
        print(f"second stage drops {len(dropped)} of {len(before)} candidate {name}, {right} of them rightly")


def _calibration(judged: Judged) -> None:
    """Of what was called with a probability in a range, how much is right."""
    for low, high in ((0.5, 0.7), (0.7, 0.9), (0.9, 1.01)):
        rows = [row for row in judged if row[1] != "neutral" and low <= row[2] < high]
        if rows:
            right = sum(row[1] == CLASSES[row[0].label] or {row[1], CLASSES[row[0].label]} == PUSHBACK for row in rows)
            print(
                f"called with probability {low:.1f} to {min(high, 1):.1f}: {right / len(rows):.2f} right of {len(rows)}"
            )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "folder", type=Path, nargs="?", help="the folder of Claude Code transcripts that labels.jsonl speaks of"
    )
    parser.add_argument(
        "--blind", type=Path, help="the text of the turns that the blind labels speak of, beside the folder"
    )
    parser.add_argument("--turns", type=Path, help="turns that nothing was fitted on, instead of a folder")
    parser.add_argument("--labels", type=Path, help="the labels of --turns")
    parser.add_argument("--errors", action="store_true", help="show the uuids of the turns that are judged wrongly")
    parser.add_argument("--without-written", action="store_true", help="train without written.jsonl")
    arguments = parser.parse_args()
    if bool(arguments.folder) == bool(arguments.turns) or bool(arguments.turns) != bool(arguments.labels):
        parser.error("give either a folder, or --turns with --labels")
    return arguments


def main() -> None:
    """Measure with every person left out once; or a file of turns."""
    arguments = _arguments()
    if arguments.turns:
        unseen = turns_with_labels(arguments.turns, arguments.labels)
        report("turns", [(example, fitted()) for example in unseen], arguments.errors)
        by_person([(example, fitted()) for example in unseen])
        return
    pairs = held_out(real_turns(arguments.folder, arguments.blind), [] if arguments.without_written else written())
    warm = temperature(pairs)
    pairs = [(example, replace(weights, temperature=warm)) for example, weights in pairs]
    if arguments.blind:
        report("sessions of the folder", [pair for pair in pairs if pair[0].split not in LEARNT_FROM], arguments.errors)
        for part in LEARNT_FROM:
            report(f"{part} turns", [pair for pair in pairs if pair[0].split == part], arguments.errors)
    report("all, each person left out once", pairs, arguments.errors and not arguments.blind)
    by_person(pairs)


if __name__ == "__main__":
    main()
