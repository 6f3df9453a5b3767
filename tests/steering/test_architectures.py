"""What is promised of block outputs, tries, steering and sweeps holds in every architecture, or is refused in words."""

import pytest
import torch

from daemon.errors import DataError
from daemon.protocol import ExtractRequest
from daemon.steering.apply import steer
from daemon.steering.exactness import tries_are_exact
from daemon.steering.extract import run_extract
from daemon.steering.layout import find_layout
from daemon.steering.loading import load_model
from daemon.steering.sweep import logprobs, prepare, under
from daemon.steering.text import EncodedReply, encode_pairs
from daemon.steering.vector_file import load
from tests.steering import oracle
from tests.steering.families import ALL, COMMON, OTHERS, WINDOW, Family, family_model, fresh, shared_model
from tests.steering.planted import make_pairs
from tests.steering.readings import reply_means
from tests.tiny import HIDDEN, tiny_loaded, tiny_tokenizer

TOKENIZER = tiny_tokenizer()
LAYERS = range(4)
EVERY = [*COMMON, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)]
BRANCHES_MATTER = ("mpt", "mamba", "qwen3-next", "lfm2", "granite-hybrid")


@pytest.fixture(params=EVERY)
def family(request) -> str:
    return request.param


def drawn(count, seed):
    """Token ids that any of the tiny vocabularies has, none of them special."""
    return tuple(torch.randint(4, 250, (count,), generator=torch.Generator().manual_seed(seed)).tolist())


def texts():
    """Two pairs that share a system prompt, a reply that goes on where another one ends, a lone and a long one."""
    system = drawn(5, 0)
    one, two = system + drawn(6, 1), system + drawn(4, 2)
    longer = drawn(9, 3)
    return [
        *(EncodedReply(one, longer[:6]), EncodedReply(one, longer)),
        *(EncodedReply(two, drawn(7, 4)), EncodedReply(two, drawn(5, 5))),
        EncodedReply(drawn(1, 6), drawn(2, 7)),
        EncodedReply(drawn(16, 8), drawn(12, 9)),
    ]


def delta(seed=1):
    return 2 * torch.randn(HIDDEN, generator=torch.Generator().manual_seed(seed))


def require_means(loaded, items):
    """What is read is what one sequence at a time shows, at every block."""
    found = reply_means(loaded.layout, items, LAYERS).means.double()
    for index, item in enumerate(items):
        _, seen = oracle.run(loaded.model, item.ids)
        wanted = torch.stack([seen[layer][len(item.prompt_ids) :].double().mean(0) for layer in LAYERS])
        torch.testing.assert_close(found[index], wanted, atol=1e-4, rtol=1e-4)


def test_means_are_those_of_one_sequence_at_a_time_at_every_block(family):
    require_means(shared_model(family), texts())


def test_tries_are_used_exactly_where_columns_do_not_matter(family):
    assert tries_are_exact(shared_model(family).layout, texts()) is ALL[family].tries


def test_blocks_are_the_family_s_and_the_last_one_is_read_before_the_final_norm(family):
    loaded = shared_model(family)
    assert list(loaded.layout.blocks) == list(oracle.block_list(loaded.model))
    assert loaded.layout.head is loaded.model.get_output_embeddings()
    ids = torch.tensor([texts()[0].ids])
    last = {}
    handle = loaded.layout.blocks[-1].register_forward_hook(lambda _m, _a, out: last.update(out=out))
    with torch.no_grad():
        final = loaded.layout.decoder(input_ids=ids, use_cache=False).last_hidden_state
    handle.remove()
    hidden = last["out"][0] if isinstance(last["out"], tuple | list) else last["out"]
    assert hidden.shape == (*ids.shape, HIDDEN)
    if family not in ("openai-gpt", "opt-350m"):  # one has no final norm, the other a projection in its place
        assert not torch.allclose(hidden, final)


