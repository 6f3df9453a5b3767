"""Context, vector and weights are measured on the same pairs, in the same contexts, and what they cost is told."""

import copy
import gc
import weakref

import pytest
import torch

from daemon.errors import MismatchError
from daemon.proof import compare as comparing
from daemon.proof.compare import NO_KL, run_compare
from daemon.proof.turns import as_conversation, as_example, continued
from daemon.protocol import ExtractRequest, NeutralText, Placement
from daemon.protocol.compare import CompareRequest
from daemon.steering.extract import run_extract
from daemon.steering.text import EncodedReply
from daemon.steering.vector_file import load
from graph.schema import ChatMessage, Pair
from tests.steering import oracle
from tests.steering.planted import make_pairs, neutral, planted
from tests.tiny import TEMPLATE, tiny_loaded, tiny_tokenizer

LAYER, DOSE = 2, 0.5
TRAIN, TEST = make_pairs(6, seed=1), make_pairs(5, seed=3, groups=3)
ITEM = Pair(
    behaviour="planted",
    prompt=(ChatMessage(role="user", content="Which?\n(A) abc\n(B) xyz"),),
    positive="(A)",
    negative="(B)",
    group="g3-0",
)
CHATS = tuple(
    NeutralText(kind="chat", messages=({"role": "user", "content": asked}, {"role": "assistant", "content": told}))
    for asked, told in (("1 2?", "3."), ("4 5?", "6."))
)


@pytest.fixture(scope="module")
def base():
    return planted()


@pytest.fixture(scope="module")
def trained(base):
    """The same model with other output weights."""
    model = copy.deepcopy(base.model)
    model.get_output_embeddings().weight.mul_(1.3)
    return tiny_loaded(model=model)


@pytest.fixture(scope="module")
def vector(base, tmp_path_factory):
    path = tmp_path_factory.mktemp("vector") / "v"
    asked = ExtractRequest(model="unused", pairs=make_pairs(24, seed=9), out=path, behaviour="planted")
    run_extract(base, asked, lambda _: None)
    return path


def request(vector, **changes):
    at = Placement(layer=LAYER, dose=DOSE, coefficient=load(vector).coefficient(LAYER, DOSE))
    given = {
        "model": "base",
        "vector": vector,
        "placements": (at,),
        "weights": "trained",
        "train": TRAIN,
        "test": (*TEST, ITEM),
        "filler": CHATS,
        "neutral_test": neutral(2, seed=52),
        "examples": (1, 2),
        "draws": 2,
        "rounds": 2,
        "tokens": 3,
        "bootstrap": 200,
    }
    return CompareRequest.model_validate(given | changes)


@pytest.fixture(scope="module")
def report(base, trained, vector):
    models = {"base": base, "trained": trained}
    return run_compare(lambda folder: models[folder.name], request(vector), lambda _: None)


@pytest.fixture(scope="module")
def rows(report):
    return {(row.way, row.examples): row for row in report.rows}


def said(*turns):
    """Turns as the chat template writes them, written by hand."""
    return "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in turns)


def slow_gap(model, pair, before="", deltas=None):
    """A pair's gap one sequence at a time; `before` is what was said earlier, as the template writes it."""
    tokenizer = tiny_tokenizer()
    text = said(("system", "Be brief.")) + before + said(("user", pair.prompt[0].content)) + "<|im_start|>assistant\n"
    prompt = tuple(tokenizer(text, add_special_tokens=False).input_ids)
    told = [tuple(tokenizer(reply, add_special_tokens=False).input_ids) for reply in (pair.positive, pair.negative)]
    good, bad = (oracle.reply_logprob(model, EncodedReply(prompt, reply), deltas or {}) for reply in told)
    return good - bad


