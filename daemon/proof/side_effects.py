"""What a vector does to text that has nothing to do with it."""

from torch import Tensor

from daemon.proof.prepared import Deltas
from daemon.protocol import SideEffects
from daemon.steering.score import kl_summary
from daemon.steering.sweep import Prepared, disturbance, perplexity, under


def side_effects(quiet: Prepared, deltas: Deltas) -> tuple[SideEffects, Tensor]:
    """Of neutral texts under `deltas`; and KL(unsteered ‖ steered) at each scored position (n,), nats."""
    finals = under(quiet, deltas)
    divergence = disturbance(quiet, [finals])[0]
    mean, p95, rmse = kl_summary(divergence)
    told = SideEffects(
        kl_mean=mean,
        kl_p95=p95,
        kl_rmse=rmse,
        perplexity=perplexity(quiet, finals),
        perplexity_base=perplexity(quiet, quiet.finals),
        n_positions=len(divergence),
    )
    return told, divergence
