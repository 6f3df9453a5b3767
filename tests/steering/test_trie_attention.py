"""Attention by blocks is attention by the mask, with less work."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from daemon.steering import trees
from daemon.steering.exactness import Way, way_of
from daemon.steering.forward import decode
from daemon.steering.text import EncodedReply, encode
from daemon.steering.trees import make_batches, make_trie
from daemon.steering.trie_attention import by_blocks
from tests.tiny import tiny_loaded, tiny_tokenizer

TOKENIZER = tiny_tokenizer()
ids = st.lists(st.integers(0, 2), min_size=1, max_size=6).map(tuple)
items_of = st.lists(st.builds(EncodedReply, ids, ids), min_size=1, max_size=12)


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(trees, "BLOCK", 7)


def texts():
    prompts = ("Use tabs, please.", "Use tabs in it.", "And now?")
    return [encode(TOKENIZER, prompt, reply) for prompt in prompts for reply in ("Yes, at once", "No. Rather not", "Y")]


@given(items_of, st.integers(1, 9))
def test_blocks_see_exactly_what_the_mask_lets_be_seen(items, size):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trees, "BLOCK", size)
        batch = make_trie(items, blocks=True)
    wanted = make_trie(items, blocks=False).attention_mask[0, 0] == 0
    found = torch.zeros_like(wanted)
    for block in batch.blocks:
        keys = torch.cat([block.before, torch.arange(block.start, block.end)])
        for row, visible in zip(range(block.start, block.end), block.mask == 0, strict=True):
            found[row, keys[visible]] = True
    assert torch.equal(found, wanted)


def test_blocks_give_what_the_mask_gives(loaded, small_blocks):
    batch = make_trie(texts(), blocks=True)
    assert len(batch.blocks) > 10
    with torch.no_grad():
        wanted = decode(loaded.layout, make_trie(texts(), blocks=False))
        torch.testing.assert_close(decode(loaded.layout, batch), wanted, atol=1e-4, rtol=1e-4)


def test_the_attention_of_the_model_is_back_afterwards_whatever_happened():
    loaded = tiny_loaded("llama")
    before = loaded.layout.decoder.config._attn_implementation

    def interrupted():
        with by_blocks(loaded.layout, make_trie(texts(), blocks=True).blocks):
            assert loaded.layout.decoder.config._attn_implementation != before
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        interrupted()
    assert loaded.layout.decoder.config._attn_implementation == before


def test_blocks_that_are_wrong_are_found_out_and_the_mask_is_used(monkeypatch):
    right = trees.blocks_of
    monkeypatch.setattr(trees, "blocks_of", lambda seen: right(torch.ones_like(seen).tril()))
    loaded = tiny_loaded("llama")
    assert way_of(loaded.layout, texts()) is Way.TRIES
    monkeypatch.undo()
    assert way_of(tiny_loaded("llama").layout, texts()) is Way.BLOCKS


def test_a_model_that_attends_otherwise_takes_the_mask():
    loaded = tiny_loaded("llama")
    loaded.layout.decoder.config._attn_implementation = "eager"
    assert way_of(loaded.layout, texts()) is Way.TRIES


def test_with_blocks_a_trie_grows_as_long_as_it_pays():
    """A conversation stays whole however many replies it has; what shares nothing is not packed without end."""
    said = tuple(range(3, 103))
    shared = [EncodedReply((*said, number), (200, 201)) for number in range(300, 600)]
    assert [batch.input_ids.numel() for batch in make_batches(shared, tries=True, blocks=True)] == [1000]
    apart = [EncodedReply((1000 + number, *said), (200, 201)) for number in range(20)]
    assert max(batch.input_ids.numel() for batch in make_batches(apart, tries=True, blocks=True)) <= 512