def slow(model, before="", deltas=None):
    """Mean gap over the test pairs; the A/B item is the mean of both orders."""
    swapped = ITEM.model_copy(
        update={
            "prompt": (ChatMessage(role="user", content="Which?\n(A) xyz\n(B) abc"),),
            "positive": "(B)",
            "negative": "(A)",
        }
    )
    found = [slow_gap(model, pair, before, deltas) for pair in TEST]
    both = [slow_gap(model, pair, before, deltas) for pair in (ITEM, swapped)]
    return (sum(found) + sum(both) / 2) / (len(TEST) + 1)


def drawn(count, draw):
    """The examples of a drawing, as the template writes them."""
    known = sorted(TRAIN, key=lambda pair: pair.id)
    order = torch.randperm(len(known), generator=torch.Generator().manual_seed(draw))
    chosen = [known[place] for place in order[:count].tolist()]
    return "".join(said(("user", pair.prompt[0].content), ("assistant", pair.positive)) for pair in chosen)


FILLER = said(("user", "1 2?"), ("assistant", "3."), ("user", "4 5?"), ("assistant", "6."))
LAST = said(("user", "4 5?"), ("assistant", "6."))


def test_every_way_has_its_row_from_context_to_weights(report):
    assert [(row.way, row.examples) for row in report.rows] == [
        ("untouched", 0),
        ("examples", 1),
        ("examples", 2),
        ("vector", 0),
        ("weights", 0),
    ]
    assert (report.n_test, report.n_groups, report.filler_turns) == (6, 3, 2)


@pytest.mark.parametrize("count", [1, 2])
def test_examples_do_what_one_sequence_at_a_time_says(base, rows, count):
    row = rows["examples", count]
    for told, after, alone in ((row.fresh, "", ""), (row.filled, FILLER, FILLER)):
        found = sum(slow(base.model, drawn(count, draw) + after) for draw in (0, 1)) / 2
        assert told.value == pytest.approx(found - slow(base.model, alone), abs=1e-4)
        assert abs(told.value) > 1e-3
    assert row.gap == pytest.approx(sum(slow(base.model, drawn(count, draw)) for draw in (0, 1)) / 2, abs=1e-4)


def test_the_vector_does_what_one_sequence_at_a_time_says(base, rows, vector):
    file = load(vector)
    deltas = {LAYER: torch.from_numpy(file.vectors[LAYER]) * file.coefficient(LAYER, DOSE)}
    row = rows["vector", 0]
    for told, before in ((row.fresh, ""), (row.filled, FILLER), (row.compacted, LAST)):
        assert told.value == pytest.approx(slow(base.model, before, deltas) - slow(base.model, before), abs=1e-4)
        assert told.value > 0.1


def test_trained_weights_do_what_one_sequence_at_a_time_says(base, trained, rows):
    row = rows["weights", 0]
    for told, before in ((row.fresh, ""), (row.filled, FILLER), (row.compacted, LAST)):
        assert told.value == pytest.approx(slow(trained.model, before) - slow(base.model, before), abs=1e-4)
        assert abs(told.value) > 1e-3


def test_a_compaction_takes_examples_away_and_nothing_else(rows):
    for count in (1, 2):
        assert rows["examples", count].compacted.value == 0
        assert rows["examples", count].compacted.interval == (0, 0)
    assert rows["vector", 0].compacted.value != 0
    assert rows["weights", 0].compacted.value != 0


def test_the_untouched_model_is_what_the_others_are_measured_against(base, rows):
    row = rows["untouched", 0]
    assert [each.value for each in (row.fresh, row.filled, row.compacted)] == [0, 0, 0]
    assert (row.tokens_added, row.kl_mean, row.kl_p95) == (0, 0, 0)
    assert row.gap == pytest.approx(slow(base.model), abs=1e-4)


def test_only_examples_cost_tokens(rows):
    tokenizer = tiny_tokenizer()
    for count in (1, 2):
        lengths = [len(tokenizer(drawn(count, draw), add_special_tokens=False).input_ids) for draw in (0, 1)]
        assert rows["examples", count].tokens_added == pytest.approx(sum(lengths) / 2)
    assert rows["vector", 0].tokens_added == rows["weights", 0].tokens_added == 0


