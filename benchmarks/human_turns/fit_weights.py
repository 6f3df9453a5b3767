"""Fits the weights of `graph.turns.judge` again: `python fit_weights.py TRANSCRIPTS --turns TURNS`.

Trains on the labelled turns and on the written ones beside this file, chooses the temperature on people left out of the
training, and writes graph/turns/weights.json. `--turns` is the text of the blind turns, or of as many of them as could
be fetched; it is not in the project. Without it, or with other turns, the weights differ from those of the project.
"""

import argparse
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import orjson
from transcript_turns import human_turns

from graph.turns.features import features
from graph.turns.judge import Weights

HERE = Path(__file__).parent
TARGET = HERE.parent.parent / "graph" / "turns" / "weights.json"
CLASSES = ("negative", "accept", "neutral", "failure_report")
L2, L2_WORDS = 3.0, 4.0
WRITTEN_WEIGHT = 1.5
WORDS_OF_PEOPLE = 3
"""A single word is a feature only when so many people said it (the written turns are one)."""
CANDIDATE = (0.20, 0.25)
BAR = (0.55, 0.55)
STEPS, CLOSE = 4_000, 1e-5
WORD_KINDS = ("word:", "first:", "second:")
LEARNT_FROM = {"first blind": "blind_labels.jsonl", "second blind": "blind_labels_2.jsonl"}
"""The labels of turns that were blind once, each under the name of its part."""

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Example:
    """A labelled turn; `session` is "" for a written one, which is trained on but never measured."""

    found: dict[str, float]
    label: int
    session: str
    split: str = ""
    words: str = ""
    before: str = ""
    kind: str = ""
    uuid: str = ""
    person: str = ""


def labelled(folder: Path) -> list[Example]:
    """The labelled turns, in the order of the transcripts."""
    rows = map(orjson.loads, (HERE / "labels.jsonl").read_bytes().splitlines())
    wanted = {row["uuid"]: row for row in rows}
    people = {path.name: _person(path) for path in folder.glob("*.jsonl")}
    return [
        Example(
            features(turn.words, turn.before),
            CLASSES.index(row["label"]),
            turn.session_file,
            row["split"],
            turn.words,
            turn.before,
            row["class"],
            turn.uuid,
            people[turn.session_file],
        )
        for turn in human_turns(folder)
        if (row := wanted.get(turn.uuid))
    ]


def _person(transcript: Path) -> str:
    """Whose session it is: the home folder that is named most often."""
    homes = Counter(re.findall(rb"/Users/(\w+)", transcript.read_bytes()))
    return homes.most_common(1)[0][0].decode() if homes else transcript.name


def turns_with_labels(turns: Path, labels: Path) -> list[Example]:
    """The turns of a file, each with its label; a session is what stands before the last "#" of a key.

    `turns` has {"key", "words", "before"} a line, `labels` {"key", "label", "class"}; the person is the repository's
    owner. A key that only one of the files has ends the program.
    """
    told, named = _by_key(turns), _by_key(labels)
    if odd := told.keys() ^ named.keys():
        raise SystemExit(f"{len(odd)} keys are in only one of {turns} and {labels}, such as {min(odd)}")
    return [_example(turn, named[key]) for key, turn in told.items()]


def _by_key(path: Path) -> dict[str, dict[str, str]]:
    return {row["key"]: row for row in map(orjson.loads, path.read_bytes().splitlines())}


def _example(turn: dict[str, str], label: dict[str, str], split: str = "") -> Example:
    return Example(
        features(turn["words"], turn["before"]),
        CLASSES.index(label["label"]),
        turn["key"].rpartition("#")[0],
        split,
        turn["words"],
        turn["before"],
        label["class"],
        turn["key"],
        turn["key"].partition("/")[0],
    )


def blind_turns(turns: Path) -> list[Example]:
    """The turns of a file, each with its label of LEARNT_FROM and the name of its part.

    A label without a turn is passed over, for not every file can be fetched again; a turn without a label ends the
    program.
    """
    named = {key: (part, row) for part, file in LEARNT_FROM.items() for key, row in _by_key(HERE / file).items()}
    told = _by_key(turns)
    if odd := told.keys() - named.keys():
        raise SystemExit(f"{len(odd)} turns of {turns} have no label, such as {min(odd)}")
    return [_example(turn, named[key][1], named[key][0]) for key, turn in told.items()]


def real_turns(folder: Path, turns: Path | None) -> list[Example]:
    """All labelled turns of people; those of `turns` were blind once."""
    return [*labelled(folder), *(blind_turns(turns) if turns else [])]


def written() -> list[Example]:
    """The turns written for training."""
    rows = [orjson.loads(line) for line in (HERE / "written.jsonl").read_bytes().splitlines()]
    return [Example(features(row["words"], row["before"]), CLASSES.index(row["label"]), "") for row in rows]


