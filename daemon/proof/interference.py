"""How vectors disturb each other: the angles between them, and what each does to the others' behaviours.

    cosine[i][j] = cos(what i adds, what j would add there)             at the blocks where i is added
    effect[i][j] = mean change of the gap of behaviour i's pairs under vector j alone         nats a token

The angle is cheap and says little; the effect is what was measured. Neither matrix is symmetric.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from daemon.proof.gated import GatedPairs
from daemon.proof.prepared import Deltas
from daemon.protocol import Placement
from daemon.protocol.combine import CrossEffect
from daemon.steering.vector_file import VectorFile

_TINY = 1e-12


def cosines(
    files: Sequence[VectorFile], placements: Sequence[Sequence[Placement]]
) -> tuple[tuple[float | None, ...], ...]:
    """(m, m): vector j, pointing the way in which it is used, against what vector i adds, at i's own layers.

    None where vector j has no such layer.
    """
    used = list(zip(files, (1.0 if at[0].dose >= 0 else -1.0 for at in placements), strict=True))
    return tuple(
        tuple(_cosine((file, sign), other, at) for other in used)
        for (file, sign), at in zip(used, placements, strict=True)
    )


def _cosine(own: tuple[VectorFile, float], other: tuple[VectorFile, float], at: Sequence[Placement]) -> float | None:
    if max(each.layer for each in at) >= len(other[0].vectors):
        return None
    one, two = (torch.cat([_step(*used, each) for each in at]) for used in (own, other))
    return float(torch.nn.functional.cosine_similarity(one, two, dim=0, eps=_TINY))


def _step(file: VectorFile, sign: float, at: Placement) -> Tensor:
    """(hidden,) float64: one step of the length that this placement asks for; of a zero vector, none."""
    row = torch.from_numpy(file.vectors[at.layer]).to(torch.float64)
    length = sign * abs(at.dose) * file.median_residual_norm[at.layer]
    return torch.nn.functional.normalize(row, dim=0, eps=_TINY) * length


def cross_effects(pairs: Sequence[GatedPairs], deltas: Sequence[Deltas]) -> Tensor:
    """(m, m) float64: mean effect of vector j on the pairs of behaviour i, nats a token, whatever gates say."""
    return torch.tensor(
        [[float(own.effects_of(added).mean()) for added in deltas] for own in pairs], dtype=torch.float64
    )


def told(names: Sequence[str], effects: Tensor, counts: Sequence[int]) -> tuple[CrossEffect, ...]:
    """The matrix (m, m) in words, row by row; shares are of the diagonal, where that is positive."""
    own = effects.diagonal()
    return tuple(
        CrossEffect(
            behaviour=names[i],
            vector=names[j],
            effect=float(effects[i, j]),
            share=float(effects[i, j] / own[i]) if own[i] > 0 else None,
            n=counts[i],
        )
        for i in range(len(names))
        for j in range(len(names))
    )