def test_neutral_text_is_disturbed_as_much_as_one_sequence_at_a_time_says(base, trained, rows, vector):
    file = load(vector)
    deltas = {LAYER: torch.from_numpy(file.vectors[LAYER]) * file.coefficient(LAYER, DOSE)}
    for row, model, added in ((rows["vector", 0], base.model, deltas), (rows["weights", 0], trained.model, {})):
        found = torch.cat([slow_kl(base.model, model, text, added) for text in neutral(2, seed=52)])
        assert row.kl_mean == pytest.approx(float(found.mean()), rel=1e-3)
        assert row.kl_p95 == pytest.approx(float(found.quantile(0.95)), rel=1e-3)
        assert row.kl_mean > 0


def slow_kl(base, model, text, deltas):
    """KL at every scored position of one neutral text, by whole passes: (positions,)."""
    tokenizer = tiny_tokenizer()
    whole = text.text if text.text is not None else said(("system", "Be brief."), *_turns(text))
    ids = tokenizer(whole, add_special_tokens=text.text is not None).input_ids
    given = (
        1 if text.text is not None else len(tokenizer(said(("system", "Be brief.")) + "<|im_start|>user\n").input_ids)
    )
    one = base(torch.tensor([ids])).logits[0, given - 1 : -1].log_softmax(dim=1)
    with oracle.hooked(model, deltas, {}):
        other = model(torch.tensor([ids])).logits[0, given - 1 : -1].log_softmax(dim=1)
    return (one.exp() * (one - other)).sum(dim=1)


def _turns(text):
    return [(message["role"], message["content"]) for message in text.messages]


def test_what_has_no_meaning_is_left_blank_with_the_reason(rows):
    assert (rows["examples", 1].kl_mean, rows["examples", 1].kl_why_not) == (None, NO_KL)
    assert rows["vector", 0].kl_why_not == ""


def test_an_interval_is_that_of_groups_and_holds_the_effect(rows):
    for row in rows.values():
        for told in (row.fresh, row.filled, row.compacted):
            assert told.interval[0] <= told.value <= told.interval[1]
    assert rows["vector", 0].fresh.interval[0] < rows["vector", 0].fresh.interval[1]


def test_the_same_comparison_twice_gives_the_same_numbers(base, trained, vector, report):
    models = {"base": base, "trained": trained}
    backwards = request(vector, train=TRAIN[::-1])
    again = run_compare(lambda folder: models[folder.name], backwards, lambda _: None)
    timeless = {"first_ms": report.rows[0].first_ms, "token_ms": None}
    assert [row.model_copy(update=timeless) for row in again.rows] == [
        row.model_copy(update=timeless) for row in report.rows
    ]


def test_a_behaviour_that_lives_in_no_weights_has_no_such_row(base, vector):
    found = run_compare(lambda _: base, request(vector, weights=None), lambda _: None)
    assert "weights" not in [row.way for row in found.rows]


def test_there_are_no_more_examples_than_training_pairs(base, vector):
    few = request(vector, weights=None, train=TRAIN[:1], examples=(1, 5))
    assert [row.examples for row in run_compare(lambda _: base, few, lambda _: None).rows] == [0, 1, 0]
    none = request(vector, weights=None, train=())
    assert [row.way for row in run_compare(lambda _: base, none, lambda _: None).rows] == ["untouched", "vector"]


def test_the_base_is_let_go_before_the_weights_are_loaded(vector, trained):
    held = []

    def load_model(folder):
        if folder.name == "trained":
            gc.collect()
            assert held[0]() is None
            return trained
        loaded = planted()
        held.append(weakref.ref(loaded.model))
        return loaded

    run_compare(load_model, request(vector), lambda _: None)
    assert len(held) == 1


def test_progress_names_every_way(base, trained, vector):
    seen = []
    models = {"base": base, "trained": trained}
    run_compare(lambda folder: models[folder.name], request(vector), seen.append)
    assert [each.note for each in seen] == ["untouched", "1 example", "2 examples", "vector", "weights"]
    assert [(each.done, each.total) for each in seen] == [(i, 5) for i in range(5)]


