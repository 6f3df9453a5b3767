"""What a sentence model adds to the cues: `python benchmarks/human_turns/sentence_judge.py FOLDER --model MODEL`.

Each labelled turn has the four scores of weights that never saw its person, and the first components of the mean hidden
state of its own words in MODEL. A logistic regression over both, with every person left out once more, against the same
regression over the scores alone. The temperature and the second stage have no part in it. Printed are the
cross-entropy, the average precision, and the recall of the highest scores that reach the precision aimed at.
"""

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from fit_weights import CLASSES, LEARNT_FROM, Array, Example, _scores, _softmax, held_out, real_turns, written
from transformers import AutoModel, AutoTokenizer

from graph.turns.judge import Weights
from graph.turns.prose import own_prose

MAX_TOKENS = 96
SCORE_PENALTY, STRENGTH = 0.3, 3.0
"""L2 on the weights of the halved scores; mean squared norm of the components, whose weights have an L2 of 1."""
COMPONENTS = (0, 8, 16)
STEPS = 25
AIMS = {"objects": ({"negative", "failure_report"}, 0.85), "accepts": ({"accept"}, 0.94)}


@torch.no_grad()
def vectors(examples: list[Example], model: Path, layer: int) -> Array:
    """The mean hidden state of each turn's own words at a layer, normalised; (n, hidden)."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    network = AutoModel.from_pretrained(model, dtype=torch.float32).eval()
    rows = []
    for example in examples:
        prose = own_prose(example.words, example.before) or "."
        tokens = tokenizer(prose, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
        state = network(**tokens, output_hidden_states=True).hidden_states[layer][0].mean(0)  # (hidden,)
        rows.append(torch.nn.functional.normalize(state, dim=0).double().numpy())
    return np.stack(rows)


def fit(X: Array, Y: Array, penalty: Array) -> Array:
    """Multinomial logistic regression by Newton's steps: (n, d), (n, 4), (d,) -> (d, 4)."""
    d, classes = X.shape[1], Y.shape[1]
    W = np.zeros((d, classes))
    for _ in range(STEPS):
        P = _softmax(X @ W)
        slope = X.T @ (P - Y) + penalty[:, None] * W
        curve = np.zeros((d, classes, d, classes))
        for a in range(classes):
            for b in range(classes):
                curve[:, a, :, b] = X.T @ (X * (P[:, a] * ((a == b) - P[:, b]))[:, None])
        bend = curve.reshape(d * classes, -1) + np.diag(np.repeat(penalty, classes))
        step = np.linalg.solve(bend, slope.reshape(-1)).reshape(d, classes)
        W = W - step
        if np.abs(step).max() < 1e-6:
            break
    return W


def left_out(scores: Array, sentences: Array, labels: Array, people: Array, components: int) -> Array:
    """The probabilities of each turn by a regression that never saw its person, (n, 4)."""
    answer = np.zeros_like(scores)
    centred = (scores - scores.mean(axis=1, keepdims=True)) / 2
    for person in sorted(set(people)):
        rest, own = people != person, people == person
        parts = [centred, np.ones((len(scores), 1))]
        if components:
            moved = sentences - sentences[rest].mean(axis=0)
            _, _, axes = np.linalg.svd(moved[rest], full_matrices=False)
            told = moved @ axes[:components].T
            parts.append(told * np.sqrt(STRENGTH / np.square(told[rest]).sum(axis=1).mean()))
        X = np.hstack(parts)
        penalty = np.array([SCORE_PENALTY] * 4 + [1e-3] + [1.0] * (X.shape[1] - 5))
        answer[own] = _softmax(X[own] @ fit(X[rest], np.eye(len(CLASSES))[labels[rest]], penalty))
    return answer


def ranked(chances: Array, truly: npt.NDArray[np.bool_], aim: float) -> tuple[float, float]:
    """Average precision, and the recall of the highest chances whose precision is at least `aim`."""
    hits = truly[np.argsort(-chances)]
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    reached = np.flatnonzero(precision >= aim)
    found = hits[: reached[-1] + 1].sum() if len(reached) else 0
    return float((precision * hits).sum() / hits.sum()), float(found / hits.sum())


def compare(pairs: list[tuple[Example, Weights]], sentences: Array) -> None:
    """One line a number of components and part of the turns."""
    scores = np.stack([_scores(example, weights) for example, weights in pairs])
    labels = np.array([example.label for example, _ in pairs])
    people = np.array([example.person for example, _ in pairs])
    split = np.array([example.split for example, _ in pairs])
    parts = {"all": split != "", **{part: split == part for part in LEARNT_FROM}}
    for components in COMPONENTS:
        chances = left_out(scores, sentences, labels, people, components)
        loss = -np.log(chances[np.arange(len(labels)), labels]).mean()
        print(f"\n{components} components: cross-entropy {loss:.3f}")
        for part, rows in parts.items():
            for name, (classes, aim) in AIMS.items():
                places = [CLASSES.index(one) for one in sorted(classes)]
                average, recall = ranked(chances[rows][:, places].sum(axis=1), np.isin(labels[rows], places), aim)
                print(f"  {part:<14}{name:<9}average precision {average:.2f}  recall at {aim}: {recall:.2f}")


def main() -> None:
    """Fit the weights with every person left out, look into the model, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the folder of Claude Code transcripts that labels.jsonl speaks of")
    parser.add_argument("--turns", type=Path, help="the text of the turns that the blind labels speak of")
    parser.add_argument("--model", type=Path, required=True, help="a model folder, of sentences or the agent's own")
    parser.add_argument("--layer", type=int, default=-1, help="which hidden states; the last by default")
    arguments = parser.parse_args()
    pairs = held_out(real_turns(arguments.folder, arguments.turns), written())
    compare(pairs, vectors([example for example, _ in pairs], arguments.model, arguments.layer))


if __name__ == "__main__":
    main()
