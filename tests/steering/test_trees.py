"""Packing changes what is computed, never what comes out."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from daemon.steering import exactness
from daemon.steering.exactness import pack, tries_are_exact
from daemon.steering.score import reply_logprobs
from daemon.steering.text import EncodedReply, encode
from daemon.steering.trees import average_by_item, make_batches
from tests.tiny import tiny_loaded, tiny_tokenizer

TOKENIZER = tiny_tokenizer()
ids = st.lists(st.integers(0, 2), min_size=1, max_size=6).map(tuple)
items_of = st.lists(st.builds(EncodedReply, ids, ids), min_size=1, max_size=12)


def texts():
    prompts = ("Use tabs, please.", "Use tabs in it.", "And now?")
    return [encode(TOKENIZER, prompt, reply) for prompt in prompts for reply in ("Yes, at once", "No. Rather not", "Y")]


@given(items_of, st.booleans(), st.integers(4, 30))
def test_every_scored_token_of_every_item_stands_once_after_its_own_prefix(items, tries, budget):
    found: dict[int, list[int]] = {index: [] for index in range(len(items))}
    for batch in make_batches(items, tries=tries, token_budget=budget):
        for row, column, before, target, owner in zip(
            batch.rows, batch.columns, batch.before, batch.targets, batch.owners, strict=True
        ):
            item, place = items[owner], len(items[owner].prompt_ids) + len(found[int(owner)])
            assert batch.input_ids[row, column] == target == item.ids[place]
            assert batch.position_ids[row, column] == batch.position_ids[row, before] + 1 == place
            assert batch.input_ids[row, before] == item.ids[place - 1]
            found[int(owner)].append(int(target))
    assert [tuple(found[index]) for index in range(len(items))] == [item.reply_ids for item in items]


@given(items_of, st.integers(4, 30))
def test_in_a_trie_a_token_sees_its_own_prefix_and_nothing_else(items, budget):
    for batch in make_batches(items, tries=True, token_budget=budget):
        for column, before, target, owner in zip(batch.columns, batch.before, batch.targets, batch.owners, strict=True):
            seen = (batch.attention_mask[0, 0, before] == 0).nonzero()[:, 0]
            order = seen[batch.position_ids[0, seen].argsort()]
            place = int(batch.position_ids[0, column])
            assert tuple(batch.input_ids[0, order].tolist()) == items[owner].ids[:place]
            assert items[owner].ids[place] == target


@given(items_of, st.booleans())
def test_every_token_but_the_first_is_read_once_for_each_item(items, tries):
    read = sum(len(batch.read) for batch in make_batches(items, tries=tries))
    assert read == sum(len(item.ids) - 1 for item in items)


def test_a_trie_holds_what_is_shared_once():
    items = [encode(TOKENIZER, "the same prompt", reply) for reply in ("yes", "no")]
    batch = make_batches(items, tries=True)[0]
    assert batch.input_ids.shape == (1, len("the same prompt") + len("yes") + len("no"))


def test_no_batch_is_over_its_budget_unless_one_item_is():
    items = texts()
    for tries in (True, False):
        batches = make_batches(items, tries=tries, token_budget=60)
        assert len(batches) > 1
        assert all(batch.input_ids.numel() <= 60 for batch in batches)
        alone = make_batches(items, tries=tries, token_budget=1)
        assert sorted(int(o) for batch in alone for o in batch.owners.unique()) == list(range(len(items)))


def test_tries_give_what_the_sequences_give_alone(loaded):
    items = texts()
    assert tries_are_exact(loaded.layout, items)
    together = reply_logprobs(loaded, items)
    alone = torch.cat([reply_logprobs(loaded, [item]) for item in items])
    assert (together - alone).abs().max() < 1e-4


def test_a_window_shorter_than_the_text_is_found_out_and_tries_are_not_used():
    loaded = tiny_loaded("gemma3", sliding_window=8, layer_types=["sliding_attention"] * 4)
    short = [encode(TOKENIZER, "ab", "cd"), encode(TOKENIZER, "ab", "de")]
    long = [encode(TOKENIZER, "a prompt that is long", reply) for reply in (" and one", " or two")]
    assert tries_are_exact(loaded.layout, short)
    assert not tries_are_exact(loaded.layout, long)
    assert all(batch.attention_mask.ndim == 2 for batch in pack(loaded.layout, long))
    together = reply_logprobs(loaded, long)
    alone = torch.cat([reply_logprobs(loaded, [item]) for item in long])
    assert (together - alone).abs().max() < 1e-4


def test_a_model_that_takes_no_such_masks_is_found_out(monkeypatch):
    loaded = tiny_loaded("llama")
    whole = loaded.layout.decoder.forward

    def picky(*args, attention_mask=None, **kwargs):
        if attention_mask is not None and attention_mask.ndim != 2:
            raise ValueError("attention_mask must be 2-D")
        return whole(*args, attention_mask=attention_mask, **kwargs)

    monkeypatch.setattr(loaded.layout.decoder, "forward", picky)
    assert not tries_are_exact(loaded.layout, texts())


def test_what_was_found_out_is_not_tried_again(monkeypatch):
    loaded = tiny_loaded("llama")
    assert tries_are_exact(loaded.layout, texts())
    monkeypatch.setattr(exactness, "decode", lambda *_: pytest.fail("tried again"))
    assert tries_are_exact(loaded.layout, texts()[:2])


def test_means_by_item():
    items = [EncodedReply((1,), (2, 3)), EncodedReply((1,), (4,))]
    batches = make_batches(items, tries=False, token_budget=1)
    values = [batch.targets.float()[:, None] for batch in batches]
    assert average_by_item(values, batches, 2).tolist() == [[2.5], [4.0]]
