"""A sweep pays for the upper part only, and gives what whole passes give."""

import pytest
import torch

from daemon.steering.exactness import resumes_exactly
from daemon.steering.sweep import disturbance, logprobs, perplexity, prepare, under
from daemon.steering.text import encode_neutral, encode_pairs
from daemon.steering.trees import make_batches
from tests.steering import oracle
from tests.steering.planted import make_pairs, neutral
from tests.tiny import HIDDEN, tiny_loaded, tiny_tokenizer

TOKENIZER = tiny_tokenizer()


def texts():
    return encode_pairs(TOKENIZER, make_pairs(3))


def delta(seed=1):
    return 2 * torch.randn(HIDDEN, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("layer", [0, 1, 3])
def test_a_resumed_pass_gives_what_a_whole_one_gives(loaded, layer):
    items = texts()
    prepared = prepare(loaded, items, [layer])
    assert all(layer in kept for kept in prepared.kept)
    found = logprobs(prepared, under(prepared, {layer: delta()}))
    wanted = [oracle.reply_logprob(loaded.model, item, {layer: delta()}) for item in items]
    assert found.tolist() == pytest.approx(wanted, abs=1e-4)
    base = [oracle.reply_logprob(loaded.model, item) for item in items]
    assert logprobs(prepared, prepared.finals).tolist() == pytest.approx(base, abs=1e-4)


@pytest.mark.parametrize("tries", [True, False])
def test_both_kinds_of_batches_resume(loaded, tries):
    batch = make_batches(texts(), tries=tries)[0]
    assert resumes_exactly(loaded.layout, batch, 2)


def test_the_lower_blocks_do_not_run_again():
    loaded = tiny_loaded("llama")
    prepared = prepare(loaded, texts(), [2])
    ran = []
    handles = [
        block.mlp.register_forward_hook(lambda *_, index=index: ran.append(index))
        for index, block in enumerate(loaded.layout.blocks)
    ]
    under(prepared, {2: delta()})
    for handle in handles:
        handle.remove()
    assert set(ran) == {3}
    assert not any("forward" in vars(block) for block in loaded.layout.blocks)


def test_a_model_whose_upper_blocks_read_the_lower_ones_is_found_out():
    """Its blocks share something beside the residual stream: resumed, it would give other numbers, so it is not."""
    loaded = tiny_loaded("llama")
    first, last = loaded.layout.blocks[0], loaded.layout.blocks[3]
    shared = {}
    first.mlp.register_forward_hook(lambda _m, _a, output: shared.update(told=output))
    last.register_forward_hook(lambda _m, _a, output: output + shared.pop("told", torch.ones(1)))
    items = texts()
    prepared = prepare(loaded, items, [1])
    assert all(not kept for kept in prepared.kept)
    found = logprobs(prepared, under(prepared, {1: delta()}))
    assert found.tolist() == pytest.approx(
        [oracle.reply_logprob(loaded.model, item, {1: delta()}) for item in items], abs=1e-4
    )


def test_a_vector_of_nothing_changes_nothing(llama):
    items = [encode_neutral(TOKENIZER, text) for text in neutral()]
    prepared = prepare(llama, items, [1])
    same = under(prepared, {1: torch.zeros(HIDDEN)})
    assert disturbance(prepared, [same]).abs().max() < 1e-6
    assert perplexity(prepared, same) == pytest.approx(perplexity(prepared, prepared.finals))


def test_disturbance_is_the_divergence_at_every_scored_position(llama):
    items = [encode_neutral(TOKENIZER, text) for text in neutral()]
    prepared = prepare(llama, items, [1])
    found = disturbance(prepared, [under(prepared, {1: delta(seed)}) for seed in (1, 2)])
    for row, seed in zip(found, (1, 2), strict=True):
        wanted = []
        for item in items:
            (base, _), (steered, _) = (oracle.run(llama.model, item.ids, d) for d in ({}, {1: delta(seed)}))
            kl = (base.exp() * (base - steered)).sum(-1)
            wanted += kl[len(item.prompt_ids) - 1 : len(item.ids) - 1].tolist()
        assert sorted(row.tolist()) == pytest.approx(sorted(wanted), abs=1e-3)
