"""Numbers as people read them: a true minus, no more digits than mean something, and a dash for what is not known."""

import math
from collections.abc import Sequence

MINUS, DASH = "−", "–"


def number(value: float | None, digits: int = 2) -> str:
    """`0.82`, `−1.50`, `1 234`; a dash for None and for what is no number."""
    if value is None or not math.isfinite(value):
        return DASH
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\u202f").replace("-", MINUS)
    return f"{value:.{digits}f}".replace("-", MINUS)


def signed(value: float | None, digits: int = 2) -> str:
    """With a plus where it is one: `+1.59`."""
    told = number(value, digits)
    return f"+{told}" if value is not None and math.isfinite(value) and value > 0 else told


def interval(bounds: Sequence[float | None] | None, digits: int = 2) -> str:
    """`[1.42, 1.76]`; "" when there is none."""
    if not bounds or any(bound is None for bound in bounds):
        return ""
    return f"[{', '.join(number(bound, digits) for bound in bounds)}]"


def share(value: float | None) -> str:
    """`83 %`."""
    return DASH if value is None or not math.isfinite(value) else f"{100 * value:.0f} %".replace("-", MINUS)


def count(n: int, one: str, many: str = "") -> str:
    """`1 pair`, `12 pairs`."""
    return f"{number(n)} {one if n == 1 else many or one + 's'}"


def probability(value: float) -> str:
    """`p = 0.012`; one that is too small to be told is below 0.0001."""
    told = "p < 0.0001" if value < 0.0001 else f"p = {value:.2g}"
    return told.replace(" ", "\N{NO-BREAK SPACE}")
