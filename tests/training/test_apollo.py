"""APOLLO against an independent oracle of the paper's equations, and the traps of the published package."""

import io
import math

import pytest
import torch
from torch import Tensor

from daemon.protocol import TrainSettings
from daemon.training import apollo
from daemon.training.apollo import Apollo, make_optimizer, projection, state_bytes


def oracle(
    W: Tensor,
    gradients: list[Tensor],
    *,
    mini: bool,
    rank: int,
    gap: int,
    lr: float,
    growth: float,
    decay: float = 0.0,
    limiter_arms_on_zero: bool = False,
    moments_reset: bool = False,
    subspace_update: bool = False,
) -> Tensor:
    """Algorithm 1 of arXiv:2412.05270 in float64, column by column, with mutants of the known defects."""
    W = W.double().clone()
    tall = W.shape[0] > W.shape[1]
    M = V = last = None
    for t, G in enumerate(gradients):
        G = G.double().T if tall else G.double()
        s = G.shape[0]
        P = projection(0, 0, t // gap, (rank, s)).double()
        R = P @ G
        if M is None or (moments_reset and t % gap == 0):
            M, V = torch.zeros_like(R), torch.zeros_like(R)
        M, V = 0.9 * M + 0.1 * R, 0.999 * V + 0.001 * R**2
        A = (M / (1 - 0.9 ** (t + 1))) / ((V / (1 - 0.999 ** (t + 1))) ** 0.5 + 1e-8)
        if mini:
            U = G * (A.norm() / R.norm() if R.norm() > 0 else 0)
        else:
            columns = zip(G.T, A.T, R.T, strict=True)
            U = torch.stack([g * (a.norm() / r.norm() if r.norm() > 0 else 0) for g, a, r in columns], 1)
        if subspace_update:
            U = P.T @ A
        norm = U.norm()
        if last is not None and (last > 0 or limiter_arms_on_zero) and norm > growth * last:
            U = U * (growth * last / norm) if norm > 0 else U
            norm = growth * last
        if norm > 0 or last is None:
            last = norm
        U = U * math.sqrt(s / rank)
        W = W * (1 - lr * decay) - lr * (U.T if tall else U)
    return W


def ours(W: Tensor, gradients: list[Tensor], **options: object) -> Tensor:
    parameter = torch.nn.Parameter(W.clone())
    optimizer = Apollo([parameter], **options)  # type: ignore[arg-type]
    for gradient in gradients:
        parameter.grad = gradient.clone()
        optimizer.step()
    return parameter.detach()


def random_gradients(shape: tuple[int, int], steps: int, seed: int = 1) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) * (1 + step % 3) for step in range(steps)]


@pytest.mark.parametrize("mini", [False, True], ids=["channel", "mini"])
@pytest.mark.parametrize("shape", [(6, 10), (10, 6), (8, 8)])
def test_equals_the_oracle_across_a_projection_refresh(mini: bool, shape: tuple[int, int]) -> None:
    W, gradients = torch.randn(shape, generator=torch.Generator().manual_seed(0)), random_gradients(shape, 9)
    rank = 1 if mini else 4
    options = {"rank": rank, "gap": 4, "lr": 0.01}
    result = ours(W, gradients, scale_by="tensor" if mini else "channel", norm_growth=1.01, weight_decay=0.1, **options)
    expected = oracle(W, gradients, mini=mini, growth=1.01, decay=0.1, **options)
    assert torch.allclose(result.double(), expected, atol=1e-6)
    reset = oracle(W, gradients, mini=mini, growth=1.01, decay=0.1, moments_reset=True, **options)
    assert not torch.allclose(result.double(), reset, atol=1e-5), "moments must survive a redraw"


