"""What a model makes of recorded replies and of neutral text: log-probabilities, and what follows from them.

    gap(pair)  = mean log P(positive tokens) − mean log P(negative tokens)        nats a token
    KL         = KL(unsteered ‖ steered) at a position of neutral text             nats

Hooks that are active (`daemon.steering.apply.steer`) act on everything here.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from daemon.protocol import NeutralText
from daemon.steering.exactness import pack
from daemon.steering.forward import decode, kl, logits, target_logprobs
from daemon.steering.loading import LoadedModel
from daemon.steering.text import EncodedReply, encode_neutral, encode_pairs
from daemon.steering.trees import average_by_item
from graph.schema import Pair


class KL(NamedTuple):
    """Over positions, in nats: mean, 95th percentile, root of the mean square."""

    mean: float
    p95: float
    rmse: float


def reply_logprobs(loaded: LoadedModel, items: Sequence[EncodedReply]) -> Tensor:
    """Mean log P of each item's reply tokens, nats a token: (items,) float64."""
    batches = list(pack(loaded.layout, items))
    with torch.no_grad():
        found = [target_logprobs(loaded.model, loaded.layout, decode(loaded.layout, b), b.targets) for b in batches]
    return average_by_item(found, batches, len(items))


def gaps(loaded: LoadedModel, pairs: Sequence[Pair]) -> Tensor:
    """Mean log P(positive) − mean log P(negative) of each pair, nats a token: (pairs,) float64."""
    return pair_gaps(reply_logprobs(loaded, encode_pairs(loaded.tokenizer, pairs)))


def pair_gaps(replies: Tensor) -> Tensor:
    """Of values in the order of `encode_pairs` (2 n,): positive minus negative (n,)."""
    return replies[0::2] - replies[1::2]


def neutral_logprobs(loaded: LoadedModel, neutral: Sequence[NeutralText]) -> list[Tensor]:
    """For each text, log-probabilities (scored positions, vocabulary) float32, on the CPU."""
    items = [encode_neutral(loaded.tokenizer, text) for text in neutral]
    found: list[Tensor] = [torch.empty(0)] * len(items)
    with torch.no_grad():
        for batch in pack(loaded.layout, items):
            final = decode(loaded.layout, batch)
            for index in sorted(set(batch.owners.tolist())):
                told = logits(loaded.model, loaded.layout, final[batch.owners == index])
                found[index] = told.log_softmax(dim=1).cpu()
    return found


def kl_statistics(base: Sequence[Tensor], other: Sequence[Tensor]) -> KL:
    """KL(base ‖ other) over all positions of all texts, of log-probabilities (positions, vocabulary) each."""
    return kl_summary(torch.cat([kl(one, two) for one, two in zip(base, other, strict=True)]))


def kl_summary(values: Tensor) -> KL:
    """Mean, 95th percentile and root mean square of divergences (n,)."""
    wide = values.to(torch.float64)
    return KL(float(wide.mean()), float(wide.quantile(0.95)), float(wide.square().mean().sqrt()))


def perplexity(logprobs: Sequence[Tensor], items: Sequence[EncodedReply]) -> float:
    """The exponential of the mean negative log P of the scored tokens; `logprobs` as `neutral_logprobs` gives them."""
    told = [each.gather(1, torch.tensor(item.reply_ids)[:, None]) for each, item in zip(logprobs, items, strict=True)]
    return float(torch.cat(told).to(torch.float64).mean().neg().exp())
