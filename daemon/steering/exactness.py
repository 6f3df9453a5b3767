"""Whether a short cut gives what the long way gives, found by taking both once; what disagrees is not used.

Remembered for as long as a model lives, since it follows from its architecture and not from its weights.
"""

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from daemon.steering.forward import decode
from daemon.steering.layout import Layout
from daemon.steering.resume import kept_outputs, resumed
from daemon.steering.text import EncodedReply
from daemon.steering.trees import Batch, make_batches

TOLERANCE = 1e-3
_FAULTS = (ValueError, RuntimeError, TypeError, AttributeError, IndexError, KeyError)

_tries: WeakKeyDictionary[nn.Module, tuple[bool, int]] = WeakKeyDictionary()
_resumes: WeakKeyDictionary[nn.Module, dict[int, bool]] = WeakKeyDictionary()


def tries_are_exact(layout: Layout, items: Sequence[EncodedReply]) -> bool:
    """Whether sequences packed into a trie give what they give apart: tried on the two longest of `items`."""
    longest = sorted(items, key=lambda item: (-len(item.ids), item.ids))[:2]
    known = _tries.get(layout.decoder)
    if known is None or (known[0] and known[1] < len(longest[0].ids)):
        known = (_tries_agree(layout, longest), len(longest[0].ids))
        _tries[layout.decoder] = known
    return known[0]


def resumes_exactly(layout: Layout, batch: Batch, layer: int) -> bool:
    """Whether a pass resumed at block `layer` gives what a whole pass gives: tried on `batch`."""
    known = _resumes.setdefault(layout.decoder, {})
    if layer not in known:
        known[layer] = _resumption_agrees(layout, batch, layer)
    return known[layer]


def pack(layout: Layout, items: Sequence[EncodedReply]) -> list[Batch]:
    """`items` in tries where this model takes them, else padded."""
    return make_batches(items, tries=tries_are_exact(layout, items))


def _tries_agree(layout: Layout, items: Sequence[EncodedReply]) -> bool:
    with torch.no_grad():
        apart = [decode(layout, make_batches([item], tries=False)[0]) for item in items]
        try:
            batches = make_batches(items, tries=True, token_budget=sum(len(item.ids) for item in items))
            together = decode(layout, batches[0])
        except _FAULTS:
            return False
    owners = batches[0].owners
    return all(_agree(together[owners == index], alone) for index, alone in enumerate(apart))


def _resumption_agrees(layout: Layout, batch: Batch, layer: int) -> bool:
    with torch.no_grad(), kept_outputs(layout, [layer]) as kept:
        whole = decode(layout, batch)
        try:
            with resumed(layout, layer, kept[layer]):
                again = decode(layout, batch)
        except _FAULTS:
            return False
    return _agree(again, whole)


def _agree(one: Tensor, two: Tensor) -> bool:
    return one.shape == two.shape and bool((one - two).abs().max() <= TOLERANCE * two.abs().max())
