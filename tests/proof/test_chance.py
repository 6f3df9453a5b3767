"""What chance does, beside tables, counting and plain integration."""

import itertools
import math

import pytest

from daemon.proof.chance import at_least, sign_test, t_quantile, t_tail

# Upper quantiles as printed in tables of Student's t.
TABLE = [
    (1, 0.05, 6.3138),
    (1, 0.005, 63.657),
    (2, 0.01, 6.9646),
    (5, 0.001, 5.8934),
    (10, 0.025, 2.2281),
    (19, 0.01, 2.5395),
    (19, 0.0005, 3.8834),
    (30, 0.1, 1.3104),
    (120, 0.005, 2.6174),
]


def integrated_tail(t, df, steps=20_000):
    """P(T > t) by Simpson's rule over u = arctan(x / √df), where the density is cos^(df−1)."""
    start = math.atan(t / math.sqrt(df))
    width = (math.pi / 2 - start) / steps
    weights = (1 if i in {0, steps} else 4 if i % 2 else 2 for i in range(steps + 1))
    values = (w * max(0.0, math.cos(start + i * width)) ** (df - 1) for i, w in enumerate(weights))
    scale = math.exp(math.lgamma((df + 1) / 2) - math.lgamma(df / 2)) / math.sqrt(math.pi)
    return scale * math.fsum(values) * width / 3


@pytest.mark.parametrize(("df", "upper", "t"), TABLE)
def test_quantiles_are_those_of_the_tables(df, upper, t):
    assert t_quantile(upper, df) == pytest.approx(t, abs=6e-5 * t)


@pytest.mark.parametrize("df", [1, 2, 3, 7, 19, 39, 200])
@pytest.mark.parametrize("t", [-3.0, -0.2, 0.0, 0.001, 0.01, 0.4, 1.0, 2.5, 6.0])
def test_tails_are_the_integral_of_the_density(df, t):
    assert t_tail(t, df) == pytest.approx(integrated_tail(t, df), rel=1e-8)


def test_a_tail_far_out_keeps_its_digits():
    """Cauchy's tail is known in closed form."""
    assert t_tail(1e6, 1) == pytest.approx(math.atan(1e-6) / math.pi, rel=1e-10)
    assert t_tail(math.inf, 19) == 0
    assert math.isnan(t_tail(math.nan, 19))


@pytest.mark.parametrize("df", [1, 4, 19])
@pytest.mark.parametrize("upper", [0.5, 0.3, 0.01, 1e-4, 1e-9])
def test_a_quantile_is_where_the_tail_is_that_large(df, upper):
    assert t_tail(t_quantile(upper, df), df) == pytest.approx(upper, rel=1e-8)


@pytest.mark.parametrize("n", [0, 1, 2, 5, 8])
def test_coins_are_counted(n):
    heads = [sum(throw) for throw in itertools.product((0, 1), repeat=n)]
    for k in range(n + 2):
        assert at_least(k, n) == pytest.approx(sum(h >= k for h in heads) / len(heads), abs=1e-15)
    for k in range(n + 1):
        as_uneven = sum(abs(h - n / 2) >= abs(k - n / 2) for h in heads) / len(heads)
        assert sign_test(k, n) == pytest.approx(as_uneven, abs=1e-15)


def test_many_coins_are_no_overflow():
    assert at_least(2_500, 5_000) == pytest.approx(0.5056, abs=1e-3)
    assert 0 < at_least(3_000, 5_000) < 1e-40