def least_squares(optimizer_of: object, steps: int = 600, zero_first: bool = False) -> float:
    """Loss after `steps` on ‖W X − Y‖² with a full-rank answer."""
    generator = torch.Generator().manual_seed(3)
    X, answer = torch.randn(12, 64, generator=generator), torch.randn(16, 12, generator=generator)
    W = torch.nn.Parameter(torch.zeros(16, 12))
    optimizer = optimizer_of([W])  # type: ignore[operator]
    for step in range(steps):
        loss = ((W - answer) @ X).square().mean()
        optimizer.zero_grad()
        (loss * (0.0 if zero_first and step == 0 else 1.0)).backward()
        for group in optimizer.param_groups:
            group["lr"] = 0.05 * 0.5 * (1 + math.cos(math.pi * step / steps))
        optimizer.step()
    return float(((W.detach() - answer) @ X).square().mean())


class Subspace(Apollo):
    """The mutant: the update itself lies in the rank-r subspace (what a package of the same name does)."""

    def _matrix_update(self, gradient, state, step, index, group):  # type: ignore[no-untyped-def]
        wide = gradient if gradient.shape[0] <= gradient.shape[1] else gradient.T
        P = projection(group["seed"], index, step // group["gap"], (group["rank"], wide.shape[0]))
        update = P.T @ apollo._adam_direction(P @ wide, state, step, group)
        return update if wide is gradient else update.T


@pytest.mark.parametrize("options", [{"rank": 4}, {"rank": 1, "scale_by": "tensor"}], ids=["channel", "mini"])
def test_reaches_the_answer_of_least_squares_with_a_full_rank_update(options: dict[str, object]) -> None:
    assert least_squares(lambda params: Apollo(params, lr=0.05, norm_growth=math.inf, **options)) < 1e-4
    assert least_squares(lambda params: Subspace(params, lr=0.05, norm_growth=math.inf, **options)) > 0.5


def arms_on_zero(update: Tensor, state: dict[str, object], growth: float) -> Tensor:
    """The mutant limiter: a zero first step is remembered as a length of 1e-8."""
    norm, last = float(update.norm()), state.get("update_norm")
    if last is not None and norm > growth * float(last):  # type: ignore[arg-type]
        update, norm = update * (growth * float(last) / norm), growth * float(last)  # type: ignore[arg-type]
    state["update_norm"] = max(norm, 1e-8)
    return update


def test_a_zero_first_gradient_does_not_stop_training_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    def limited(params: list[Tensor]) -> Apollo:
        return Apollo(params, lr=0.05, rank=4, norm_growth=1.01)

    start = least_squares(limited, steps=1, zero_first=True)
    assert least_squares(limited, zero_first=True) < 1e-3 * start
    monkeypatch.setattr(apollo, "_limited", arms_on_zero)
    assert least_squares(limited, zero_first=True) > 0.5 * start


def test_limiter_lets_the_update_grow_by_one_percent_a_step() -> None:
    W, gradient = torch.zeros(4, 6), random_gradients((4, 6), 1)[0]
    turning = [gradient, -gradient, 5 * gradient]  # the second step is short, for the moments nearly cancel
    for growth, expected in [(1.01, 1.01), (math.inf, None)]:
        second, third = (ours(W, turning[:n], lr=1.0, rank=4, norm_growth=growth) for n in (2, 3))
        first = ours(W, turning[:1], lr=1.0, rank=4, norm_growth=growth)
        grown = float((third - second).norm() / (second - first).norm())
        assert grown == pytest.approx(expected, rel=1e-4) if expected else grown > 5


@pytest.mark.parametrize("name", ["apollo", "apollo-mini", "adamw"])
def test_resume_is_bit_exact_across_a_refresh_and_loads_without_pickled_objects(name: str) -> None:
    shapes = [(6, 10), (10, 6), (5,)]
    settings = TrainSettings(rank=3, projection_gap=4, learning_rate=0.01)

    def run(parameters: list[torch.nn.Parameter], optimizer: torch.optim.Optimizer, steps: range) -> None:
        for step in steps:
            for number, parameter in enumerate(parameters):
                generator = torch.Generator().manual_seed(100 * step + number)
                parameter.grad = torch.randn(parameter.shape, generator=generator)
            optimizer.step()

    def fresh() -> tuple[list[torch.nn.Parameter], torch.optim.Optimizer]:
        parameters = [torch.nn.Parameter(torch.ones(shape)) for shape in shapes]
        return parameters, make_optimizer(name, parameters, settings)  # type: ignore[arg-type]

    straight, optimizer = fresh()
    run(straight, optimizer, range(10))
    before, optimizer = fresh()
    run(before, optimizer, range(3))
    saved = io.BytesIO()
    torch.save({"optimizer": optimizer.state_dict(), "parameters": [p.detach() for p in before]}, saved)
    saved.seek(0)
    record = torch.load(saved, weights_only=True)
    after, optimizer = fresh()
    with torch.no_grad():
        for parameter, value in zip(after, record["parameters"], strict=True):
            parameter.copy_(value)
    optimizer.load_state_dict(record["optimizer"])
    run(after, optimizer, range(3, 10))
    assert all(torch.equal(a, b) for a, b in zip(straight, after, strict=True))


def test_moments_of_rounded_weights_keep_their_precision_through_a_load() -> None:
    parameter = torch.nn.Parameter(torch.ones(4, 6, dtype=torch.bfloat16))
    optimizer = Apollo([parameter], lr=0.01, rank=2)
    parameter.grad = torch.randn(4, 6, generator=torch.Generator().manual_seed(0)).bfloat16()
    optimizer.step()
    again = Apollo([parameter], lr=0.01, rank=2)
    again.load_state_dict(optimizer.state_dict())
    assert again.state[parameter]["exp_avg"].dtype == torch.float32
    assert torch.equal(again.state[parameter]["exp_avg"], optimizer.state[parameter]["exp_avg"])


def test_projection_does_not_depend_on_the_device_or_on_global_randomness() -> None:
    torch.manual_seed(1)
    first = projection(7, 2, 3, (4, 9))
    torch.manual_seed(2)
    with torch.device("meta"):
        second = projection(7, 2, 3, (4, 9))
    assert second.device.type == "cpu"
    assert torch.equal(first, second)
    others = [projection(8, 2, 3, (4, 9)), projection(7, 1, 3, (4, 9)), projection(7, 2, 4, (4, 9))]
    assert not any(torch.equal(first, other) for other in others)


def test_projection_keeps_lengths_on_average() -> None:
    P = projection(0, 0, 0, (256, 300))
    assert float((P @ torch.ones(300)).square().sum()) == pytest.approx(300, rel=0.2)


def test_vectors_get_plain_adam() -> None:
    ones = torch.nn.Parameter(torch.ones(7))
    twos = torch.nn.Parameter(torch.ones(7))
    mine, theirs = Apollo([ones], lr=0.01), torch.optim.Adam([twos], lr=0.01)
    for step in range(5):
        gradient = torch.randn(7, generator=torch.Generator().manual_seed(step))
        ones.grad, twos.grad = gradient.clone(), gradient.clone()
        mine.step()
        theirs.step()
    assert torch.allclose(ones, twos, atol=1e-6)


def test_a_channel_without_gradient_stays_where_it_is() -> None:
    gradients = random_gradients((4, 6), 3)
    for gradient in gradients[1:]:
        gradient[:, 2] = 0
    W = torch.zeros(4, 6)
    one, three = ours(W, gradients[:1], lr=0.1, rank=2), ours(W, gradients, lr=0.1, rank=2)
    assert torch.equal(one[:, 2], three[:, 2])
    assert not torch.equal(one[:, 1], three[:, 1])


def test_state_is_a_rank_r_sketch() -> None:
    parameter = torch.nn.Parameter(torch.zeros(64, 256))
    optimizer = Apollo([parameter], lr=0.1, rank=8)
    parameter.grad = torch.ones(64, 256)
    optimizer.step()
    assert state_bytes(optimizer) == 4 * (2 * 8 * 256 + 1)


def test_a_rank_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="rank and gap"):
        Apollo([torch.nn.Parameter(torch.zeros(2, 2))], lr=0.1, rank=0)
