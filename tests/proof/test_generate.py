"""What a model says next, many prompts at once, is what it says when each is read alone and from the start."""

import pytest
import torch

from daemon.steering import generate as generation
from daemon.steering.generate import generate, generate_both
from tests.steering import oracle
from tests.steering.families import COMMON, OTHERS, fresh, shared_model
from tests.tiny import HIDDEN, tiny_loaded

NEW = 6
ALONE_ONLY = "rwkv"  # its rows disturb one another in transformers
EVERY = [*COMMON, ALONE_ONLY, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS if name != ALONE_ONLY)]


def drawn(count, seed):
    return tuple(torch.randint(4, 250, (count,), generator=torch.Generator().manual_seed(seed)).tolist())


PROMPTS = [drawn(9, 1), drawn(3, 2), drawn(20, 3), drawn(1, 4), drawn(9, 5)]


def vector(scale=3.0, seed=3):
    return scale * torch.randn(HIDDEN, generator=torch.Generator().manual_seed(seed))


def wanted(loaded, prompt, deltas=None, new=NEW, stops=(2,)):
    reply = oracle.generate(loaded.model, list(prompt), deltas or {}, new)[len(prompt) :]
    return tuple(reply[: next((i for i, token in enumerate(reply) if token in stops), new)])


@pytest.mark.parametrize("family", EVERY)
def test_replies_are_those_of_one_sequence_at_a_time_without_a_cache_in_every_architecture(family):
    loaded, deltas = shared_model(family), {1: vector()}
    without, with_them = generate_both(loaded, PROMPTS, deltas, NEW)
    assert without == [wanted(loaded, prompt) for prompt in PROMPTS]
    assert with_them == [wanted(loaded, prompt, deltas) for prompt in PROMPTS]
    assert without != with_them


@pytest.mark.parametrize("family", ["minimax", "rwkv"])
def test_a_model_that_reads_padding_otherwise_is_not_given_any(family, monkeypatch):
    """The mutant of the trial: where padding is taken to be exact, these models answer something else."""
    loaded = fresh(family)
    apart = [wanted(loaded, prompt) for prompt in PROMPTS]
    assert generate(loaded, PROMPTS, None, NEW) == apart
    monkeypatch.setattr(generation, "_together", lambda *_: generation.Together.PADDED)
    assert generate(loaded, PROMPTS, None, NEW) != apart


def test_each_prompt_may_have_a_vector_of_its_own():
    loaded = tiny_loaded("llama")
    rows = torch.stack([vector(seed=i) for i in range(len(PROMPTS))])
    found = generate(loaded, PROMPTS, {2: rows}, NEW)
    assert found == [wanted(loaded, prompt, {2: row}) for prompt, row in zip(PROMPTS, rows, strict=True)]


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_a_reply_does_not_depend_on_what_else_is_asked_nor_on_the_size_of_batches(temperature, monkeypatch):
    loaded, deltas = tiny_loaded("llama"), {1: vector()}
    together = generate(loaded, PROMPTS, deltas, NEW, temperature=temperature, seed=4)
    alone = [generate(loaded, [prompt], deltas, NEW, temperature=temperature, seed=4)[0] for prompt in PROMPTS]
    monkeypatch.setattr(generation, "ROWS", 2)
    by_two = generate(loaded, PROMPTS, deltas, NEW, temperature=temperature, seed=4)
    monkeypatch.setattr(generation, "TOKENS", 12)
    by_tokens = generate(loaded, PROMPTS, deltas, NEW, temperature=temperature, seed=4)
    assert together == alone == by_two == by_tokens


def test_the_same_seed_draws_the_same_and_another_seed_draws_otherwise():
    loaded = tiny_loaded("llama")
    first, again, other = (generate(loaded, PROMPTS, None, NEW, temperature=1.0, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert first != generate(loaded, PROMPTS, None, NEW)


def test_a_vector_of_zeros_draws_what_no_vector_draws():
    loaded = tiny_loaded("llama")
    without, with_them = generate_both(loaded, PROMPTS, {1: torch.zeros(HIDDEN)}, NEW, temperature=1.0)
    assert without == with_them


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_tokens_are_drawn_as_often_as_the_model_says(temperature):
    """Against the softmax of one plain pass: tokens in four parts of about equal likelihood, 400 seeds."""
    loaded, prompt, count = tiny_loaded("llama", n_layers=1), PROMPTS[0], 400
    likely = (oracle.run(loaded.model, prompt)[0][-1].double() / temperature).softmax(0)
    likely, order = likely.sort(descending=True)
    part = torch.empty(len(order), dtype=torch.long)
    part[order] = (likely.cumsum(0) * 4).long().clamp_max(3)
    share = torch.zeros(4, dtype=torch.float64).index_add(0, part[order], likely)
    tokens = [generate(loaded, [prompt], None, 1, temperature=temperature, seed=seed)[0] for seed in range(count)]
    stops = sum(not token for token in tokens)
    seen = torch.bincount(part[torch.tensor([token[0] if token else 2 for token in tokens])], minlength=4)
    assert stops < count / 4
    deviation = (count * share * (1 - share)).sqrt()
    assert ((seen - count * share).abs() <= 3 * deviation).all()


def test_a_reply_ends_where_the_model_or_its_tokenizer_stops():
    loaded = tiny_loaded("llama")
    whole = wanted(loaded, PROMPTS[0])
    assert len(set(whole)) > 3
    loaded.model.generation_config.eos_token_id = [whole[3], 259]
    assert generate(loaded, [PROMPTS[0]], None, NEW) == [whole[: whole.index(whole[3])]]
    loaded.model.generation_config.eos_token_id = None
    loaded.tokenizer.eos_token = loaded.tokenizer.convert_ids_to_tokens(whole[0])
    assert generate(loaded, [PROMPTS[0]], None, NEW) == [()]


def test_what_the_model_s_own_settings_add_is_left_aside_and_left_as_it_was():
    loaded = tiny_loaded("llama")
    plain = generate(loaded, PROMPTS, None, NEW)
    own = loaded.model.generation_config
    own.repetition_penalty, own.no_repeat_ngram_size, own.suppress_tokens = 50.0, 1, [each[0] for each in plain if each]
    before = own.to_dict()
    assert generate(loaded, PROMPTS, None, NEW) == plain
    assert loaded.model.generation_config is own
    assert own.to_dict() == before


def test_no_prompts_have_no_replies():
    assert generate(tiny_loaded("llama"), [], {1: vector()}, NEW) == []
    assert generate_both(tiny_loaded("llama"), [], {1: vector()}, NEW) == ([], [])


def test_a_prompt_without_room_for_a_reply_loses_its_beginning():
    loaded = tiny_loaded("gpt2", max_position_embeddings=16)
    assert generate(loaded, [PROMPTS[2]], None, NEW) == [wanted(loaded, PROMPTS[2][-10:])]


def test_whoever_waits_is_told_how_many_prompts_are_answered(monkeypatch):
    monkeypatch.setattr(generation, "ROWS", 2)
    done = []
    generate(tiny_loaded("llama"), PROMPTS, None, 2, on_rows=done.append)
    assert done == [2, 4, 5]
