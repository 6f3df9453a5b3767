"""How likely chance is to do as much: exact signs, and Student's t. No torch, no SciPy."""

import math
from functools import cache

_PRECISION = 1e-15
_TERMS = 500


def at_least(successes: int, n: int) -> float:
    """P(X ≥ successes) of n fair coins, exact."""
    term, ways = 1, 0
    for heads in range(n, max(successes, 0) - 1, -1):
        ways += term
        term = term * heads // (n - heads + 1)
    return ways / (1 << n)


def sign_test(successes: int, n: int) -> float:
    """Two-sided exact p: how often n fair coins are as uneven as `successes` of n; 1 of none."""
    return min(1.0, 2 * at_least(max(successes, n - successes), n))


def t_tail(t: float, df: int) -> float:
    """P(T > t) of Student's t with `df` degrees of freedom; NaN of NaN."""
    if math.isnan(t):
        return math.nan
    tail = 0.5 * _incomplete_beta(df / (df + t * t), df / 2, 0.5)
    return tail if t >= 0 else 1 - tail


@cache
def t_quantile(upper: float, df: int) -> float:
    """The t that Student's t exceeds with probability `upper`, which is above 0 and at most ½; by bisection."""
    low, high = 0.0, 1.0
    while t_tail(high, df) > upper:
        low, high = high, 2 * high
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if t_tail(middle, df) > upper else (low, middle)
    return (low + high) / 2


def _incomplete_beta(x: float, a: float, b: float) -> float:
    """Regularised: I_x(a, b), from 0 to 1."""
    if x in {0.0, 1.0}:
        return x
    if x > (a + 1) / (a + b + 2):
        return 1 - _incomplete_beta(1 - x, b, a)
    logarithm = a * math.log(x) + b * math.log1p(-x) + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    return math.exp(logarithm) / a * _fraction(x, a, b)


def _fraction(x: float, a: float, b: float) -> float:
    """The continued fraction of the incomplete beta function, by Lentz's method. Source: DLMF 8.17.22."""
    d = 1 / (1 - (a + b) * x / (a + 1))
    c, value = 1.0, d
    for m in range(1, _TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for coefficient in (even, odd):
            d = 1 / (1 + coefficient * d)
            c = 1 + coefficient / c
            value *= c * d
        if abs(c * d - 1) < _PRECISION:
            break
    return value
