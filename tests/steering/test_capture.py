"""Block outputs are read where they are, as the next block gets them, at the tokens that are wanted and no others."""

import pytest
import torch

from daemon.steering.apply import steer
from daemon.steering.text import encode, encode_pairs
from tests.steering import oracle
from tests.steering.planted import make_pairs
from tests.steering.readings import reply_means
from tests.tiny import HIDDEN, tiny_loaded, tiny_tokenizer

TOKENIZER = tiny_tokenizer()
LAYERS = range(4)


def texts():
    return [*encode_pairs(TOKENIZER, make_pairs(3)), encode(TOKENIZER, "A much longer prompt than others", "ok")]


def test_means_are_those_of_one_sequence_at_a_time(loaded):
    items = texts()
    found = reply_means(loaded.layout, items, LAYERS).means.double()
    for i, item in enumerate(items):
        for layer in LAYERS:
            torch.testing.assert_close(
                found[i, layer], oracle.reply_mean(loaded.model, item, layer), atol=1e-4, rtol=1e-4
            )


def test_norms_are_those_of_every_token_but_the_first(loaded):
    """Defect 6: the first token is an attention sink; one of them weighs as much as a hundred others."""
    items = texts()
    norms = reply_means(loaded.layout, items, LAYERS).norms
    for layer in LAYERS:
        for item, found in zip(items, norms, strict=True):
            every = oracle.run(loaded.model, item.ids)[1][layer][1:].norm(dim=1)
            torch.testing.assert_close(found[layer], every, rtol=1e-4, atol=1e-4)


def test_a_huge_first_token_changes_nothing():
    loaded = tiny_loaded("llama")
    items = texts()
    before = reply_means(loaded.layout, items, [3])
    blocks = loaded.layout.blocks

    def sink(_module, _args, output):
        output = output.clone()
        output[:, 0] *= 1e4
        return output

    handle = blocks[3].register_forward_hook(sink)
    after = reply_means(loaded.layout, items, [3])
    handle.remove()
    assert torch.equal(before.median_norms, after.median_norms)
    assert torch.equal(before.means, after.means)


def test_the_last_layer_is_read_before_the_final_norm(loaded):
    """Defect 1: hidden_states[-1] is in another space."""
    item = encode(TOKENIZER, "Use tabs.", "Yes, tabs.")
    ours = reply_means(loaded.layout, [item], [3]).means[0, 0].double()
    with torch.no_grad():
        states = loaded.model(input_ids=torch.tensor([item.ids]), output_hidden_states=True).hidden_states
    normed = states[-1][0, len(item.prompt_ids) :].double().mean(0)
    assert (ours - normed).norm() > 0.1 * normed.norm()
    torch.testing.assert_close(ours, oracle.reply_mean(loaded.model, item, 3), atol=1e-4, rtol=1e-4)


def test_capture_sees_what_steering_added_even_after_hidden_states_were_asked_for():
    """The trap: transformers' own capture hooks, there since the first request, run before a hook that steers."""
    loaded = tiny_loaded("llama")
    item = encode(TOKENIZER, "Use tabs.", "Yes.")
    ids, delta = torch.tensor([item.ids]), torch.ones(HIDDEN)
    with torch.no_grad():
        plain = loaded.model(input_ids=ids, output_hidden_states=True).hidden_states[2]
    before = reply_means(loaded.layout, [item], [1]).means
    with steer(loaded.layout, {1: delta}), torch.no_grad():
        trapped = loaded.model(input_ids=ids, output_hidden_states=True).hidden_states[2]
        after = reply_means(loaded.layout, [item], [1]).means
    assert torch.equal(trapped, plain)  # the trap is still there: the day it is gone, this says so
    torch.testing.assert_close(after - before, torch.ones_like(before), atol=1e-5, rtol=0)


@pytest.mark.parametrize("others", [0, 5])
def test_padding_and_neighbours_change_nothing(loaded, others):
    """Defect 5: pads are never read, whatever their id is."""
    item = encode(TOKENIZER, "Use tabs.", "Yes.")
    longer = [encode(TOKENIZER, "x" * (40 + i), "y" * 30) for i in range(others)]
    alone = reply_means(loaded.layout, [item], LAYERS).means[0]
    torch.testing.assert_close(
        reply_means(loaded.layout, [item, *longer], LAYERS).means[0], alone, atol=1e-5, rtol=1e-5
    )


def test_neither_the_head_nor_a_block_above_the_wanted_ones_runs():
    loaded = tiny_loaded("llama")
    reply_means(loaded.layout, texts(), [0])  # by now it is known whether tries are exact, which takes whole passes
    ran = []
    handles = [
        loaded.layout.head.register_forward_hook(lambda *_: ran.append("head")),
        loaded.layout.blocks[1].register_forward_hook(lambda *_: ran.append("block 1")),
        loaded.layout.blocks[2].register_forward_pre_hook(lambda *_: ran.append("block 2")),
    ]
    reply_means(loaded.layout, texts()[:1], [0, 1])
    for handle in handles:
        handle.remove()
    assert set(ran) == {"block 1"}
    assert not any(block._forward_hooks for block in loaded.layout.blocks)
