"""Aggregators find the direction, point from negative to positive, and turn with the space."""

import pytest
import torch

from daemon.steering.aggregate import AGGREGATORS, coherence, logistic, mean_difference, pca

every = pytest.mark.parametrize("aggregate", AGGREGATORS.values(), ids=AGGREGATORS.keys())


def sample(n=20, d=12, seed=0, strength=2.0, noise=1.0):
    """Pairs that share what they are about and differ along the first axis."""
    draw = torch.Generator().manual_seed(seed)
    about = 3 * torch.randn(n, d, generator=draw, dtype=torch.float64)
    shift = torch.zeros(d, dtype=torch.float64)
    shift[0] = strength / 2
    rough = noise * torch.randn(2, n, d, generator=draw, dtype=torch.float64) / 2
    return about + shift + rough[0], about - shift + rough[1]


def cosine(a, b):
    return float(torch.nn.functional.cosine_similarity(a, b, dim=0))


def rotation(d, seed=1):
    drawn = torch.randn(d, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.linalg.qr(drawn).Q


@every
def test_the_direction_that_separates_is_found(aggregate):
    found = aggregate(*sample(n=40, noise=0.3))
    assert cosine(found, torch.eye(12, dtype=torch.float64)[0]) > 0.8


@every
def test_swapping_the_sides_turns_the_vector_round(aggregate):
    positives, negatives = sample()
    torch.testing.assert_close(aggregate(negatives, positives), -aggregate(positives, negatives), atol=1e-7, rtol=1e-6)


@every
def test_turning_the_space_turns_the_vector_and_nothing_else(aggregate):
    positives, negatives = sample()
    q = rotation(12)
    torch.testing.assert_close(
        aggregate(positives @ q, negatives @ q), aggregate(positives, negatives) @ q, atol=1e-6, rtol=1e-5
    )


@every
def test_the_order_of_pairs_makes_no_difference(aggregate):
    positives, negatives = sample()
    order = torch.randperm(20, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(
        aggregate(positives[order], negatives[order]), aggregate(positives, negatives), atol=1e-7, rtol=1e-6
    )


@every
def test_the_length_is_the_mean_difference_along_it(aggregate):
    positives, negatives = sample()
    found = aggregate(positives, negatives)
    assert float((positives - negatives).mean(0) @ found / found.norm()) == pytest.approx(float(found.norm()))


@every
def test_equal_sides_give_no_direction(aggregate):
    positives, _ = sample()
    assert aggregate(positives, positives).norm() < 1e-9


def test_mean_difference_is_the_mean_of_differences():
    positives = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).double()
    assert mean_difference(positives, torch.zeros(2, 2).double()).tolist() == [2.0, 3.0]


def test_pca_keeps_the_mean_that_centring_would_remove():
    """Defect 2: of differences that all point one way, a centred analysis finds what is left without that way."""
    positives, negatives = sample(n=40, strength=4.0)
    differences = positives - negatives
    centred = torch.linalg.svd(differences - differences.mean(0), full_matrices=False).Vh[0]
    mean = differences.mean(0)
    assert abs(cosine(centred, mean)) < 0.5
    assert cosine(pca(positives, negatives), mean) > 0.95


def test_logistic_is_at_the_minimum_of_its_loss():
    positives, negatives = sample(noise=1.0)
    rows = torch.cat([positives, negatives])
    centred = rows - rows.mean(0)
    x = centred / centred.norm(dim=1).square().mean().sqrt()
    y = torch.cat([torch.ones(20), -torch.ones(20)]).double()
    direction = logistic(positives, negatives)
    unit = direction / direction.norm()

    def slope(length, turn):
        w = (length * unit + turn).requires_grad_()
        b = torch.zeros((), dtype=torch.float64, requires_grad=True)
        for _ in range(60):  # the best intercept for this normal
            grad = torch.autograd.grad(torch.nn.functional.softplus(-y * (x @ w.detach() + b)).mean(), b)[0]
            b = (b - 4 * grad).detach().requires_grad_()
        loss = torch.nn.functional.softplus(-y * (x @ w + b.detach())).mean() + 0.01 / 2 * w.square().sum()
        return torch.autograd.grad(loss, w)[0]

    lengths = torch.linspace(0.5, 12, 100, dtype=torch.float64)
    along = [float(slope(length, 0) @ unit) for length in lengths]
    best = next(length for length, value in zip(lengths, along, strict=True) if value >= 0)
    assert slope(best, 0).norm() < 0.01


def test_logistic_weighs_what_separates_cleanly_above_what_is_merely_far():
    """One axis separates without a fault, another is longer on average and noisy: the boundary follows the first."""
    draw = torch.Generator().manual_seed(2)
    differences = torch.zeros(60, 2, dtype=torch.float64)
    differences[:, 0] = 1.0
    differences[:, 1] = 3 + 6 * torch.randn(60, generator=draw, dtype=torch.float64)
    found = logistic(differences / 2, -differences / 2)
    assert abs(found[0]) > abs(found[1])
    assert abs(mean_difference(differences, 0 * differences)[0]) < abs(mean_difference(differences, 0 * differences)[1])


def test_coherence_is_near_one_for_one_direction_and_near_zero_for_none():
    positives, negatives = sample(n=30, noise=0.1)
    assert coherence(positives - negatives) > 0.9
    draw = torch.Generator().manual_seed(0)
    values = [coherence(torch.randn(30, 500, generator=draw, dtype=torch.float64)) for _ in range(5)]
    assert max(map(abs, values)) < 0.05  # against the mean of all it would be 1/√30 = 0.18
