"""Shares with their exact intervals, and how they are told and kept."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def told(seeds: Iterable[T], every: int = 10) -> Iterator[T]:
    """The same, with a line for every tenth."""
    for number, seed in enumerate(seeds, start=1):
        yield seed
        if number % every == 0:
            print(f"  {number} done", flush=True)


def share(hits: int, n: int) -> dict[str, Any]:
    """Hits of n with the 95 % interval of Clopper and Pearson."""
    return {
        "hits": hits,
        "n": n,
        "share": hits / n if n else math.nan,
        "interval": [_low(hits, n), 1 - _low(n - hits, n)],
    }


def _low(hits: int, n: int) -> float:
    """The share under which `hits` or more of n are as rare as 2.5 %."""
    if hits == 0:
        return 0.0
    low, high = 0.0, hits / n
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _at_least(hits, n, middle) < 0.025 else (low, middle)
    return low


def _at_least(hits: int, n: int, p: float) -> float:
    """P(X ≥ hits) of n draws."""
    ways = [math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) for k in range(hits, n + 1)]
    odds = [k * math.log(p) + (n - k) * math.log1p(-p) for k in range(hits, n + 1)]
    return math.fsum(math.exp(way + odd) for way, odd in zip(ways, odds, strict=True))


def line(what: str, counted: dict[str, Any]) -> str:
    """One line of a table."""
    low, high = counted["interval"]
    return f"{what:<58} {counted['hits']:>4} of {counted['n']:<4} {counted['share']:7.1%}   ({low:.1%} to {high:.1%})"


def reasons(given: Iterable[str]) -> dict[str, int]:
    """How often each kind of reason was given: its words up to the first number."""
    return dict(Counter(_kind(reason) for reason in given if reason).most_common())


def _kind(reason: str) -> str:
    words = reason.lstrip("0123456789.%+-( ")
    first = next((place for place, letter in enumerate(words) if letter.isdigit() or letter in "+-("), len(words))
    return words[:first].strip(" ,:")


def keep(figures: dict[str, Any], path: Path | None) -> None:
    """Write the figures, if they are wanted."""
    if path is not None:
        path.write_text(json.dumps(figures, indent=2) + "\n")