def test_a_steered_sweep_gives_what_adding_by_hand_to_whole_passes_gives(family):
    """In Gemma 4 upper blocks read keys and values of lower ones, too: what cannot be resumed is run whole."""
    loaded, items = shared_model(family), texts()[1:3]
    prepared = prepare(loaded, items, [0, 2, 3])
    base = logprobs(prepared, prepared.finals).tolist()
    assert base == pytest.approx([oracle.reply_logprob(loaded.model, item) for item in items], abs=2e-4)
    for layer in (0, 2, 3):
        found = logprobs(prepared, under(prepared, {layer: delta()})).tolist()
        wanted = [oracle.reply_logprob(loaded.model, item, {layer: delta()}) for item in items]
        assert found == pytest.approx(wanted, abs=2e-4)
        assert max(abs(one - two) for one, two in zip(found, base, strict=True)) > 0.001


def test_a_vector_is_added_to_all_tokens_of_all_rows_but_the_first_one(family):
    loaded = shared_model(family)
    rows = [drawn(9, 11), drawn(6, 12)]
    ids = torch.tensor([rows[0], rows[1] + (0,) * 3])
    mask = torch.tensor([[1] * 9, [1] * 6 + [0] * 3])
    seen = []

    def see(_module, _args, output):
        seen.append((output[0] if isinstance(output, tuple | list) else output).clone())

    block = loaded.layout.blocks[2]
    before = block.register_forward_hook(see)
    with steer(loaded.layout, {2: delta()}), torch.no_grad():
        after = block.register_forward_hook(see)
        loaded.model(input_ids=ids, attention_mask=mask, use_cache=False)
        after.remove()
    before.remove()
    added = seen[1] - seen[0]
    torch.testing.assert_close(added[:, 0], torch.zeros(2, HIDDEN))
    for row, ids_of_row in enumerate(rows):
        wanted = delta().expand(len(ids_of_row) - 1, HIDDEN)
        torch.testing.assert_close(added[row, 1 : len(ids_of_row)], wanted, atol=1e-4, rtol=0)


