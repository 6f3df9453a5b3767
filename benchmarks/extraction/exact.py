"""Whether extraction is right for a model: its readings beside plain passes of one sequence at a time, at every block.

    PYTHONPATH=. python benchmarks/extraction/exact.py --model FOLDER

Plain text, so that models without a chat template can be asked; short texts first, then some beyond `--long` tokens, so
that windows show. Prints the way in which sequences are put together, and the largest relative error.
"""

import sys
from pathlib import Path

import click
import torch
from torch import Tensor

from daemon.steering.capture import read_replies
from daemon.steering.exactness import way_of
from daemon.steering.layout import hidden_of
from daemon.steering.loading import LoadedModel, load_model
from daemon.steering.text import EncodedReply, encode

SHORT = (
    (
        "Write a function that adds two numbers.\n",
        "def add(a, b):\n    return a + b",
        "I would rather talk of weather.",
    ),
    ("How do I list files in a folder?\n", "Use ls to list the files.", "It depends on what you like, many things do."),
    ("Name a colour.\n", "Blue.", "There are, of course, a great many colours in this world."),
)
STORY = "The quick brown fox jumps over the lazy dog. It was a fine day in the hills, and nothing stirred. "
TOLERANCE = 1e-4


@click.command()
@click.option("--model", type=click.Path(exists=True, path_type=Path), required=True, help="A model folder.")
@click.option("--long", "longest", default=600, show_default=True, help="Tokens of the long texts.")
@click.option("--threads", default=1, show_default=True)
def main(model: Path, longest: int, threads: int) -> None:
    """Exit code 1 when a reading is off."""
    loaded = load_model(model, threads)
    tokenizer, layout = loaded.tokenizer, loaded.layout
    short = [encode(tokenizer, prompt, reply) for prompt, *replies in SHORT for reply in replies]
    story = STORY * (longest // len(tokenizer(STORY).input_ids) + 1)
    long = [encode(tokenizer, story, reply) for _, *replies in SHORT[:1] for reply in replies]
    print(f"{type(loaded.model).__name__}: {layout.n_layers} blocks of {layout.hidden_size}")
    errors = [_told(loaded, name, items) for name, items in (("short", short), ("long", [*short, *long]))]
    sys.exit(0 if max(errors) <= TOLERANCE else 1)


def _told(loaded: LoadedModel, name: str, items: list[EncodedReply]) -> float:
    layers = range(loaded.layout.n_layers)
    way = way_of(loaded.layout, items).value
    means: list[Tensor] = [torch.empty(0)] * len(items)
    for reading in read_replies(loaded.layout, items, layers):
        means[reading.index] = reading.means.double()
    found, wanted = torch.stack(means), torch.stack([_alone(loaded, item) for item in items])
    error = float(((found - wanted).norm(dim=-1) / wanted.norm(dim=-1)).max())
    ours, theirs = ((each[0::2] - each[1::2]).mean(dim=0) for each in (found, wanted))
    cosine = float(torch.nn.functional.cosine_similarity(ours, theirs, dim=-1).min())
    lengths = max(len(item.ids) for item in items)
    print(f"{name}: up to {lengths} tokens, {way}: largest relative error {error:.1e}, least cosine {cosine:.12f}")
    return error


def _alone(loaded: LoadedModel, item: EncodedReply) -> Tensor:
    """(layers, hidden) float64 of one sequence, by hooks that keep everything."""
    seen: dict[int, Tensor] = {}
    handles = [
        block.register_forward_hook(lambda _m, _a, output, i=i: seen.__setitem__(i, hidden_of(output)))
        for i, block in enumerate(loaded.layout.blocks)
    ]
    with torch.no_grad():
        loaded.model(input_ids=torch.tensor([item.ids]), use_cache=False)
    for handle in handles:
        handle.remove()
    return torch.stack([seen[i][0, len(item.prompt_ids) :].double().mean(0) for i in range(loaded.layout.n_layers)])


if __name__ == "__main__":
    main()
