"""Fits the weights of `graph.turns.judge` again: `python benchmarks/human_turns/fit_weights.py TRANSCRIPTS`.

Trains on the labelled turns and on the written ones beside this file, chooses the temperature by leaving one session
out, and writes graph/turns/weights.json.
"""

import argparse
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
L2 = 0.5
CANDIDATE = (0.20, 0.25)
BAR = (0.55, 0.50)
STEPS = 4_000

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


def labelled(folder: Path) -> list[Example]:
    """The labelled turns, in the order of the transcripts."""
    rows = map(orjson.loads, (HERE / "labels.jsonl").read_bytes().splitlines())
    wanted = {row["uuid"]: row for row in rows}
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
        )
        for turn in human_turns(folder)
        if (row := wanted.get(turn.uuid))
    ]


def written() -> list[Example]:
    """The turns written for training."""
    rows = [orjson.loads(line) for line in (HERE / "written.jsonl").read_bytes().splitlines()]
    return [Example(features(row["words"], row["before"]), CLASSES.index(row["label"]), "") for row in rows]


def train(examples: list[Example], prior: Array, l2: float = L2) -> Weights:
    """Multinomial logistic regression: cross-entropy + l2/2 |W|^2, by accelerated gradient steps.

    Written examples are weighted so that their classes have the shares `prior` (4,) of real turns.
    """
    names = sorted({name for example in examples for name in example.found})
    X = np.array([[example.found.get(name, 0.0) for name in names] + [1.0] for example in examples])  # (n, f + 1)
    y = np.eye(len(CLASSES))[[example.label for example in examples]]  # (n, 4)
    made = np.array([not example.session for example in examples])
    share = y[made].mean(axis=0) if made.any() else np.ones(len(CLASSES))
    weight = np.where(made, y @ (prior / np.maximum(share, 1e-9)), 1.0)[:, None]  # (n, 1)
    penalty = np.r_[np.full(len(names), l2), 0.0][:, None]  # the bias is free
    step = 1.0 / (0.5 * np.linalg.norm(X * np.sqrt(weight), 2) ** 2 + l2)
    W = ahead = np.zeros((len(names) + 1, len(CLASSES)))
    for turn in range(1, STEPS):
        moved = ahead - step * (X.T @ (weight * (_softmax(X @ ahead) - y)) + penalty * ahead)
        ahead = moved + (turn - 1) / (turn + 2) * (moved - W)
        if np.abs(moved - W).max() < 1e-7:
            break
        W = moved
    rounded = np.round(W - W.mean(axis=1, keepdims=True), 3).tolist()
    return Weights(tuple(rounded[-1]), dict(zip(names, map(tuple, rounded), strict=False)), 1.0, CANDIDATE, BAR)


def _softmax(scores: Array) -> Array:
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def prior_of(examples: list[Example]) -> Array:
    """Shares of the four classes, (4,)."""
    return np.asarray(np.bincount([e.label for e in examples], minlength=len(CLASSES)) / len(examples))


def held_out(real: list[Example], made: list[Example], l2: float = L2) -> list[tuple[Example, Weights]]:
    """Each real example with weights that never saw its session."""
    answer = []
    for session in sorted({example.session for example in real}):
        others = [example for example in real if example.session != session]
        weights = train([*others, *made], prior_of(others), l2)
        answer.extend((example, weights) for example in real if example.session == session)
    return answer


def temperature(pairs: list[tuple[Example, Weights]]) -> float:
    """The temperature with the least cross-entropy on held-out sessions, of 0.6, 0.65, ... 2."""
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
    rows = ",\n".join(f'    "{name}": {list(values)}' for name, values in weights.features.items())
    return (
        (
            f'{{\n  "classes": {list(CLASSES)},\n  "bias": {list(weights.bias)},\n  "temperature": {warm},\n'
            f'  "candidate": {list(CANDIDATE)},\n  "bar": {list(BAR)},\n  "features": {{\n{rows}\n  }}\n}}\n'
        )
        .replace("'", '"')
        .encode()
    )


def main() -> None:
    """Fit and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="the folder of Claude Code transcripts that labels.jsonl speaks of")
    real, made = labelled(parser.parse_args().folder), written()
    warm = temperature(held_out(real, made))
    weights = train([*real, *made], prior_of(real))
    TARGET.write_bytes(file_of(weights, warm))
    print(f"{len(real)} labelled and {len(made)} written turns, {len(weights.features)} features, temperature {warm}")


if __name__ == "__main__":
    main()
