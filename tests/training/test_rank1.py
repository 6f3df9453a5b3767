"""The ridge solve against ordinary least squares on stacked rows."""

import pytest
import torch
from torch import Tensor

from daemon.errors import DataError
from daemon.training.rank1 import Moments, solve_gate


def features(n: int, d: int, seed: int, shift: float = 0.0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + shift


def oracle(replies: Tensor, quiet: list[tuple[float, Tensor]], ridge: float) -> Tensor:
    """One row a feature vector, scaled by the root of its weight; the ridge as d more rows."""
    d = replies.shape[1]
    rows, wanted = [replies / len(replies) ** 0.5], [torch.ones(len(replies)).double() / len(replies) ** 0.5]
    gram = replies.T @ replies / len(replies)
    for weight, each in quiet:
        rows.append(each * (weight / len(each)) ** 0.5)
        wanted.append(torch.zeros(len(each)).double())
        gram = gram + weight * each.T @ each / len(each)
    rows.append(torch.eye(d).double() * (ridge * gram.diagonal().mean()) ** 0.5)
    wanted.append(torch.zeros(d).double())
    u = torch.linalg.lstsq(torch.cat(rows), torch.cat(wanted)).solution
    return u / (replies @ u).mean()


@pytest.mark.parametrize("ridge", [0.01, 0.1, 1.0])
def test_equals_least_squares_on_stacked_rows(ridge: float) -> None:
    replies, neutral, replay = features(40, 8, 0, 0.5), features(60, 8, 1), features(20, 8, 2, -0.2)
    quiet = [(4.0, neutral), (2.0, replay)]
    u = solve_gate(Moments.of(replies), [(w, Moments.of(m)) for w, m in quiet], ridge)
    assert torch.allclose(u, oracle(replies, quiet, ridge), atol=1e-9)


def test_the_gate_opens_on_replies_and_stays_shut_on_neutral_text() -> None:
    replies, neutral = features(200, 16, 0), features(200, 16, 1)
    replies[:, 3] += 4.0
    u = solve_gate(Moments.of(replies.float()), [(4.0, Moments.of(neutral.float()))], 0.1)
    assert u.dtype == torch.float64
    assert float((replies @ u).mean()) == pytest.approx(1.0, abs=1e-6)
    assert float((neutral @ u).square().mean().sqrt()) < 0.4


def test_more_weight_on_neutral_text_shuts_the_gate_further() -> None:
    replies, neutral = features(50, 8, 0, 0.5), features(50, 8, 1, 0.3)

    def leak(weight: float) -> float:
        u = solve_gate(Moments.of(replies), [(weight, Moments.of(neutral))], 0.1)
        return float((neutral @ u).square().mean())

    assert leak(10.0) < leak(1.0) < leak(0.1)


def test_replies_without_a_mean_cannot_be_gated() -> None:
    replies = features(10, 4, 0)
    with pytest.raises(DataError, match="cannot be told from neutral text"):
        solve_gate(Moments.of(torch.cat([replies, -replies])), [(1.0, Moments.of(replies))], 0.1)
