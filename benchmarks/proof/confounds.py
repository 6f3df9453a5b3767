"""Planted confounds: pairs whose sides length, letter or topic tells apart. Are they refused, and for that reason?

    PYTHONPATH=. python benchmarks/proof/confounds.py --seeds 100

A pair has the confound with probability `--share`; in the others chance decides, as it does in all pairs of the
controls, which are made of the same words. The confounded ones go through the whole proof; of the controls the
confounds are examined, since what else becomes of them says nothing about that.
"""

import tempfile
from pathlib import Path
from typing import Any

import click
import torch
from counting import keep, line, reasons, share, told

from daemon.proof.confounds import against, examine
from daemon.steering.text import encode_pairs
from graph.schema import Pair
from tests.proof.made import MAKERS, PLAIN, confounded, planted, proved

SIZES = (24, 8, 12)
BEGINS = {"length": "length alone tells", "letter": "the letter tells", "topic": "the topic tells"}
REFUSED, PASSED = 0.95, 0.02
CONTROLS = 10
"""Times as many controls: they cost little, and few of them are refused."""


def sides(kind: str, seed: int, strength: float) -> tuple[tuple[Pair, ...], ...]:
    """Train, validation and test pairs."""
    return tuple(confounded(kind, size, 10 * seed + place, strength) for place, size in enumerate(SIZES))


def examined(tokenizer: Any, pairs: tuple[Pair, ...]) -> str:
    """Why the pairs would be refused before anything is steered."""
    tokens = [len(item.reply_ids) for item in encode_pairs(tokenizer, pairs)]
    return against(examine(pairs, list(zip(tokens[::2], tokens[1::2], strict=True))), PLAIN.max_confound)


@click.command()
@click.option("--seeds", default=100, help="How many behaviours of each kind, with and without the confound.")
@click.option("--share", "strength", default=0.97, help="Probability with which a pair has the confound.")
@click.option("--json", "path", type=click.Path(path_type=Path), default=None, help="Where the figures are kept.")
def main(seeds: int, strength: float, path: Path | None) -> None:
    torch.set_num_threads(1)
    loaded, figures, good = planted(0).loaded, {}, True
    with tempfile.TemporaryDirectory() as folder:
        for kind in MAKERS:
            print(kind, flush=True)
            given = [proved(loaded, Path(folder), sides(kind, s, strength))[0].reason for s in told(range(seeds), 25)]
            found = share(sum(reason.startswith(BEGINS[kind]) for reason in given), seeds)
            controls = range(CONTROLS * seeds)
            without = [examined(loaded.tokenizer, sum(sides(kind, seed, 0.0)[:2], ())) for seed in controls]
            wrongly = share(sum(reason != "" for reason in without), len(controls))
            figures[kind] = {
                "refused": found,
                "reasons": reasons(given),
                "controls": wrongly,
                "wrongly": reasons(without),
            }
            good &= found["share"] >= REFUSED and wrongly["share"] <= PASSED
    for kind, row in figures.items():
        print(line(f"{kind}: refused for it (at least {REFUSED:.0%} is wanted)", row["refused"]))
        print(line(f"{kind}: same words without it, refused (at most {PASSED:.0%})", row["controls"]))
    keep(figures, path)
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()
