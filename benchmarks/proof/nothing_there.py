"""Nothing there: behaviours whose labels were exchanged by chance. How many are verified all the same?

    PYTHONPATH=. python benchmarks/proof/nothing_there.py --model FOLDER --work FOLDER --part proofs --seeds 300

    proofs   the example memories in a real model: random pairs, random sides, the labels of a random half exchanged;
             the proof with its bars as they are
    chance   the same activations, the null test alone: vectors of pairs whose labels mean nothing, at one layer and
             dose, each tested against 20 others as its shuffled baselines
    made     tiny models, the whole proof with the bars before steering switched off, so that chance is all that refuses

Generations, checks and gate are left out: they can only refuse more.
"""

import random
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import torch
from counting import keep, line, reasons, share, told
from memories import example_pairs

from daemon.proof.nulls import null_test, shuffled
from daemon.proof.prepared import PreparedPairs
from daemon.proof.verify import run_verify
from daemon.protocol import ExtractRequest, Null, VerifyRequest, VerifySettings
from daemon.steering.contrast import contrast
from daemon.steering.extract import run_extract
from daemon.steering.loading import LoadedModel, load_model
from daemon.steering.neutral import load_neutral
from graph.mining.splits import assign_splits
from graph.schema import Pair
from tests.proof.made import PLAIN, nothing_found

OPEN: dict[str, float] = {"min_coherence": -1.0, "min_split_half": -1.0, "min_d_prime": 0.0}
"""The bars before steering, switched off."""
KEPT = 1 << 30
DEPTH, DOSE, BASELINES, LABELS = 0.7, 0.2, 20, 10
WANTED = 0.01


