"""A vector is added once to every position but the first: in prompts, under the cache, in padded batches."""

import pytest
import torch

from daemon.steering.apply import steer
from tests.steering import oracle
from tests.tiny import HIDDEN, tiny_loaded, tiny_tokenizer

TOKENIZER = tiny_tokenizer()
PROMPTS = ("Use tabs.", "Write a much longer line here", "And?")
NEW = 6


def vector(scale=3.0, seed=3):
    return scale * torch.randn(HIDDEN, generator=torch.Generator().manual_seed(seed))


def ids_of(text):
    return TOKENIZER(text).input_ids


def generated(loaded, ids, mask=None, **options):
    ids = torch.tensor(ids)
    mask = torch.ones_like(ids) if mask is None else torch.tensor(mask)
    settings = {"max_new_tokens": NEW, "min_new_tokens": NEW, "do_sample": False, "use_cache": True}
    with torch.no_grad():
        out = loaded.model.generate(input_ids=ids, attention_mask=mask, **settings | options)
    return out[:, ids.shape[1] :].tolist()


def wanted(loaded, text, deltas):
    banned = loaded.model.config.eos_token_id  # generate() is told to go on, so the oracle must be
    ids = list(ids_of(text))
    for _ in range(NEW):
        scores = oracle.run(loaded.model, ids, deltas)[0][-1].clone()
        scores[banned] = -torch.inf
        ids.append(int(scores.argmax()))
    return ids[-NEW:]


def test_generate_with_the_cache_is_steered_at_every_new_token(loaded):
    """Defect 3: an index into the tokens of this pass means nothing once there is a cache."""
    deltas = {1: vector()}
    base = [generated(loaded, [ids_of(text)])[0] for text in PROMPTS]
    with steer(loaded.layout, deltas):
        steered = [generated(loaded, [ids_of(text)])[0] for text in PROMPTS]
    assert steered == [wanted(loaded, text, deltas) for text in PROMPTS]
    assert base == [wanted(loaded, text, {}) for text in PROMPTS]
    assert steered != base


def padded(side):
    rows = [ids_of(text) for text in PROMPTS]
    width = max(map(len, rows))
    fill = [[0] * (width - len(row)) for row in rows]
    ids = [f + r if side == "left" else r + f for f, r in zip(fill, rows, strict=True)]
    ones = [[1] * len(row) for row in rows]
    mask = [[0] * len(f) + o if side == "left" else o + [0] * len(f) for f, o in zip(fill, ones, strict=True)]
    return ids, mask


def test_generate_with_left_padding_steers_each_row_from_its_own_second_token(loaded):
    """Defects 4 and 5: all rows, and the first *real* column of each."""
    deltas = {2: vector()}
    ids, mask = padded("left")
    with steer(loaded.layout, deltas):
        found = generated(loaded, ids, mask)
    assert found == [wanted(loaded, text, deltas) for text in PROMPTS]


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_padded_batch_gives_what_its_rows_give_alone(loaded, side):
    deltas = {1: vector()}
    ids, mask = (torch.tensor(each) for each in padded(side))
    positions = (mask.cumsum(1) - 1).clamp_min(0)
    with steer(loaded.layout, deltas), torch.no_grad():
        told = loaded.model(input_ids=ids, attention_mask=mask, position_ids=positions).logits.log_softmax(-1)
    for row, text in enumerate(PROMPTS):
        alone = oracle.run(loaded.model, ids_of(text), deltas)[0]
        torch.testing.assert_close(told[row, mask[row].bool()], alone, atol=2e-4, rtol=1e-3)


def test_the_last_prompt_token_and_each_reply_token_are_steered_exactly_once():
    """Defect 8, and a vector that was added twice on reply tokens."""
    loaded = tiny_loaded("llama")
    seen, delta = [], torch.ones(HIDDEN)
    block = loaded.layout.blocks[1]
    before = block.register_forward_hook(lambda _m, _a, out: seen.append(out.clone()))
    with steer(loaded.layout, {1: delta}):
        after = block.register_forward_hook(lambda _m, _a, out: seen.append(out.clone()))
        generated(loaded, [ids_of("abc")])
    before.remove()
    after.remove()
    added = torch.cat([steered - plain for plain, steered in zip(seen[0::2], seen[1::2], strict=True)], dim=1)[0]
    assert added.shape[0] == 3 + NEW - 1
    torch.testing.assert_close(added[0], torch.zeros(HIDDEN))
    torch.testing.assert_close(added[1:], torch.ones_like(added[1:]), atol=1e-5, rtol=0)


def test_without_a_mask_the_cache_s_length_counts():
    loaded = tiny_loaded("llama")
    ids = torch.tensor([ids_of("Use tabs.")])
    deltas = {1: vector()}
    with steer(loaded.layout, deltas), torch.no_grad():
        first = loaded.model(input_ids=ids[:, :4], use_cache=True)
        rest = loaded.model(input_ids=ids[:, 4:], cache=first.past_key_values)
    alone = oracle.run(loaded.model, ids[0].tolist(), deltas)[0]
    torch.testing.assert_close(rest.logits[0].log_softmax(-1), alone[4:], atol=1e-4, rtol=1e-4)


def test_each_row_may_have_a_vector_of_its_own(loaded):
    rows = torch.stack([vector(seed=i) for i in range(3)])
    ids = torch.tensor([ids_of("Use tabs.")] * 3)
    with steer(loaded.layout, {1: rows}), torch.no_grad():
        told = loaded.model(input_ids=ids).logits.log_softmax(-1)
    for row in range(3):
        alone = oracle.run(loaded.model, ids[row].tolist(), {1: rows[row]})[0]
        torch.testing.assert_close(told[row], alone, atol=2e-4, rtol=1e-3)


def test_nested_vectors_add_up():
    loaded = tiny_loaded("llama")
    ids = ids_of("Use tabs.")
    one, two = vector(seed=1), vector(seed=2)
    with steer(loaded.layout, {1: one}), steer(loaded.layout, {1: two, 2: one}), torch.no_grad():
        told = loaded.model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
    torch.testing.assert_close(told, oracle.run(loaded.model, ids, {1: one + two, 2: one})[0], atol=1e-4, rtol=1e-4)


def test_another_model_is_not_touched():
    """Defect 4: no state is shared."""
    one, two = tiny_loaded("llama", seed=0), tiny_loaded("llama", seed=1)
    ids = torch.tensor([ids_of("Use tabs.")])
    with torch.no_grad():
        before = two.model(input_ids=ids).logits
        with steer(one.layout, {1: vector()}):
            assert torch.equal(two.model(input_ids=ids).logits, before)


def test_nothing_is_left_behind_even_after_an_error(loaded):
    def hooks():
        return [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in loaded.model.modules()]

    ids, hooks_before = torch.tensor([ids_of("Use tabs.")]), hooks()
    with torch.no_grad():
        before = loaded.model(input_ids=ids).logits
    with pytest.raises(IndexError), steer(loaded.layout, {1: vector(), 99: vector()}):
        pass
    with pytest.raises(ZeroDivisionError), steer(loaded.layout, {1: vector()}):
        raise ZeroDivisionError
    with torch.no_grad():
        assert torch.equal(loaded.model(input_ids=ids).logits, before)
    assert hooks() == hooks_before
