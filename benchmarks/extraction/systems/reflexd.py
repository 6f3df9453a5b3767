"""reflexd: the one module here that knows its names. Change it when they change."""

from pathlib import Path

import cases
import numpy as np
import torch

from daemon.steering import sweep
from daemon.steering.contrast import contrast, rows_root
from daemon.steering.extract import extract
from daemon.steering.forward import decode
from daemon.steering.loading import load_model
from daemon.steering.text import encode_pairs
from graph.schema import Pair

KEPT_BYTES = 1 << 40


class System:
    """Mean differences of block outputs over the replies' tokens."""

    def __init__(self, folder: Path, threads: int) -> None:
        self.loaded = load_model(folder, threads)
        self.pairs: list[Pair] = []

    def read(self, pairs: str) -> dict[str, int]:
        """Take the pairs of a file; tells how many tokens they have, each sequence by itself."""
        self.pairs = [
            Pair(
                behaviour="bench", prompt=each.prompt, positive=each.positive, negative=each.negative, group=str(number)
            )
            for number, each in enumerate(cases.read(Path(pairs)))
        ]
        return {"tokens": sum(len(item.ids) for item in encode_pairs(self.loaded.tokenizer, self.pairs))}

    def extract(self, layers: list[int]) -> np.ndarray:
        """Its vectors at `layers`, with nothing known before."""
        return self._vectors(self.pairs, layers, None)

    def warm(self, layers: list[int], pairs: int) -> None:
        """An extraction of the first `pairs`, for nothing."""
        self._vectors(self.pairs[:pairs], layers, None)

    def refresh(self, layers: list[int], folder: str) -> np.ndarray:
        """Its vectors at `layers`; what lies in `folder` is not read from the model again, what is read stays there."""
        return self._vectors(self.pairs, layers, Path(folder))

    def _vectors(self, pairs: list[Pair], layers: list[int], kept: Path | None) -> np.ndarray:
        """(layers, hidden)."""
        with rows_root(kept, KEPT_BYTES) as root:
            read = contrast(self.loaded, pairs, max(layers) + 1, root, lambda _: None)
            return extract(read, "mean_difference", seed=0).vectors.numpy()[layers]

    def ready_doses(self, layer: int) -> int:
        """Encode the pairs, and let reflexd find out once whether it may resume at `layer`; tells the batches."""
        self.items = encode_pairs(self.loaded.tokenizer, self.pairs)
        self.batches = sweep.prepare(self.loaded, self.items, [layer]).batches
        return len(self.batches)

    def plain(self) -> None:
        """One forward pass of the decoder over the batches."""
        with torch.no_grad():
            for batch in self.batches:
                decode(self.loaded.layout, batch)

    def doses(self, layer: int, n: int) -> None:
        """`n` doses of one random vector at `layer`."""
        delta = torch.randn(self.loaded.layout.hidden_size, generator=torch.Generator().manual_seed(1))
        prepared = sweep.prepare(self.loaded, self.items, [layer])
        for dose in range(n):
            sweep.under(prepared, {layer: delta * (dose - n // 2)})