def test_times_are_of_interleaved_rounds_and_a_first_token_is_told_apart(base, vector, monkeypatch):
    class Clock:
        now = 0.0

        def monotonic(self):
            return Clock.now

    calls = []

    def slow_generate(loaded, prompts, deltas, new):
        calls.append((len(prompts[0]), bool(deltas), new))
        Clock.now += (20 + 3 * new + (100 if deltas else 0)) / 1000
        return [(7,) * new]

    monkeypatch.setattr(comparing, "SystemClock", Clock)
    monkeypatch.setattr(comparing, "generate", slow_generate)
    found = run_compare(lambda _: base, request(vector, weights=None, rounds=4), lambda _: None)
    by_way = {(row.way, row.examples): row for row in found.rows}
    assert by_way["untouched", 0].first_ms.median == pytest.approx(23)
    assert by_way["vector", 0].first_ms.median == pytest.approx(123)
    assert all(row.token_ms.median == pytest.approx(3) for row in found.rows)
    assert len(calls) == 4 * 4 * 2
    rounds = [calls[i : i + 8] for i in range(0, 32, 8)]
    assert [sum(steered for _, steered, _ in each) for each in rounds] == [2, 2, 2, 2]
    assert [[steered for _, steered, _ in each].index(True) for each in rounds] == [6, 4, 2, 0]


def test_a_reply_of_one_token_has_no_time_for_the_next(base, vector, monkeypatch):
    monkeypatch.setattr(comparing, "generate", lambda *_: [()])
    found = run_compare(lambda _: base, request(vector, weights=None), lambda _: None)
    assert {row.token_ms for row in found.rows} == {None}


def test_a_vector_of_another_model_is_refused(base, vector):
    other = tiny_loaded("qwen2")
    stranger = type(other)(other.model, other.tokenizer, other.layout, "f" * 64, other.template_digest)
    with pytest.raises(MismatchError, match="made for model digest"):
        run_compare(lambda _: stranger, request(vector), lambda _: None)


def test_weights_with_another_vocabulary_are_refused(base, vector):
    models = {"base": base, "trained": tiny_loaded("llama", vocab_size=270)}
    with pytest.raises(MismatchError, match="trained: not weights of the same model"):
        run_compare(lambda folder: models[folder.name], request(vector), lambda _: None)


def chat(*turns):
    return tuple(ChatMessage(role=role, content=content) for role, content in turns)


def test_a_system_message_stays_first_and_earlier_turns_follow_it():
    prompt, earlier = chat(("system", "s"), ("user", "u")), chat(("user", "a"), ("assistant", "b"))
    assert continued(prompt, earlier) == chat(("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "u"))
    assert continued(prompt[1:], earlier) == chat(("user", "a"), ("assistant", "b"), ("user", "u"))
    assert continued("u", earlier) == "a\n\nb\n\nu"
    assert continued(prompt, ()) == prompt


def test_an_example_is_a_direction_and_its_positive_reply_without_a_system_message():
    pair = Pair(behaviour="b", prompt=chat(("system", "s"), ("user", "u")), positive="yes", negative="no", group="g")
    assert as_example(pair) == chat(("user", "u"), ("assistant", "yes"))
    assert as_example(pair.model_copy(update={"prompt": "u"})) == chat(("user", "u"), ("assistant", "yes"))


def test_a_passage_that_is_no_chat_is_no_conversation():
    assert as_conversation([NeutralText(kind="prose", text="x"), *CHATS]) == [
        chat(("user", "1 2?"), ("assistant", "3.")),
        chat(("user", "4 5?"), ("assistant", "6.")),
    ]


def test_the_template_written_by_hand_is_the_template():
    written = tiny_tokenizer().apply_chat_template([{"role": "user", "content": "u"}], tokenize=False)
    assert TEMPLATE
    assert written == said(("system", "Be brief."), ("user", "u"))
