"""Whether a short cut gives what the long way gives, found by taking both once; what disagrees is not used.

What is tried is made for it: one text as long as the longest, and forks of it at several places, as many as make a trie
as wide as the widest. Texts at hand may agree for the wrong reason: one is the beginning of the other, or they share
nothing and the model measures distances only. A verdict holds for lengths and widths up to those tried, since a window
may be longer than what was tried, and some windows count columns of the trie.

Remembered for as long as a model lives; `daemon.steering.verdicts` keeps it longer.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from daemon.steering.forward import decode
from daemon.steering.layout import Layout
from daemon.steering.resume import kept_outputs, resumed
from daemon.steering.text import EncodedReply, Ids
from daemon.steering.trees import Batch, iter_batches, make_batches, make_trie, widest_trie
from daemon.steering.trie_attention import attends_by_blocks

TOLERANCE = 1e-3
ATTENTION_WIDTH = 3
"""A block does some 24 h² operations a token and 4 h a meeting of two tokens, the latter half as fast."""
_FAULTS = (ValueError, RuntimeError, TypeError, AttributeError, AssertionError, IndexError, KeyError)


class Way(Enum):
    """How sequences may be put together, the cheapest first."""

    BLOCKS = "tries, attention by blocks"
    TRIES = "tries"
    APART = "apart, padded"


@dataclass(frozen=True)
class Verdict:
    """The way that was found exact for texts of up to `length` tokens in tries of up to `width`."""

    way: Way
    length: int
    width: int


UNTRIED = Verdict(Way.BLOCKS, 0, 0)
_verdicts: WeakKeyDictionary[nn.Module, Verdict] = WeakKeyDictionary()
_resumes: WeakKeyDictionary[nn.Module, dict[int, bool]] = WeakKeyDictionary()


def way_of(layout: Layout, items: Sequence[EncodedReply]) -> Way:
    """The first way that gives what sequences give apart, for texts as long as `items`; a way once lost stays lost."""
    known = verdict_of(layout)
    if known.way is Way.APART:
        return known.way
    longest = max((item.ids for item in items), key=lambda ids: (len(ids), ids))
    width = widest_trie(items)
    if known.length < len(longest) or known.width < width:
        length, width = _round(layout, max(known.length, len(longest))), max(known.width, _round(layout, width))
        found = _first_exact(layout, _forks(_as_long(longest, length), width), known.way)
        remember_verdict(layout, Verdict(found, length, width))
    return verdict_of(layout).way


def verdict_of(layout: Layout) -> Verdict:
    """What is known of a model so far."""
    return _verdicts.get(layout.decoder, UNTRIED)


def remember_verdict(layout: Layout, verdict: Verdict) -> None:
    """Take a verdict for what is known of a model."""
    _verdicts[layout.decoder] = verdict


def tries_are_exact(layout: Layout, items: Sequence[EncodedReply]) -> bool:
    """Whether sequences packed into a trie give what they give apart."""
    return way_of(layout, items) is not Way.APART


def _round(layout: Layout, tokens: int) -> int:
    """The next power of two, so that few lengths are tried; no longer than the model reads, unless the text is."""
    config = getattr(layout.decoder, "config", None)
    most = getattr(config, "max_position_embeddings", None)
    power = 1 << (tokens - 1).bit_length()
    return max(tokens, min(power, most)) if isinstance(most, int) else power


def _as_long(ids: Ids, length: int) -> Ids:
    return (ids * (length // len(ids) + 1))[:length]


def _forks(ids: Ids, width: int) -> list[EncodedReply]:
    """`ids`, and the same with other tokens from some place on, so many that their trie has `width` tokens."""
    forked, held, turn = [EncodedReply(ids[:1], ids[1:])], len(ids), 0
    while turn < 2 or held < width:
        at = (len(ids) // 3, 1, len(ids) // 2, 0)[turn % 4]
        other = ids[:at] + tuple((token + 1 + turn) % max(2, max(ids)) for token in ids[at:])
        forked.append(EncodedReply(other[:1], other[1:]))
        held, turn = held + len(ids) - at, turn + 1
    return forked


def resumes_exactly(layout: Layout, batch: Batch, layer: int) -> bool:
    """Whether a pass resumed at block `layer` gives what a whole pass gives: tried on `batch`."""
    known = _resumes.setdefault(layout.decoder, {})
    if layer not in known:
        known[layer] = _resumption_agrees(layout, batch, layer)
    return known[layer]


def pack(layout: Layout, items: Sequence[EncodedReply]) -> Iterator[Batch]:
    """`items` in tries where this model takes them, else padded."""
    return _batches(layout, items, way_of(layout, items))


def batches_of(layout: Layout, items: Sequence[EncodedReply], *, tries: bool) -> Iterator[Batch]:
    """`items` in tries or padded, as was found out before."""
    return _batches(layout, items, Way.TRIES if tries else Way.APART)


def _batches(layout: Layout, items: Sequence[EncodedReply], way: Way) -> Iterator[Batch]:
    width = ATTENTION_WIDTH * layout.hidden_size
    made = iter_batches(items, tries=way is not Way.APART, blocks=way is Way.BLOCKS, width=width)
    return (batch.to(layout.device, layout.dtype) for batch in made)


def _first_exact(layout: Layout, forks: Sequence[EncodedReply], best: Way) -> Way:
    """Two of `forks` are shown: one leaves the text in its midst, one has the whole trie to see too much of."""
    last = max(range(len(forks)), key=lambda index: (forks[index].ids, index))
    with torch.no_grad():
        shown = {index: decode(layout, make_batches([forks[index]], tries=False)[0]) for index in sorted({1, last})}
        ways = [Way.BLOCKS] if best is Way.BLOCKS and attends_by_blocks(layout) else []
        return next((way for way in (*ways, Way.TRIES) if _tries_agree(layout, forks, shown, way)), Way.APART)


def _tries_agree(layout: Layout, forks: Sequence[EncodedReply], shown: dict[int, Tensor], way: Way) -> bool:
    """Whether one trie of all `forks` gives the hidden states that those of `shown` have alone."""
    batch = make_trie(forks, blocks=way is Way.BLOCKS)
    try:
        together = decode(layout, batch)
    except _FAULTS:
        return False
    owners = batch.owners.to(together.device)
    return all(_agree(together[owners == index], alone) for index, alone in shown.items())


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
    """Whether the hidden state of each token is the same, but for rounding, which is coarse in bfloat16.

    Measured there: up to 0.012 where a short cut is exact, from 0.05 where it is not.
    """
    tolerance = max(TOLERANCE, 4 * torch.finfo(two.dtype).eps)
    return one.shape == two.shape and bool(((one - two).norm(dim=-1) <= tolerance * two.norm(dim=-1)).all())
