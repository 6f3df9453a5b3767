"""Statistics of pairs that stream by are those of pairs in memory."""

import numpy as np
import pytest
import torch

from daemon.steering.aggregate import coherence
from daemon.steering.moments import moments

LAYERS, HIDDEN = 3, 40


def sample(n, noise=1.0, seed=0, shift=1.0):
    draw = torch.Generator().manual_seed(seed)
    direction = torch.randn(LAYERS, HIDDEN, generator=draw)
    topic = 3 * torch.randn(n, LAYERS, HIDDEN, generator=draw)
    one, two = (topic + noise * torch.randn(n, LAYERS, HIDDEN, generator=draw) for _ in "pn")
    return one + shift * direction, two


def of(positives, negatives, seed=0):
    return moments(lambda: iter(zip(positives, negatives, strict=True)), len(positives), seed)


def in_memory(positives, negatives, seed=0):
    """The same with numpy, the whole matrix at once: mean, coherence, split-half cosine, d′."""
    p, n = positives.double().numpy(), negatives.double().numpy()
    d, count = p - n, len(p)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).numpy()
    halves = [np.sort(order[: count // 2]), np.sort(order[count // 2 :])]
    told = []
    for layer in range(LAYERS):
        means = [d[half, layer].mean(axis=0) for half in halves]
        away = []
        for half, other in zip(halves, means[::-1], strict=True):
            one, two = p[half, layer] @ other, n[half, layer] @ other
            away.append((one.mean() - two.mean()) / np.sqrt((one.var(ddof=1) + two.var(ddof=1)) / 2))
        split = means[0] @ means[1] / np.linalg.norm(means[0]) / np.linalg.norm(means[1])
        told.append((coherence(torch.from_numpy(d[:, layer])), split, np.mean(away)))
    return d.mean(axis=0), np.array(told)


@pytest.mark.parametrize("count", [4, 5, 31])
def test_streamed_statistics_are_those_in_memory(count):
    positives, negatives = sample(count)
    mean, told = in_memory(positives, negatives)
    found = of(positives, negatives)
    np.testing.assert_allclose(found.mean.numpy(), mean, rtol=1e-12, atol=1e-12)
    ours = torch.stack([found.coherence, found.split_half_cosine, found.d_prime], dim=1)
    np.testing.assert_allclose(ours.numpy(), told, rtol=1e-9, atol=1e-9)


def test_one_direction_is_told_from_none():
    straight = of(*sample(40, noise=0.3))
    nothing = of(*sample(40, noise=0.3, shift=0.0))
    assert (straight.coherence > 0.8).all()
    assert (nothing.coherence.abs() < 0.2).all()
    assert (straight.split_half_cosine > 0.8).all()
    assert (nothing.split_half_cosine.abs() < 0.5).all()
    assert (straight.d_prime > nothing.d_prime.abs().max()).all()


def test_d_prime_is_measured_where_the_direction_was_not_made():
    """Along a direction made of the same few pairs, noise would separate: 12 pairs in 40 dimensions."""
    found = [of(*sample(12, shift=0.0, seed=seed), seed=seed).d_prime.mean() for seed in range(20)]
    assert abs(float(torch.stack(found).mean())) < 0.1


def test_few_pairs_have_no_d_prime():
    found = of(*sample(3))
    assert found.d_prime.isnan().all()
    assert not found.coherence.isnan().any()


def test_the_seed_decides_the_halves():
    sides = sample(20)
    assert not torch.equal(of(*sides, seed=0).split_half_cosine, of(*sides, seed=1).split_half_cosine)
    assert torch.equal(of(*sides, seed=1).split_half_cosine, of(*sides, seed=1).split_half_cosine)
