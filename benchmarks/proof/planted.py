"""Planted truth: tiny models in which one direction is known to matter. Is it found, and is it verified?

    PYTHONPATH=. python benchmarks/proof/planted.py --seeds 100

Each seed makes a model (family, depth, weights), a direction, halves of the alphabet, and pairs: extract, then prove.
"""

import tempfile
from pathlib import Path

import click
import torch
from counting import keep, line, reasons, share, told

from tests.proof.made import truth_found

WANTED = 0.95


@click.command()
@click.option("--seeds", default=100, help="How many models.")
@click.option("--first", default=0, help="The first seed.")
@click.option("--json", "path", type=click.Path(path_type=Path), default=None, help="Where the figures are kept.")
def main(seeds: int, first: int, path: Path | None) -> None:
    torch.set_num_threads(1)
    reports, cosines = [], []
    with tempfile.TemporaryDirectory() as folder:
        for seed in told(range(first, first + seeds)):
            report, cosine = truth_found(seed, Path(folder))
            reports.append(report)
            cosines.append(cosine)
    verified = share(sum(report.verdict == "verified" for report in reports), seeds)
    spread = torch.tensor(cosines).quantile(torch.tensor([0.05, 0.5, 0.95])).tolist()
    refused = reasons(report.reason for report in reports)
    print(line(f"verified (at least {WANTED:.0%} is wanted)", verified))
    print("cosine with the planted direction, 5 %, median, 95 %: " + ", ".join(f"{each:.2f}" for each in spread))
    print(f"refused: {refused}")
    keep({"verified": verified, "cosine": spread, "refused": refused}, path)
    raise SystemExit(0 if verified["share"] >= WANTED else 1)


if __name__ == "__main__":
    main()
