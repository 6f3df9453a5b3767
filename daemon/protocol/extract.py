"""Vectors of pairs, and a first look at pairs that makes none."""

from pathlib import Path

from pydantic import Field

from daemon.protocol.parts import Aggregator, NumberType
from graph.schema import Frozen, Pair


class ExtractRequest(Frozen):
    """Vectors of the layers from `pairs`: of the first `depth` of them, as a share.

    `rows` is where activations are kept for the next time, at most `rows_bytes` of them; without either none are kept.
    """

    model: Path
    pairs: tuple[Pair, ...]
    out: Path
    behaviour: str
    aggregator: Aggregator = "mean_difference"
    seed: int = 0
    threads: int = 0
    depth: float = Field(default=1.0, gt=0, le=1)
    rows: Path | None = None
    rows_bytes: int = 0


class LayerStatistics(Frozen):
    """One block output: norms in residual units; coherence, split-half cosine and d′: `daemon.steering.moments`."""

    layer: int
    vector_norm: float
    median_residual_norm: float
    coherence: float
    split_half_cosine: float
    d_prime: float | None = None


class ExtractReport(Frozen):
    """Where the vector file is and what it holds; `sha256` is that of the float32 matrix (n_layers, hidden).

    `libraries` (name: version), `device` and `threads` are those that computed it; empty and 0 where nobody said.
    """

    path: Path
    sha256: str
    n_layers: int
    hidden_size: int
    n_pairs: int
    pairs_digest: str
    model_digest: str
    template_digest: str
    layers: tuple[LayerStatistics, ...]
    seconds: float
    libraries: dict[str, str] = Field(default_factory=dict)
    device: str = "cpu"
    threads: int = 0


class ScreenRequest(Frozen):
    """A first look at `pairs`: statistics of the first `depth` of the layers, no vector and no file.

    `numbers` None takes bfloat16 where a short measurement says that it is faster here, else float32.
    """

    model: Path
    pairs: tuple[Pair, ...]
    behaviour: str
    seed: int = 0
    threads: int = 0
    depth: float = Field(default=1.0, gt=0, le=1)
    numbers: NumberType | None = None


class ScreenReport(Frozen):
    """`numbers`: what the pairs were read in, and `because` why; `speedup`: bfloat16 over float32, where measured."""

    n_pairs: int
    n_layers: int
    numbers: NumberType
    because: str
    speedup: float | None
    layers: tuple[LayerStatistics, ...]
    model_digest: str
    seconds: float
    device: str
    threads: int