def test_generation_under_the_cache_is_steered_like_whole_passes(family):
    loaded, ids = shared_model(family), list(drawn(WINDOW + 2, 13))
    deltas, new, end = {1: delta()}, 5, loaded.model.config.get_text_config().eos_token_id
    settings = {"max_new_tokens": new, "min_new_tokens": new, "do_sample": False, "use_cache": True}
    with steer(loaded.layout, deltas), torch.no_grad():
        given = {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
        found = loaded.model.generate(**given, **settings, pad_token_id=0)[0].tolist()
    for _ in range(new):
        scores = oracle.run(loaded.model, ids, deltas)[0][-1].clone()
        scores[end] = -torch.inf  # generate() is told to go on
        ids.append(int(scores.argmax()))
    assert found == ids


def branches(count=4):
    return [EncodedReply(drawn(12, 20), drawn(8, 30 + index)) for index in range(count)]


def chain():
    """One reply goes on where the other ends: as a trie, a single line in which no column is out of place."""
    reply = drawn(20, 21)
    return [EncodedReply(drawn(12, 20), reply), EncodedReply(drawn(12, 20), reply[:15])]


@pytest.mark.parametrize("name", BRANCHES_MATTER)
def test_the_longest_texts_forming_one_line_do_not_hide_that_branches_are_wrong(name):
    require_means(fresh(name), chain() + branches())


@pytest.mark.parametrize("first", [chain()[:1], chain(), chain()[:1] * 2], ids=["one text", "one line", "twice one"])
@pytest.mark.parametrize("name", ["mpt", "qwen3-next"])
def test_what_was_found_out_on_texts_without_branches_is_not_believed_of_others(name, first):
    loaded = fresh(name)
    require_means(loaded, first)
    require_means(loaded, branches())


def test_texts_that_share_nothing_at_all():
    for name in ("llama", "qwen3-next", "gemma3-window"):
        require_means(fresh(name), [EncodedReply(drawn(10, 40 + i), drawn(10, 60 + i)) for i in range(4)])


def wider(name, **settings):
    """With a hidden size of 256: the wider a model, the longer the tries that pay."""
    family = ALL[name]
    width = {"gpt2": ["n_embd"], "gptj": ["n_embd"], "opt": ["hidden_size", "word_embed_proj_dim"]}
    changed = settings | dict.fromkeys(width.get(name, ["hidden_size"]), 256)
    return tiny_loaded(model=family_model(Family(family.model_type, family.settings | changed)))


def test_a_window_over_columns_is_found_out_though_no_text_is_as_long_as_it():
    """GPT-Neo's local blocks count columns, not positions: a trie of many short texts is wider than the window."""
    loaded = wider("gpt-neo", window_size=40)
    require_means(loaded, [EncodedReply(drawn(2, 20), drawn(12, 30 + index)) for index in range(30)])


def test_a_window_that_only_the_longest_texts_pass_is_found_out_after_shorter_ones():
    loaded = fresh("gemma3-window")
    short = [EncodedReply(drawn(3, 20), drawn(4, 30 + index)) for index in range(4)]
    assert tries_are_exact(loaded.layout, short)
    require_means(loaded, short)
    require_means(loaded, short + texts())
    require_means(loaded, short)


@pytest.mark.parametrize("name", ["gpt2", "opt", "gptj", "gpt-neo", "llama"])
def test_many_texts_together_may_be_longer_than_the_model_s_context(name):
    """Each has 64 tokens and the model 72 positions; packed together they have some five hundred."""
    limit = "n_positions" if name in ("gpt2", "gptj") else "max_position_embeddings"
    loaded = wider(name, **{limit: 72})
    require_means(loaded, [EncodedReply(drawn(24, 20), drawn(40, 30 + index)) for index in range(12)])


@pytest.mark.parametrize("name", ["gemma2", "gpt-neo", "gpt-oss-window", "bloom", "mpt", "mamba", "llama4", "gemma3"])
def test_a_model_is_loaded_with_the_attention_that_its_architecture_has(name, tmp_path):
    """Not all have the fused one: soft caps and sinks are computed step by step."""
    model = family_model(ALL[name])
    model.save_pretrained(tmp_path)
    TOKENIZER.save_pretrained(tmp_path)
    item = texts()[0]
    told, _ = oracle.run(model, item.ids)
    loaded = load_model(tmp_path)
    torch.testing.assert_close(oracle.run(loaded.model, item.ids)[0], told, atol=1e-4, rtol=1e-4)
    require_means(loaded, texts()[:3])


@pytest.mark.parametrize("name", ["gemma3-window", "qwen3-next", "gemma4", "gemma3-with-vision", "opt"])
def test_extracted_vectors_are_mean_differences_of_single_passes(name, tmp_path):
    loaded, pairs = shared_model(name), sorted(make_pairs(4), key=lambda pair: pair.id)
    out = tmp_path / "vector.safetensors"
    request = ExtractRequest(model="unused", behaviour="planted", pairs=tuple(pairs), out=out)
    run_extract(loaded, request, lambda _: None)
    items = encode_pairs(TOKENIZER, pairs)
    for layer in LAYERS:
        means = torch.stack([oracle.reply_mean(loaded.model, item, layer) for item in items])
        wanted = (means[0::2] - means[1::2]).mean(0).float()
        torch.testing.assert_close(torch.from_numpy(load(out).vectors[layer]), wanted, atol=1e-4, rtol=1e-4)


REFUSED = {
    "reads both ways": Family("bert", ALL["biogpt"].settings),
    "attention and MLP in lists of their own": Family(
        "xlm", {"emb_dim": HIDDEN, "n_layers": 4, "n_heads": 4, "causal": True, "n_langs": 1}
    ),
    "several residual streams": Family(
        "gemma3n_text",
        ALL["gemma3"].settings
        | {
            "hidden_size_per_layer_input": 8,
            "vocab_size_per_layer_input": 260,
            "laurel_rank": 4,
            "num_kv_shared_layers": 2,
            "altup_num_inputs": 2,
            "activation_sparsity_pattern": [0.0] * 4,
        },
    ),
    "asks for a language first": Family(
        "xmod", ALL["biogpt"].settings | {"is_decoder": True, "languages": ["en_XX", "de_DE"]}
    ),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_cannot_be_steered_is_refused_in_words(why):
    model = family_model(REFUSED[why])
    with pytest.raises(DataError, match="use a causal language model"):
        find_layout(model)
