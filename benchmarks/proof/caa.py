"""A/B data sets as CAA uses them (Rimsky et al., arXiv:2312.06681): extract, prove, and print the whole table.

    PYTHONPATH=. python benchmarks/proof/caa.py --model FOLDER FILE.json ...

FILE holds items of three keys: "question" with its options "(A) …" and "(B) …", and "answer_matching_behavior" and
"answer_not_matching_behavior" with their letters. For each file, on items that nothing was fitted on: the probability
of the matching answer (normalised over both letters) in the order of the data and with the options exchanged, without
the vector and with it at − and + the dose; how much the model prefers the letter A, whatever it stands for, in nats a
token; and what the proof says.
"""

import json
import tempfile
from pathlib import Path

import click
import torch
from counting import keep

from daemon.proof.choices import letter_bias, swapped
from daemon.proof.prepared import PreparedPairs, delta
from daemon.proof.verify import run_verify
from daemon.protocol import ExtractRequest, VerifyReport, VerifyRequest, VerifySettings
from daemon.steering.extract import run_extract
from daemon.steering.loading import LoadedModel, load_model
from daemon.steering.neutral import load_neutral
from daemon.steering.text import encode_pairs
from daemon.steering.vector_file import load
from graph.schema import ChatMessage, Pair

DEPTH, DOSE = 0.5, 0.2
"""Where the table is measured when the proof chose no place."""


def items(path: Path, most: int) -> list[Pair]:
    """Each item is a group of its own: nothing joins them but the data set."""
    found = []
    for number, item in enumerate(json.loads(path.read_text())[:most]):
        prompt = (ChatMessage(role="user", content=item["question"]),)
        poles = {"positive": "answer_matching_behavior", "negative": "answer_not_matching_behavior"}
        sides = {pole: item[key].strip() for pole, key in poles.items()}
        pair = Pair(behaviour=path.stem.replace("-", "_").lower(), prompt=prompt, group=f"item-{number}", **sides)
        if swapped(pair) is not None:
            found.append(pair)
    return found


def matching(loaded: LoadedModel, pairs: list[Pair], gaps: torch.Tensor) -> float:
    """Mean probability of the matching letter, normalised over both; `gaps` (n,) are nats a token."""
    tokens = [len(item.reply_ids) for item in encode_pairs(loaded.tokenizer, pairs)[0::2]]
    return float(torch.sigmoid(gaps * torch.tensor(tokens)).mean())


def prove(
    loaded: LoadedModel, pairs: list[Pair], folder: Path, sizes: tuple[int, int, int]
) -> tuple[VerifyReport, Path]:
    train, validation, test = (tuple(pairs[sum(sizes[:i]) : sum(sizes[: i + 1])]) for i in range(3))
    vector = folder / "vector.safetensors"
    shared = {"model": Path("unused"), "rows": folder / "rows", "rows_bytes": 1 << 30}
    run_extract(loaded, ExtractRequest(pairs=train, out=vector, behaviour=train[0].behaviour, **shared), lambda _: None)
    request = VerifyRequest(
        vector=vector,
        train=train,
        validation=validation,
        test=test,
        neutral_validation=load_neutral("validation"),
        neutral_test=load_neutral("test"),
        settings=VerifySettings(generations=0, checks=False, gate=False),
        **shared,
    )
    return run_verify(loaded, request, lambda _: None), vector


def table(loaded: LoadedModel, report: VerifyReport, vector: Path, test: list[Pair]) -> dict[str, float]:
    """p(matching) in both orders at − dose, 0, + dose, and the preference for (A)."""
    file = load(vector)
    layer = report.layer if report.layer is not None else round(DEPTH * (loaded.layout.n_layers - 1))
    dose = report.dose if report.dose is not None else DOSE
    told: dict[str, float] = {"layer": layer, "dose": dose}
    bias = []
    for order, pairs in (("given", test), ("swapped", [each for pair in test if (each := swapped(pair))])):
        ready = PreparedPairs.of(loaded, pairs, [layer])
        bias.append(letter_bias(pairs, ready.base.tolist()))
        told[f"{order} 0"] = matching(loaded, pairs, ready.base)
        for sign in (-1, 1):
            moved = ready.base + ready.effects({layer: delta(file, layer, sign * dose)})
            told[f"{order} {sign:+}"] = matching(loaded, pairs, moved)
    return told | {"bias": sum(bias) / 2}


@click.command()
@click.argument("files", type=click.Path(path_type=Path, exists=True), nargs=-1, required=True)
@click.option("--model", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--sizes", type=(int, int, int), default=(60, 20, 40), show_default=True, help="Train, validation, test.")
@click.option("--json", "out", type=click.Path(path_type=Path))
def main(files: tuple[Path, ...], model: Path, sizes: tuple[int, int, int], out: Path | None) -> None:
    loaded, rows = load_model(model), []
    columns = ("given -1", "given 0", "given +1", "swapped -1", "swapped 0", "swapped +1", "bias", "dose")
    click.echo(f"{'':24}" + "".join(f"{name:>12}" for name in columns) + "  verdict")
    for path in files:
        pairs = items(path, sum(sizes))
        with tempfile.TemporaryDirectory() as folder:
            report, vector = prove(loaded, pairs, Path(folder), sizes)
            row = table(loaded, report, vector, pairs[sizes[0] + sizes[1] :])
        numbers = "".join(f"{row[name]:12.3f}" for name in columns)
        click.echo(f"{path.stem:24}{numbers}  {report.verdict}: {report.reason}")
        rows.append({"file": path.stem, "verdict": report.verdict, "reason": report.reason, **row})
    keep({"files": rows}, out)


if __name__ == "__main__":
    main()