def feature_names(examples: list[Example]) -> list[str]:
    """Every cue that speaks somewhere, and the single words that enough people said."""
    people: dict[str, set[str]] = defaultdict(set)
    for example in examples:
        for name in example.found:
            people[name].add(example.person)
    return sorted(
        name for name, said in people.items() if not name.startswith(WORD_KINDS) or len(said) >= WORDS_OF_PEOPLE
    )


def train(examples: list[Example], prior: Array) -> Weights:
    """Multinomial logistic regression: cross-entropy + l2/2 |W|^2, by accelerated gradient steps.

    Written examples are weighted so that their classes have the shares `prior` (4,) of real turns, and all of them by
    WRITTEN_WEIGHT.
    """
    names = feature_names(examples)
    X = np.array([[example.found.get(name, 0.0) for name in names] + [1.0] for example in examples])  # (n, f + 1)
    y = np.eye(len(CLASSES))[[example.label for example in examples]]  # (n, 4)
    made = np.array([not example.session for example in examples])
    share = y[made].mean(axis=0) if made.any() else np.ones(len(CLASSES))
    weight = np.where(made, WRITTEN_WEIGHT * (y @ (prior / np.maximum(share, 1e-9))), 1.0)[:, None]  # (n, 1)
    strength = [L2_WORDS if name.startswith(WORD_KINDS) else L2 for name in names]
    penalty = np.array([*strength, 0.0])[:, None]  # the bias is free
    step = 1.0 / (0.5 * np.linalg.norm(X * np.sqrt(weight), 2) ** 2 + max(L2, L2_WORDS))
    W = ahead = np.zeros((len(names) + 1, len(CLASSES)))
    pace = 1
    for _ in range(STEPS):
        slope = X.T @ (weight * (_softmax(X @ ahead) - y)) + penalty * ahead
        moved = ahead - step * slope
        if np.sum(slope * (moved - W)) > 0:  # uphill: the momentum is spent
            pace = 1
        ahead = moved + (pace - 1) / (pace + 2) * (moved - W)
        if np.abs(moved - W).max() < CLOSE:
            break
        W, pace = moved, pace + 1
    rounded = np.round(W - W.mean(axis=1, keepdims=True), 3).tolist()
    return Weights(tuple(rounded[-1]), dict(zip(names, map(tuple, rounded), strict=False)), 1.0, CANDIDATE, BAR)


def _softmax(scores: Array) -> Array:
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def prior_of(examples: list[Example]) -> Array:
    """Shares of the four classes, (4,)."""
    return np.asarray(np.bincount([e.label for e in examples], minlength=len(CLASSES)) / len(examples))


def held_out(real: list[Example], made: list[Example]) -> list[tuple[Example, Weights]]:
    """Each real example with weights that never saw its person, nor any word that only this person said."""
    answer: list[tuple[Example, Weights]] = []
    for person in sorted({example.person for example in real}):
        others = [example for example in real if example.person != person]
        weights = train([*others, *made], prior_of(others))
        answer.extend((example, weights) for example in real if example.person == person)
    return answer


def temperature(pairs: list[tuple[Example, Weights]]) -> float:
    """The temperature with the least cross-entropy on held-out people, of 0.6, 0.65, ... 2."""
    labels = [example.label for example, _ in pairs]
    scores = np.array([_scores(example, weights) for example, weights in pairs])

    def loss(t: float) -> float:
        return float(-np.log(_softmax(scores / t)[np.arange(len(labels)), labels]).mean())

    return min((round(0.6 + 0.05 * i, 2) for i in range(29)), key=loss)


def _scores(example: Example, weights: Weights) -> Array:
    """Bias plus weighted features, (4,)."""
    zero = (0.0,) * len(CLASSES)
    moved = [np.array(weights.features.get(name, zero)) * value for name, value in example.found.items()]
    return np.asarray(np.array(weights.bias) + sum(moved))


def file_of(weights: Weights, warm: float) -> bytes:
    """The weights as JSON, one feature a line."""
    rows = ",\n".join(f"    {_json(name)}: {_json(values)}" for name, values in weights.features.items())
    told = {"classes": CLASSES, "bias": weights.bias, "temperature": warm, "candidate": CANDIDATE, "bar": BAR}
    head = "".join(f"  {_json(name)}: {_json(value)},\n" for name, value in told.items())
    return f'{{\n{head}  "features": {{\n{rows}\n  }}\n}}\n'.encode()


def _json(value: object) -> str:
    return orjson.dumps(value).decode()


def main() -> None:
    """Fit and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="the folder of Claude Code transcripts that labels.jsonl speaks of")
    parser.add_argument("--turns", type=Path, help="the text of the turns that the blind labels speak of")
    arguments = parser.parse_args()
    real, made = real_turns(arguments.folder, arguments.turns), written()
    warm = temperature(held_out(real, made))
    weights = train([*real, *made], prior_of(real))
    TARGET.write_bytes(file_of(weights, warm))
    print(f"{len(real)} labelled and {len(made)} written turns, {len(weights.features)} features, temperature {warm}")


if __name__ == "__main__":
    main()
