"""What the model makes of recorded replies and of neutral text, plain or steered: log-probabilities and what follows.

gap(pair)  = mean log P(positive tokens) − mean log P(negative tokens)        nats a token
effect     = gap steered − gap unsteered
KL         = KL(unsteered ‖ steered) at a position of neutral text             nats
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from daemon.protocol import NeutralText
from daemon.steering.apply import steer
from daemon.steering.forward import divergence, log_probabilities, run
from daemon.steering.loading import LoadedModel
from daemon.steering.resume import lower_part, resumed, resumes_exactly, steered
from daemon.steering.text import neutral_chain, pair_tree
from daemon.steering.trees import Batch, Tree, batch, by_length, one_reply_each, trees_are_exact
from graph.schema import Pair

TOKENS = 1024


@dataclass(frozen=True)
class Prepared:
    """Batches with, for each, where its replies belong: reply r of pair i is 2 i + r; a neutral text is reply i."""

    batches: tuple[tuple[Batch, Tensor], ...]
    n_replies: int

    @classmethod
    def of_pairs(cls, loaded: LoadedModel, pairs: Sequence[Pair]) -> "Prepared":
        """Both replies of every pair."""
        trees = [pair_tree(loaded.tokenizer, pair) for pair in pairs]
        if not trees_are_exact(loaded, trees):
            trees = [part for each in trees for part in one_reply_each(each)]
        return cls.of_trees(trees)

    @classmethod
    def of_neutral(cls, loaded: LoadedModel, texts: Sequence[NeutralText]) -> "Prepared":
        """Every neutral text."""
        return cls.of_trees([neutral_chain(loaded.tokenizer, text) for text in texts])

    @classmethod
    def of_trees(cls, trees: Sequence[Tree]) -> "Prepared":
        """Any trees, in batches of like length."""
        starts = [0]
        for each in trees:
            starts.append(starts[-1] + 1 + max((slot.reply for slot in each.slots), default=0))
        batches = []
        for rows in by_length(trees, TOKENS):
            places = [place for row in rows for place in range(starts[row], starts[row + 1])]
            batches.append((batch([trees[row] for row in rows]), torch.tensor(places)))
        return cls(tuple(batches), starts[-1])


class Steerable:
    """Texts of one kind, computed once up to each of `layers`; any vector at any of them costs only what lies above."""

    def __init__(self, loaded: LoadedModel, prepared: Prepared, layers: Sequence[int]) -> None:
        self._loaded = loaded
        self._prepared = prepared
        self._lower: list[dict[int, Tensor]] = []
        self._base: list[Tensor] = []
        with torch.no_grad():
            for packed, _ in prepared.batches:
                kept, outputs = lower_part(loaded, packed, layers)
                self._lower.append(kept)
                self._base.append(outputs.final)
        first = prepared.batches[0][0]
        self._resumes = all(resumes_exactly(loaded, first, layer) for layer in layers)

    def base(self) -> list[Tensor]:
        """Final hidden states at the slots of each batch, unsteered."""
        return self._base

    def under(self, layer: int, delta: Tensor) -> list[Tensor]:
        """The same with `delta` (hidden) added to block `layer` at all positions but the first."""
        return [self._one(i, layer, delta) for i in range(len(self._prepared.batches))]

    def _one(self, index: int, layer: int, delta: Tensor) -> Tensor:
        packed, _ = self._prepared.batches[index]
        loaded = self._loaded
        with torch.no_grad():
            if self._resumes:
                with resumed(loaded.layout, layer, steered(self._lower[index][layer], delta)):
                    return run(loaded.model, packed).final
            with steer(loaded.layout, {layer: delta}):
                return run(loaded.model, packed).final

    def gaps(self, finals: Sequence[Tensor]) -> Tensor:
        """(n pairs,) float64: log-probability gaps, nats a token."""
        means = self.reply_logprobs(finals)
        return means[0::2] - means[1::2]

    def reply_logprobs(self, finals: Sequence[Tensor]) -> Tensor:
        """(n replies,) float64: mean log-probability of each reply's tokens."""
        sums = torch.zeros(self._prepared.n_replies, dtype=torch.float64)
        counts = torch.zeros_like(sums)
        with torch.no_grad():
            for (packed, places), final in zip(self._prepared.batches, finals, strict=True):
                predicted = log_probabilities(self._loaded.model, final)
                found = predicted.gather(1, packed.targets[:, None])[:, 0].to(torch.float64)
                at = places[packed.replies]
                sums.index_add_(0, at, found)
                counts.index_add_(0, at, torch.ones_like(found))
        return sums / counts.clamp_min(1)

    def log_probabilities(self, finals: Sequence[Tensor]) -> list[Tensor]:
        """(positions, vocabulary) float32 for each batch."""
        with torch.no_grad():
            return [log_probabilities(self._loaded.model, final) for final in finals]

    def perplexity(self, predicted: Sequence[Tensor]) -> float:
        """The exponential of the mean negative log-probability of the tokens themselves."""
        told = [p.gather(1, b.targets[:, None]) for p, (b, _) in zip(predicted, self._prepared.batches, strict=True)]
        return float(torch.cat(told).to(torch.float64).mean().neg().exp())


def kl_statistics(base: Sequence[Tensor], other: Sequence[Tensor]) -> tuple[float, float, float]:
    """(mean, 95th percentile, root mean square) over positions of KL(base ‖ other), nats."""
    kl = torch.cat([divergence(a, b) for a, b in zip(base, other, strict=True)]).to(torch.float64).clamp_min(0)
    return float(kl.mean()), float(torch.quantile(kl, 0.95)), float(kl.square().mean().sqrt())


def bootstrap_interval(values: Tensor, groups: Sequence[str], resamples: int, seed: int) -> tuple[float, float]:
    """95 % interval of the mean of `values` (n,) over resampled groups: pairs of a session come and go together."""
    names = sorted(set(groups))
    index = torch.tensor([names.index(group) for group in groups])
    sums = torch.zeros(len(names), dtype=torch.float64).index_add_(0, index, values.to(torch.float64))
    counts = torch.zeros(len(names), dtype=torch.float64).index_add_(
        0, index, torch.ones(len(values), dtype=torch.float64)
    )
    drawn = torch.randint(len(names), (resamples, len(names)), generator=torch.Generator().manual_seed(seed))
    means = sums[drawn].sum(dim=1) / counts[drawn].sum(dim=1)
    return float(torch.quantile(means, 0.025)), float(torch.quantile(means, 0.975))
