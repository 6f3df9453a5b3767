"""A first look at pairs: is there one direction, and where? In bfloat16 where that is faster here, and it says so.

    two products of the model's own MLP, in float32 and in bfloat16 ─▶ bfloat16 at least 1.2 times as fast? ─▶ read so

Statistics only. No vector is made and nothing is kept: numbers read in bfloat16 must not meet those read in float32.
"""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig

from daemon.errors import DataError
from daemon.models.folder import check_model_folder
from daemon.protocol import NumberType, ScreenReport, ScreenRequest
from daemon.steering.contrast import OnProgress, contrast, rows_root
from daemon.steering.device import find_device
from daemon.steering.extract import extract, statistics
from daemon.steering.loading import load_model

MIN_SPEEDUP = 1.2
"""Below this, bfloat16's rounding buys nothing."""
TOKENS = 256
"""Rows of the products that are measured: as many as a middling batch has."""
_BEST_OF = 3
_INNER = ("intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size", "d_ff")
_TYPES: dict[NumberType, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}

Probe = Callable[[int, int, torch.device], float]


def run_screen(request: ScreenRequest, on_progress: OnProgress, device: str = "cpu") -> ScreenReport:
    """Read the pairs in the number type that is asked for, or that a measurement favours; give the memory back.

    Raises:
        DataError: Fewer than two pairs, a pair without tokens, or a model that cannot be read.
        UnavailableError: The device is not there.
    """
    if len(request.pairs) < 2:
        raise DataError(f"{request.behaviour}: {len(request.pairs)} pairs; at least two are needed for a direction")
    started = time.monotonic()
    if request.threads:
        torch.set_num_threads(request.threads)
    numbers, because, ratio = choose_numbers(request, find_device(device))
    loaded = load_model(request.model, request.threads, device, _TYPES[numbers])
    pairs = sorted(request.pairs, key=lambda pair: pair.id)
    with rows_root(None) as root:
        read = contrast(loaded, pairs, math.ceil(request.depth * loaded.layout.n_layers), root, on_progress)
        found = extract(read, "mean_difference", request.seed)
    return ScreenReport(
        n_pairs=len(pairs),
        n_layers=len(found.vectors),
        numbers=numbers,
        because=because,
        speedup=ratio,
        layers=statistics(found),
        model_digest=loaded.digest,
        seconds=time.monotonic() - started,
        device=str(loaded.device),
        threads=torch.get_num_threads(),
    )


def choose_numbers(
    request: ScreenRequest, device: torch.device, probe: Probe | None = None
) -> tuple[NumberType, str, float | None]:
    """The number type, why, and how many times as fast bfloat16 is (None where that was not measured)."""
    if request.numbers is not None:
        return request.numbers, "it was asked for", None
    ratio = (probe or speedup)(*mlp_shape(request.model), device)
    told = f"bfloat16 is {ratio:.2f} times as fast as float32 on {device}"
    if ratio >= MIN_SPEEDUP:
        return "bfloat16", told, ratio
    return "float32", f"{told}, {MIN_SPEEDUP:g} times is asked", ratio


def mlp_shape(folder: Path) -> tuple[int, int]:
    """Hidden size and inner width of the MLP, from the model's configuration; four times hidden where it has no word.

    Raises:
        DataError: The configuration cannot be read.
    """
    check_model_folder(folder)
    try:
        config: Any = AutoConfig.from_pretrained(folder, local_files_only=True).get_text_config()
        hidden = int(config.hidden_size)
    except (OSError, ValueError, KeyError, AttributeError) as error:
        told = " ".join(str(error).split())[:300]
        raise DataError(f"{folder}: its config.json cannot be used: {told}; provide the model again") from error
    widths = (getattr(config, name, None) for name in _INNER)
    return hidden, next((width for width in widths if isinstance(width, int) and width > 0), 4 * hidden)


def speedup(hidden: int, inner: int, device: torch.device) -> float:
    """Seconds of `TOKENS` tokens up to `inner` and back in float32, over those in bfloat16; best of three each."""
    times = {dtype: _seconds(hidden, inner, device, dtype) for dtype in _TYPES.values()}
    return times[torch.float32] / times[torch.bfloat16]


def _seconds(hidden: int, inner: int, device: torch.device, dtype: torch.dtype) -> float:
    entered, up, down = (
        torch.ones(shape, dtype=dtype, device=device) for shape in ((TOKENS, hidden), (hidden, inner), (inner, hidden))
    )
    return min(_timed(entered, up, down) for _ in range(1 + _BEST_OF))  # the first one warms up


def _timed(entered: Tensor, up: Tensor, down: Tensor) -> float:
    _settle(entered.device)
    started = time.perf_counter()
    entered @ up @ down
    _settle(entered.device)
    return max(time.perf_counter() - started, 1e-9)


def _settle(device: torch.device) -> None:
    """Wait for what a GPU was given to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
