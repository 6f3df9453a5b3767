"""Held-out pairs for a vector file and a pairs file, without a store."""

from pathlib import Path

from daemon.errors import DataError
from daemon.protocol import VerifyRequest, VerifySettings
from daemon.steering.neutral import load_neutral
from daemon.steering.vector_file import load
from graph.behaviours.patterns import BUILTIN
from graph.schema import Pair, Split

QUICK = VerifySettings(generations=0, checks=False, gate=False)
"""Effect, baselines and neutral text alone."""


def held_out_request(
    model: Path, vector: Path, pairs: list[Pair], pairs_file: Path, threads: int, quick: bool = False
) -> VerifyRequest:
    """A verification on the pairs whose groups the vector has not seen, a third of them for validation.

    What is generated is judged by the cues of a built-in behaviour of that name.

    Raises:
        DataError: Nothing is held out.
    """
    file = load(vector)
    held_out = [p for p in pairs if p.group not in file.groups and p.id not in file.pair_ids]
    if not held_out:
        raise DataError(
            f"{pairs_file}: every pair belongs to a group that {vector} was extracted from; "
            "give pairs of other groups, so that the proof is on unseen directions"
        )
    sides = _sides(held_out)
    return VerifyRequest(
        model=model,
        vector=vector,
        train=tuple(pair for pair in pairs if pair not in held_out),
        validation=tuple(pair for pair in held_out if sides[pair.group] == "validation"),
        test=tuple(pair for pair in held_out if sides[pair.group] == "test"),
        neutral_train=load_neutral("train"),
        neutral_validation=load_neutral("validation"),
        neutral_test=load_neutral("test"),
        behaviour=next((behaviour for behaviour in BUILTIN if behaviour.name == held_out[0].behaviour), None),
        settings=QUICK if quick else VerifySettings(),
        threads=threads,
    )


def _sides(held_out: list[Pair]) -> dict[str, Split]:
    """Validation and test only: a group that the splitter would train on goes to whichever is shorter of its share."""
    sizes: dict[str, int] = {}
    for pair in held_out:
        sizes[pair.group] = sizes.get(pair.group, 0) + 1
    total, in_validation = sum(sizes.values()), 0
    sides: dict[str, Split] = {}
    for group, size in sizes.items():
        short = in_validation < total / 3 and in_validation + size < total
        sides[group] = "validation" if short else "test"
        in_validation += size if short else 0
    return sides
