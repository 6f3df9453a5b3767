"""APOLLO: AdamW-like, memory-frugal updates (Zhu et al., arXiv:2412.05270, algorithm 1), from the paper's equations.

For a matrix W with gradient G, small side s and large side l (so that a channel is an index along the large side):

    P  ~ N(0, 1/r), (r, s)                       redrawn every `gap` steps, never stored
    R  = P G                          (r, l)     the gradient in a random subspace
    R̃  = m̂ / (√v̂ + ε)                (r, l)     Adam's moments live on R only: 2·r·l numbers are the whole state
    f  = ‖R̃‖ / ‖R‖                               per channel (l,), or one number a tensor in the Mini variant
    U  = G · f                                   full rank: the raw gradient, with Adam's step length
    ‖U‖ ≤ γ ‖U₋₁‖                                norm-growth limiter (Fira, arXiv:2410.01623)
    W ← (1 − η λ) W − η α U                      α = √(s/r), for a random projection shrinks ‖R̃‖/‖R‖ by √(r/s)

Moments survive a redraw. The limiter is armed by a step that moved: a zero gradient first must not freeze the rest.
The state is tensors and integers, so that it loads with `weights_only=True` and continues bit for bit.
"""

import hashlib
import math
from collections.abc import Callable, Iterable
from typing import Any, Literal, overload

import torch
from torch import Tensor
from torch.optim import Optimizer

from daemon.protocol import OptimizerName, TrainSettings

ScaleBy = Literal["channel", "tensor"]


def projection(seed: int, parameter: int, epoch: int, shape: tuple[int, int]) -> Tensor:
    """The matrix P, float32 of `shape` (r, s) with entries N(0, 1/r).

    A CPU generator of its own makes it the same on every device and independent of the process's random state.
    """
    key = hashlib.sha256(f"apollo:{seed}:{parameter}:{epoch}".encode()).digest()
    generator = torch.Generator("cpu").manual_seed(int.from_bytes(key[:7], "big"))
    drawn = torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu")
    return drawn / math.sqrt(shape[0])


class Apollo(Optimizer):
    """APOLLO over matrices; parameters of any other number of dimensions get plain Adam.

    Args:
        params: parameters or parameter groups. Their order is part of the state: it numbers the projections.
        lr: step size η; a matrix row moves about as far as AdamW would move it at the same η.
        rank: r; lowered to the small side where that is smaller.
        scale_by: "channel" (APOLLO) or "tensor" (APOLLO-Mini, meant for rank 1).
        scale: α; None means √(s/r).
        gap: steps between two projections.
        norm_growth: γ; infinity turns the limiter off.
        betas: Adam's decay rates.
        eps: Adam's ε.
        weight_decay: λ, decoupled.
        seed: of the projections.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        *,
        rank: int = 64,
        scale_by: ScaleBy = "channel",
        scale: float | None = None,
        gap: int = 200,
        norm_growth: float = 1.01,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        seed: int = 0,
    ) -> None:
        if rank < 1 or gap < 1:
            raise ValueError(f"APOLLO: rank and gap must be at least 1, not {rank} and {gap}")
        defaults = {
            "lr": lr,
            "rank": rank,
            "scale_by": scale_by,
            "scale": scale,
            "gap": gap,
            "norm_growth": norm_growth,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "seed": seed,
        }
        super().__init__(params, defaults)

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One update of every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        index = 0
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, index, group)
                index += 1
        return loss

    def _update(self, parameter: Tensor, index: int, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        step = state.get("step", 0)
        gradient = parameter.grad
        assert gradient is not None
        gradient = gradient.to(torch.float32)
        if parameter.ndim == 2:
            update = self._matrix_update(gradient, state, step, index, group)
        else:
            update = _adam_direction(gradient, state, step, group)
        state["step"] = step + 1
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(update.to(parameter.dtype), alpha=-group["lr"])

    def _matrix_update(
        self, gradient: Tensor, state: dict[str, Any], step: int, index: int, group: dict[str, Any]
    ) -> Tensor:
        wide = gradient if gradient.shape[0] <= gradient.shape[1] else gradient.T  # (s, l)
        small = wide.shape[0]
        rank = min(group["rank"], small)
        P = projection(group["seed"], index, step // group["gap"], (rank, small)).to(gradient.device)
        R = P @ wide  # (r, l)
        direction = _adam_direction(R, state, step, group)  # (r, l)
        along = 0 if group["scale_by"] == "channel" else (0, 1)
        update = wide * _ratio(direction.norm(dim=along), R.norm(dim=along))  # (s, l)
        update = _limited(update, state, group["norm_growth"])
        scale = group["scale"] if group["scale"] is not None else math.sqrt(small / rank)
        update = update * scale
        return update if wide is gradient else update.T

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up a saved state exactly: torch's loader would round float32 moments to the parameters' dtype."""
        super().load_state_dict(state_dict)
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        ids = [number for group in state_dict["param_groups"] for number in group["params"]]
        for number, parameter in zip(ids, parameters, strict=True):
            for key, value in state_dict["state"].get(number, {}).items():
                self.state[parameter][key] = value.to(parameter.device, copy=True) if torch.is_tensor(value) else value


def _adam_direction(gradient: Tensor, state: dict[str, Any], step: int, group: dict[str, Any]) -> Tensor:
    """Adam's m̂ / (√v̂ + ε), of `gradient`'s shape; moments in `state` are brought up to date."""
    if step == 0:
        state["exp_avg"] = torch.zeros_like(gradient)
        state["exp_avg_sq"] = torch.zeros_like(gradient)
    first, second = group["betas"]
    mean = state["exp_avg"].mul_(first).add_(gradient, alpha=1 - first)
    square = state["exp_avg_sq"].mul_(second).addcmul_(gradient, gradient, value=1 - second)
    mean = mean / (1 - first ** (step + 1))
    root = (square / (1 - second ** (step + 1))).sqrt()
    return mean / (root + group["eps"])  # type: ignore[no-any-return]


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Channel-wise numerator / denominator, and 0 where a channel has no gradient (so that it does not move)."""
    safe = torch.where(denominator > 0, denominator, torch.ones_like(denominator))
    return torch.where(denominator > 0, numerator / safe, torch.zeros_like(denominator))


def _limited(update: Tensor, state: dict[str, Any], growth: float) -> Tensor:
    """`update`, no longer than `growth` times the last one that moved."""
    norm = update.norm()
    last = state.get("update_norm")
    if last is not None and float(last) > 0 and float(norm) > growth * float(last):
        update = update * (growth * last / norm)
        norm = growth * last
    if float(norm) > 0 or last is None:
        state["update_norm"] = norm
    return update


def make_optimizer(name: OptimizerName, params: list[Tensor], settings: TrainSettings) -> Optimizer:
    """The one switch: "apollo" (channel-wise), "apollo-mini" (tensor-wise, rank 1) or "adamw" (torch's)."""
    if name == "adamw":
        return torch.optim.AdamW(params, lr=settings.learning_rate, weight_decay=0.0, foreach=False)
    return Apollo(
        params,
        lr=settings.learning_rate,
        rank=1 if name == "apollo-mini" else settings.rank,
        scale_by="tensor" if name == "apollo-mini" else "channel",
        gap=settings.projection_gap,
        norm_growth=settings.norm_growth,
        seed=settings.seed,
    )


def state_bytes(optimizer: Optimizer) -> int:
    """Bytes of tensors in the optimizer's state."""
    tensors = [value for state in optimizer.state.values() for value in state.values() if torch.is_tensor(value)]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
