"""When and with what: the learning rate of a step, and which texts a step reads. Both depend on (seed, step) alone."""

import hashlib
import math

import torch

FLOOR = 0.1


def learning_rate(step: int, peak: float, warmup: int, steps: int) -> float:
    """Linear warm-up to `peak` over `warmup` steps, then a cosine to a tenth of it at the last step; `step` from 0."""
    if step < warmup:
        return peak * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - 1 - warmup)
    return peak * (FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


def chosen(name: str, size: int, wanted: int, step: int, seed: int) -> list[int]:
    """Which `wanted` of `size` items step `step` reads: shuffled epochs one after another, each item equally often.

    Returns fewer only where there are fewer items; no item twice in one step unless an epoch ends within it.
    """
    if size == 0:
        return []
    wanted = min(wanted, size)
    first = step * wanted
    places = range(first, first + wanted)
    orders = {place // size: _shuffled(name, size, place // size, seed) for place in places}
    return [orders[place // size][place % size] for place in places]


def _shuffled(name: str, size: int, epoch: int, seed: int) -> list[int]:
    key = hashlib.sha256(f"{name}:{seed}:{epoch}".encode()).digest()
    generator = torch.Generator("cpu").manual_seed(int.from_bytes(key[:7], "big"))
    return torch.randperm(size, generator=generator, device="cpu").tolist()
