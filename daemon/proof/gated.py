"""Several vectors, each with a gate or without one: what is added depends on the request.

    a gate is open  for a pair by its prompt, for a neutral text by what it would be as a request
    what is added   the vectors whose gates are open; where none is, nothing changes

A gate is asked what it is asked in its proof: activations that nothing was added to.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from daemon.proof.gate import Probe, neutral_prompts, opens_for, pair_prompts
from daemon.proof.held_out import HeldOut
from daemon.proof.prepared import Deltas, joined, prepare_neutral
from daemon.protocol import GateReport, NeutralText
from daemon.steering.loading import LoadedModel
from daemon.steering.sweep import Prepared, disturbance, under
from daemon.steering.text import Ids, encode_neutral
from graph.schema import Pair

Pattern = tuple[bool, ...]
"""Which of m vectors are added."""


def probe_of(gate: GateReport | None) -> Probe | None:
    """The probe that a proof found good."""
    return Probe(gate.layer, torch.tensor(gate.weights, dtype=torch.float64), gate.bias) if gate else None


@dataclass(frozen=True)
class GatedPairs:
    """n pairs in groups, each of the pairs whose prompts open the same gates: which, where in the n, and prepared."""

    n: int
    groups: tuple[tuple[Pattern, Tensor, HeldOut], ...]

    @classmethod
    def of(
        cls, loaded: LoadedModel, pairs: Sequence[Pair], layers: Sequence[int], gates: Sequence[Probe | None]
    ) -> "GatedPairs":
        """Ready for vectors whose lowest layers are some of `layers`; `gates` are theirs, in order."""
        groups = [
            (pattern, torch.tensor(places), HeldOut.of(loaded, [pairs[place] for place in places], layers))
            for pattern, places in _grouped(_patterns(loaded, pair_prompts(loaded, pairs), gates)).items()
        ]
        return cls(len(pairs), tuple(groups))

    def effects(self, parts: Sequence[Deltas]) -> Tensor:
        """(n,) float64: change of each pair's gap, nats a token, under those of `parts` whose gates are open."""
        found = torch.zeros(self.n, dtype=torch.float64)
        for pattern, places, ready in self.groups:
            if deltas := _open(parts, pattern):
                found[places] = ready.effects(deltas)
        return found

    def effects_of(self, part: Deltas) -> Tensor:
        """(n,) float64: of one vector, whatever gates say."""
        found = torch.zeros(self.n, dtype=torch.float64)
        for _, places, ready in self.groups:
            found[places] = ready.effects(part)
        return found


@dataclass(frozen=True)
class GatedText:
    """Neutral texts in groups, each of the texts that open the same gates."""

    groups: tuple[tuple[Pattern, Prepared, int], ...]

    @classmethod
    def of(
        cls, loaded: LoadedModel, texts: Sequence[NeutralText], layers: Sequence[int], gates: Sequence[Probe | None]
    ) -> "GatedText":
        """As for pairs."""
        prompts = neutral_prompts(loaded, texts).as_they_stand
        groups = []
        for pattern, places in _grouped(_patterns(loaded, prompts, gates)).items():
            some = [texts[place] for place in places]
            scored = sum(len(encode_neutral(loaded.tokenizer, text).reply_ids) for text in some)
            groups.append((pattern, prepare_neutral(loaded, some, layers), scored))
        return cls(tuple(groups))

    def divergences(self, parts: Sequence[Deltas]) -> Tensor:
        """KL(unsteered ‖ steered) in nats at every scored position (n,): 0 where no gate is open."""
        found = []
        for pattern, quiet, scored in self.groups:
            deltas = _open(parts, pattern)
            found.append(disturbance(quiet, [under(quiet, deltas)])[0] if deltas else torch.zeros(scored))
        return torch.cat(found)

    def divergences_of_all(self, parts: Sequence[Deltas]) -> Tensor:
        """The same (n,) for a server that heeds no gate."""
        whole = joined(parts)
        return torch.cat([disturbance(quiet, [under(quiet, whole)])[0] for _, quiet, _ in self.groups])


def _patterns(loaded: LoadedModel, prompts: Sequence[Ids], gates: Sequence[Probe | None]) -> list[Pattern]:
    """For each prompt, which gates are open; where there is no gate, it is."""
    always = torch.ones(len(prompts), dtype=torch.bool)
    told = [always if gate is None else opens_for(loaded, gate, prompts) for gate in gates]
    return [tuple(row) for row in torch.stack(told, dim=1).tolist()]


def _grouped(patterns: Sequence[Pattern]) -> dict[Pattern, list[int]]:
    """The places of each pattern, in the order in which patterns first come."""
    found: dict[Pattern, list[int]] = {}
    for place, pattern in enumerate(patterns):
        found.setdefault(pattern, []).append(place)
    return found


def _open(parts: Sequence[Deltas], pattern: Pattern) -> dict[int, Tensor]:
    return joined(part for part, is_open in zip(parts, pattern, strict=True) if is_open)
