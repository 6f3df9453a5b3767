"""Both replies of every pair, as rows on disk: read from the model where no row is there yet, streamed from then on.

Adding pairs costs the new ones, and dropping some costs nothing. Pairs are taken in the order of their prompts, some
hundred at a time, so that neighbours share their prefix and memory does not grow with their number.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from daemon.errors import DataError
from daemon.protocol import Progress
from daemon.steering.capture import read_replies
from daemon.steering.loading import LoadedModel
from daemon.steering.rows import Row, RowFolder, decode_norms, encode_norms, prompt_json, row_key, trim
from daemon.steering.text import encode_pairs
from daemon.steering.verdicts import keep, recall
from graph.schema import Pair

OnProgress = Callable[[Progress], None]
T = TypeVar("T")

AT_ONCE = 256
_CODES = 1 << 16


@dataclass(frozen=True)
class Contrast:
    """The rows of n pairs, in the order in which the pairs were given, at the blocks 0..`n_layers` - 1."""

    rows: RowFolder
    keys: tuple[tuple[str, str], ...]
    n_layers: int

    def pairs(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Positive and negative of each pair, (layers, hidden) float32 each.

        Raises:
            DataError: A row was deleted meanwhile.
        """
        for positive, negative in self.keys:
            yield torch.from_numpy(self._row(positive).means.copy()), torch.from_numpy(self._row(negative).means.copy())

    def at(self, layers: Sequence[int]) -> tuple[Tensor, Tensor]:
        """All positives and all negatives at `layers`: (n, layers, hidden) float32 each, in memory."""
        chosen = list(layers)
        positives, negatives = zip(*((p[chosen], n[chosen]) for p, n in self.pairs()), strict=True)
        return torch.stack(positives), torch.stack(negatives)

    def median_norms(self) -> list[float]:
        """For each layer, the median residual norm over all tokens of all replies and their prompts but first ones.

        A token that several replies share counts once for each.
        """
        counts = np.zeros(self.n_layers * _CODES, dtype=np.int64)
        offsets = _CODES * np.arange(self.n_layers, dtype=np.int64)[:, None]
        for some in batched((key for keys in self.keys for key in keys), AT_ONCE):
            coded = [(offsets + self._codes(key)).ravel() for key in some]
            counts += np.bincount(np.concatenate(coded), minlength=len(counts))
        return [_median(row) for row in counts.reshape(self.n_layers, _CODES)]

    def _codes(self, key: str) -> NDArray[np.uint16]:
        codes = self.rows.codes(key, self.n_layers)
        if codes is None:
            raise self._gone(key)
        return codes

    def _row(self, key: str) -> Row:
        row = self.rows.get(key, self.n_layers)
        if row is None:
            raise self._gone(key)
        return row

    def _gone(self, key: str) -> DataError:
        return DataError(f"{self.rows.path(key)}: deleted while it was in use; run it again")


def _median(counts: NDArray[np.int64]) -> float:
    """Of coded norms, from how often each code occurs."""
    below, total = np.cumsum(counts), int(counts.sum())
    middle = [np.searchsorted(below, place, side="right") for place in ((total - 1) // 2, total // 2)]
    return float(decode_norms(np.array(middle, dtype=np.float64)).mean())


@contextmanager
def rows_root(kept: Path | None, max_bytes: int = 0) -> Iterator[Path]:
    """The folder for rows: the one that is kept, within `max_bytes` when it is left, else one for the time being."""
    if kept is not None and max_bytes > 0:
        try:
            yield kept
        finally:
            trim(kept, max_bytes)
        return
    with TemporaryDirectory(prefix="reflexd-rows-") as folder:
        yield Path(folder)


def contrast(
    loaded: LoadedModel, pairs: Sequence[Pair], n_layers: int, root: Path, on_progress: OnProgress
) -> Contrast:
    """Have a row in `root` for both replies of every pair, `n_layers` deep; the model runs for those that lack one.

    Raises:
        DataError: A pair has no tokens.
        FullError: A row cannot be written.
    """
    rows = RowFolder.of(root, loaded.digest)
    recall(loaded.layout, rows.folder)
    keys = [_keys(loaded, pair) for pair in pairs]
    done = 0
    for some in batched(sorted(range(len(pairs)), key=lambda index: prompt_json(pairs[index].prompt)), AT_ONCE):
        known = {index for index in some if all(rows.get(key, n_layers) is not None for key in keys[index])}
        rows.touch(key for index in known for key in keys[index])
        lacking = [index for index in some if index not in known]
        done += len(known)
        names = [key for index in lacking for key in keys[index]]
        for count in _read_missing(loaded, [pairs[index] for index in lacking], names, n_layers, rows):
            on_progress(Progress(stage="reading pairs", done=done + count // 2, total=len(pairs)))
        done += len(lacking)
        on_progress(Progress(stage="reading pairs", done=done, total=len(pairs)))
    keep(loaded.layout, rows.folder)
    return Contrast(rows, tuple(keys), n_layers)


def _read_missing(
    loaded: LoadedModel, pairs: Sequence[Pair], names: Sequence[str], n_layers: int, rows: RowFolder
) -> Iterator[int]:
    """Read both replies of each pair, and write them as the rows `names`; after each row, how many are there."""
    if not pairs:
        return
    found = read_replies(loaded.layout, encode_pairs(loaded.tokenizer, pairs), range(n_layers))
    for number, reading in enumerate(found, start=1):
        rows.put(names[reading.index], Row(reading.means.numpy(), encode_norms(reading.norms.numpy())))
        yield number


def _keys(loaded: LoadedModel, pair: Pair) -> tuple[str, str]:
    """Of the positive and of the negative reply."""
    digests = (loaded.digest, loaded.template_digest)
    return row_key(*digests, pair.prompt, pair.positive), row_key(*digests, pair.prompt, pair.negative)


def batched(values: Iterable[T], size: int) -> Iterator[tuple[T, ...]]:
    """The values in their order, `size` at a time; the last ones may be fewer."""
    left = iter(values)
    while some := tuple(islice(left, size)):
        yield some