def exchanged(pairs: Sequence[Pair], draw: random.Random) -> list[Pair]:
    """The labels of a random half exchanged."""
    turned = set(draw.sample(range(len(pairs)), len(pairs) // 2))
    swap = [pair.model_copy(update={"positive": pair.negative, "negative": pair.positive}) for pair in pairs]
    return [swap[place] if place in turned else pair for place, pair in enumerate(pairs)]


def parted(pairs: Sequence[Pair], draw: random.Random) -> dict[str, tuple[Pair, ...]]:
    """Train, validation and test pairs: groups in random order, by the rule of the daemon."""
    groups = list(Counter(pair.group for pair in pairs).items())
    draw.shuffle(groups)
    side = assign_splits(groups, {})
    return {name: tuple(p for p in pairs if side[p.group] == name) for name in ("train", "validation", "test")}


def proofs(loaded: LoadedModel, seeds: int, first: int, work: Path) -> dict[str, Any]:
    """The share of shuffled behaviours that is verified, and why the others are not."""
    found = []
    for seed in told(range(first, first + seeds)):
        draw = random.Random(seed)
        pairs = draw.choice(example_pairs())
        some = exchanged(draw.sample(pairs, k=draw.randint(len(pairs) * 2 // 3, len(pairs))), draw)
        found.append(proof_of(loaded, parted(some, draw), work).reason)
    verified = share(sum(reason == "" for reason in found), seeds)
    print(line(f"shuffled behaviours verified (at most {WANTED:.0%} is wanted)", verified))
    print(f"refused: {reasons(found)}")
    return {"verified": verified, "refused": reasons(found)}


def proof_of(loaded: LoadedModel, sides: dict[str, tuple[Pair, ...]], work: Path) -> Any:
    """Extract from the training pairs, prove."""
    more: dict[str, Any] = {"rows": work / "rows", "rows_bytes": KEPT}
    vector = work / "vector"
    run_extract(
        loaded, ExtractRequest(model=work, pairs=sides["train"], out=vector, behaviour="nothing", **more), _silent
    )
    neutral = {f"neutral_{name}": load_neutral(name) for name in ("validation", "test")}
    settings = VerifySettings(generations=0, checks=False, gate=False)
    request = VerifyRequest.model_validate(
        {"model": work, "vector": vector, "settings": settings} | sides | neutral | more
    )
    return run_verify(loaded, request, _silent)


def chance(loaded: LoadedModel, worlds: int, first: int, work: Path) -> dict[str, Any]:
    """Of 2 · BASELINES vectors in each of `worlds` drawings of pairs, how many pass the null test."""
    tests = []
    for seed in told(range(first, first + worlds), 1):
        draw = random.Random(seed)
        pairs = draw.choice(example_pairs())
        some = draw.sample(pairs, k=36)
        tests += list(_tests(_effects(loaded, some[:24], some[24:], seed, work), draw))
    rates = {}
    for percentile in (0.9, 0.99):
        judged = [null_test(effect, nulls, percentile, 1) for effect, nulls in tests]
        above = [t is not None and effect > t.bar for t, (effect, _) in zip(judged, tests, strict=True)]
        beyond = [t is not None and t.p_value < 1 - percentile for t in judged]
        rates[str(percentile)] = {"above_bar": share(sum(above), len(tests)), "p_value": share(sum(beyond), len(tests))}
        print(line(f"above the bar, percentile {100 * percentile:g}", rates[str(percentile)]["above_bar"]))
        print(line(f"p below {1 - percentile:.2f}", rates[str(percentile)]["p_value"]))
    return {"worlds": worlds, "vectors_each": 2 * BASELINES, "labelings_each": LABELS, "rates": rates}


def _effects(loaded: LoadedModel, train: Sequence[Pair], test: Sequence[Pair], seed: int, work: Path) -> torch.Tensor:
    """(vectors, test pairs): effects of vectors of the training pairs without their labels, at one layer and dose."""
    layer = round(DEPTH * (loaded.layout.n_layers - 1))
    read = contrast(loaded, train, layer + 1, work / "rows", _silent)
    positives, negatives = (side[:, 0].to(torch.float64) for side in read.at([layer]))
    length = DOSE * read.median_norms()[layer]
    ready = PreparedPairs.of(loaded, test, [layer])
    found = []
    for own in range(2 * BASELINES):
        raw = shuffled(positives - negatives, torch.Generator().manual_seed(1000 * seed + own))
        found.append(ready.effects({layer: (raw * (length / raw.norm())).to(torch.float32)}))
    return torch.stack(found)


def _tests(effects: torch.Tensor, draw: random.Random) -> Iterator[tuple[float, list[Null]]]:
    """Each vector's effect with its baselines', under several exchanges of the test labels."""
    count, n = effects.shape
    for _ in range(LABELS):
        signs = torch.tensor([-1.0 if place < n // 2 else 1.0 for place in draw.sample(range(n), n)]).to(effects)
        means = (effects * signs).mean(dim=1).tolist()
        for own in range(count):
            others = draw.sample([place for place in range(count) if place != own], BASELINES)
            yield means[own], [Null(kind="shuffled", seed=other, effect=means[other]) for other in others]


def made(seeds: int, first: int, work: Path) -> dict[str, Any]:
    """The whole proof in tiny models, bars before steering off; labels mean nothing anywhere, or in training alone."""
    settings, figures = PLAIN.model_copy(update=OPEN), {}
    for name, meaningful in (("labels mean nothing", False), ("those of training pairs mean nothing", True)):
        print(name, flush=True)
        found = [nothing_found(seed, work, settings, meaningful) for seed in told(range(first, first + seeds))]
        measured = [(r.effect, r.null_test.bar) for r in found if r.null_test and r.effect is not None]
        above = sum(effect > bar for effect, bar in measured)
        figures[name] = {
            "verified": share(sum(r.verdict == "verified" for r in found), seeds),
            "above_bar": share(above, len(measured)),
            "refused": reasons(r.reason for r in found),
        }
        print(line(f"{name}: verified", figures[name]["verified"]))
        print(line(f"{name}: of those measured, above the bar", figures[name]["above_bar"]))
    return figures


def _silent(_: object) -> None:
    pass


@click.command()
@click.option("--part", type=click.Choice(["proofs", "chance", "made"]), required=True)
@click.option("--model", type=click.Path(exists=True, path_type=Path), default=None, help="Folder of a real model.")
@click.option("--work", type=click.Path(path_type=Path), default=None, help="Where activations are kept between runs.")
@click.option("--seeds", default=300, help="How many behaviours; of chance, how many drawings of pairs.")
@click.option("--first", default=0, help="The first seed.")
@click.option("--json", "path", type=click.Path(path_type=Path), default=None, help="Where the figures are kept.")
def main(part: str, model: Path | None, work: Path | None, seeds: int, first: int, path: Path | None) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        at = work or Path(folder)
        at.mkdir(parents=True, exist_ok=True)
        if part == "made":
            figures = made(seeds, first, at)
        elif model is None:
            raise click.UsageError(f"--part {part} needs --model: a folder with a model")
        else:
            figures = {"proofs": proofs, "chance": chance}[part](load_model(model), seeds, first, at)
    keep(figures, path)


if __name__ == "__main__":
    main()
