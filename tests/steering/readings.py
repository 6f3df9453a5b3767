"""All readings of some items at once, as tests like them."""

from typing import NamedTuple

import torch
from torch import Tensor

from daemon.steering.capture import read_replies


class Readings(NamedTuple):
    """`means` (items, layers, hidden) float32; `norms` of each item (layers, tokens - 1); `median_norms` (layers,)."""

    means: Tensor
    norms: list[Tensor]
    median_norms: Tensor


def reply_means(layout, items, layers) -> Readings:
    found = sorted(read_replies(layout, items, layers), key=lambda reading: reading.index)
    assert [reading.index for reading in found] == list(range(len(items)))
    norms = [reading.norms for reading in found]
    medians = torch.cat(norms, dim=1).double().quantile(0.5, dim=1)
    return Readings(torch.stack([reading.means for reading in found]), norms, medians)
