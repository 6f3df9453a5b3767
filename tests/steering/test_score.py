"""Log-probabilities are those of whole forward passes, and the head sees no more than it must."""

import math

import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma2Config, GraniteConfig, MixtralConfig

from daemon.steering import score
from daemon.steering.apply import steer
from daemon.steering.forward import HEAD_ROWS, divergences, logits
from daemon.steering.text import encode, encode_neutral, encode_pairs
from tests.steering import oracle
from tests.steering.planted import make_pairs, neutral
from tests.tiny import HIDDEN, VOCABULARY, tiny_loaded, tiny_tokenizer

TOKENIZER = tiny_tokenizer()


def test_reply_logprobs_are_those_of_one_sequence_at_a_time(loaded):
    items = [*encode_pairs(TOKENIZER, make_pairs(3)), encode(TOKENIZER, "plain", "text")]
    wanted = [oracle.reply_logprob(loaded.model, item) for item in items]
    assert score.reply_logprobs(loaded, items).tolist() == pytest.approx(wanted, abs=1e-4)


def test_reply_logprobs_under_a_vector_too(loaded):
    items, deltas = encode_pairs(TOKENIZER, make_pairs(3)), {1: torch.ones(HIDDEN)}
    with steer(loaded.layout, deltas):
        found = score.reply_logprobs(loaded, items)
    assert found.tolist() == pytest.approx(
        [oracle.reply_logprob(loaded.model, item, deltas) for item in items], abs=1e-4
    )


def test_a_gap_is_positive_minus_negative_for_each_token(llama):
    pairs = make_pairs(3)
    for gap, pair in zip(score.gaps(llama, pairs).tolist(), pairs, strict=True):
        good, bad = (encode(TOKENIZER, pair.prompt, reply) for reply in (pair.positive, pair.negative))
        assert gap == pytest.approx(
            oracle.reply_logprob(llama.model, good) - oracle.reply_logprob(llama.model, bad), abs=1e-4
        )


def test_a_longer_reply_is_not_a_likelier_one(llama):
    """A sum over tokens would prefer the short reply by its length alone."""
    short, long = (encode(TOKENIZER, "x", reply) for reply in ("aaaa", "aaaa" * 8))
    assert abs(score.reply_logprobs(llama, [short]) - score.reply_logprobs(llama, [long])) < 3


def test_neutral_logprobs_and_perplexity(loaded):
    texts = neutral()
    items = [encode_neutral(TOKENIZER, text) for text in texts]
    found = score.neutral_logprobs(loaded, texts)
    nll = []
    for item, told in zip(items, found, strict=True):
        whole, _ = oracle.run(loaded.model, item.ids)
        start = len(item.prompt_ids)
        torch.testing.assert_close(told, whole[start - 1 : len(item.ids) - 1], atol=2e-4, rtol=1e-3)
        nll += [-float(told[i, token]) for i, token in enumerate(item.reply_ids)]
    assert score.perplexity(found, items) == pytest.approx(math.exp(sum(nll) / len(nll)), rel=1e-5)


def test_kl_statistics_of_known_distributions():
    base = [torch.tensor([[0.5, 0.5], [0.9, 0.1]]).log(), torch.tensor([[0.5, 0.5]]).log()]
    other = [torch.tensor([[0.25, 0.75], [0.9, 0.1]]).log(), torch.tensor([[0.5, 0.5]]).log()]
    one = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    found = score.kl_statistics(base, other)
    assert found.mean == pytest.approx(one / 3, rel=1e-5)
    assert found.rmse == pytest.approx(one / math.sqrt(3), rel=1e-5)
    assert found.p95 == pytest.approx(0.9 * one, rel=1e-5)


def test_divergences_from_hidden_states_are_those_of_whole_distributions(llama):
    draw = torch.Generator().manual_seed(0)
    base, one, two = (torch.randn(2 * HEAD_ROWS + 3, HIDDEN, generator=draw) for _ in range(3))
    found = divergences(llama.model, llama.layout, base, [one, two])
    told = [logits(llama.model, llama.layout, each).log_softmax(1) for each in (base, one, two)]
    for row, other in zip(found, told[1:], strict=True):
        torch.testing.assert_close(row, (told[0].exp() * (told[0] - other)).sum(1), atol=1e-5, rtol=1e-4)
    assert divergences(llama.model, llama.layout, base, [base]).abs().max() == 0


SHAPE = {
    "vocab_size": VOCABULARY, "hidden_size": HIDDEN, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "intermediate_size": 48, "pad_token_id": 0, "initializer_range": 0.3,
}  # fmt: skip


@pytest.mark.parametrize(
    "config",
    [
        Gemma2Config(**SHAPE, head_dim=8, final_logit_softcapping=2.0),
        GraniteConfig(**SHAPE, logits_scaling=7.0),
        MixtralConfig(**SHAPE, num_local_experts=2),
    ],
    ids=lambda config: config.model_type,
)
def test_what_a_model_does_after_its_head_is_done(config):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).train(False)
    loaded = tiny_loaded(model=model)
    item = encode(TOKENIZER, "Use tabs.", "Yes.")
    assert float(score.reply_logprobs(loaded, [item])) == pytest.approx(oracle.reply_logprob(model, item), abs=1e-4)


def test_the_head_sees_only_positions_whose_prediction_counts(llama):
    item, seen = encode(TOKENIZER, "A long prompt that nobody predicts", "Yes."), []
    handle = llama.layout.head.register_forward_pre_hook(lambda _m, args: seen.append(args[0].shape[-2]))
    score.reply_logprobs(llama, [item])
    handle.remove()
    assert sum(seen) == len(item.reply_ids)


def test_the_decoder_is_whole_again_after_the_head_was_asked(llama):
    logits(llama.model, llama.layout, torch.zeros(2, HIDDEN))
    assert "forward" not in vars(llama.layout.decoder)
