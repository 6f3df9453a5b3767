"""A gate steers where a direction was given and leaves other text alone; what it says of itself was measured."""

import random

import numpy as np
import pytest
import torch

from daemon.proof import gate as gates
from daemon.proof.gate import (
    Probe,
    best_threshold,
    boundary,
    distance,
    fit_gate,
    gate_report,
    measure_gate,
    neutral_prompts,
    opens_for,
    owners_of,
    pair_prompts,
    prompt_means,
)
from daemon.proof.prepared import PreparedPairs, prepare_neutral
from daemon.protocol import NeutralText, VerifySettings
from daemon.steering.sweep import disturbance, under
from graph.schema import ChatMessage, Pair
from tests.steering import oracle
from tests.steering.planted import SECOND_HALF, make_pairs, planted_direction, words
from tests.tiny import HIDDEN

SETTINGS = VerifySettings()
LOWEST = 2


def directed(count, seed):
    """Pairs whose prompts are of letters."""
    draw = random.Random(100 + seed)
    return tuple(
        pair.model_copy(update={"prompt": (ChatMessage(role="user", content=words(SECOND_HALF, draw)),)})
        for pair in make_pairs(count, seed=seed)
    )


def quiet(passages, chats, seed):
    """Text of digits, in the format of a passage and in that of a chat."""
    draw = random.Random(200 + seed)
    plain = [NeutralText(kind="prose", text=words("0123456789", draw)) for _ in range(passages)]
    said = [(words("0123456789", draw), words("0123456789", draw)) for _ in range(chats)]
    talks = [
        NeutralText(kind="chat", messages=({"role": "user", "content": q}, {"role": "assistant", "content": a}))
        for q, a in said
    ]
    return (*plain, *talks)


QUIET = (quiet(24, 10, 0), quiet(10, 6, 1), quiet(7, 2, 2))
SIDES = (directed(24, 1), directed(8, 2), directed(12, 3))


@pytest.fixture
def probe(planted_model):
    found = fit_gate(planted_model, SIDES[0], SIDES[1], QUIET[0], QUIET[1], LOWEST)
    assert found is not None
    return found


def constant(bias):
    """Open for everything that has a mean, or for nothing."""
    return Probe(layer=1, weights=torch.zeros(HIDDEN, dtype=torch.float64), bias=bias)


def measured(planted_model, probe, effects=None, kl=None, owners=None, settings=SETTINGS):
    effects = torch.ones(12, dtype=torch.float64) if effects is None else effects
    kl = torch.ones(len(QUIET[2]), dtype=torch.float64) if kl is None else kl
    owners = torch.arange(len(QUIET[2])) if owners is None else owners
    return measure_gate(planted_model, probe, SIDES[2], QUIET[2], effects, kl, owners, settings)


# ---------------------------------------------------------------- on prompts it has never seen


def test_it_opens_on_unseen_directions_and_stays_closed_on_unseen_text(planted_model, probe):
    assert opens_for(planted_model, probe, pair_prompts(planted_model, SIDES[2])).all()
    unseen = neutral_prompts(planted_model, QUIET[2])
    assert not opens_for(planted_model, probe, unseen.as_they_stand).any()


def test_it_learns_what_is_said_and_not_that_it_is_a_chat(planted_model, probe):
    """Passages in a user's words have the format of a direction and none of its content."""
    unseen = neutral_prompts(planted_model, QUIET[2])
    assert len(unseen.as_messages) == 7
    assert not opens_for(planted_model, probe, unseen.as_messages).any()


def test_without_passages_in_a_users_words_it_would_have_learnt_the_chats_format(planted_model, monkeypatch):
    def passages_only(loaded, texts):
        whole = neutral_prompts(loaded, [text for text in texts if text.text is not None])
        return gates.NeutralPrompts(whole.as_they_stand, (), whole.chats)

    with monkeypatch.context() as patch:
        patch.setattr(gates, "neutral_prompts", passages_only)
        taught = fit_gate(planted_model, SIDES[0], SIDES[1], QUIET[0], QUIET[1], LOWEST)
    assert opens_for(planted_model, taught, neutral_prompts(planted_model, QUIET[2]).as_messages).any()


def test_its_threshold_is_the_one_that_parts_validation_prompts_best(planted_model, probe):
    quiet_ids = [ids for kind in neutral_prompts(planted_model, QUIET[1]).kinds for ids in kind]
    scores = [
        prompt_means(planted_model, ids, [probe.layer])[:, 0] @ probe.weights + probe.bias
        for ids in (pair_prompts(planted_model, SIDES[1]), quiet_ids)
    ]
    assert best_threshold(scores[0], scores[1])[0] == pytest.approx(0, abs=1e-3)


def test_it_reads_no_deeper_than_the_lowest_block_that_is_steered(planted_model):
    for lowest in range(4):
        assert fit_gate(planted_model, SIDES[0], SIDES[1], QUIET[0], QUIET[1], lowest).layer <= lowest


def test_the_same_evidence_twice_is_the_same_gate_and_a_repeated_prompt_changes_nothing(planted_model, probe):
    again = fit_gate(planted_model, SIDES[0] + SIDES[0][:5] * 4, SIDES[1], QUIET[0], QUIET[1], LOWEST)
    assert torch.equal(again.weights, probe.weights)
    assert (again.layer, again.bias) == (probe.layer, probe.bias)


@pytest.mark.parametrize(
    ("pairs", "quiet"),
    [((SIDES[0][:1], SIDES[1]), QUIET), ((SIDES[0], ()), QUIET), (SIDES, ((), QUIET[1])), (SIDES, (QUIET[0], ()))],
)
def test_too_few_prompts_make_no_gate(planted_model, pairs, quiet):
    assert fit_gate(planted_model, pairs[0], pairs[1], quiet[0], quiet[1], LOWEST) is None


# ---------------------------------------------------------------- what it reads


def test_it_reads_the_mean_over_a_prompts_tokens_but_the_first(planted_model):
    """The oracle runs each prompt by itself and looks at the blocks with a hook of its own."""
    prompts = pair_prompts(planted_model, SIDES[1])
    found = prompt_means(planted_model, prompts, [0, 2])
    for place, layer in enumerate((0, 2)):
        for ids, mean in zip(prompts, found[:, place], strict=True):
            wanted = oracle.run(planted_model.model, ids)[1][layer][1:].double().mean(dim=0)
            assert mean.tolist() == pytest.approx(wanted.tolist(), abs=2e-4)


def test_a_prompt_of_one_token_is_left_closed_and_breaks_nothing(planted_model):
    ids = pair_prompts(planted_model, SIDES[1])[0]
    assert opens_for(planted_model, constant(1.0), [ids, ids[:1], ids[:2]]).tolist() == [True, False, True]
    short = Pair(behaviour="planted", prompt="a", positive="b", negative="c", group="g")
    whole = fit_gate(planted_model, SIDES[0], SIDES[1], QUIET[0], QUIET[1], LOWEST)
    same = fit_gate(planted_model, (*SIDES[0], short), SIDES[1], QUIET[0], QUIET[1], LOWEST)
    assert torch.equal(whole.weights, same.weights)


def test_a_neutral_chat_is_read_as_the_request_that_it_begins_with(planted_model):
    said = planted_model.tokenizer.decode
    chat = NeutralText(
        kind="chat", messages=({"role": "user", "content": "one?"}, {"role": "assistant", "content": "two."})
    )
    prompts = neutral_prompts(planted_model, [chat, NeutralText(kind="prose", text="three")])
    assert said(prompts.as_they_stand[0]).endswith("user\none?<|im_end|>\n<|im_start|>assistant\n")
    assert "two" not in said(prompts.as_they_stand[0])
    assert said(prompts.as_they_stand[1]) == "three"
    assert [said(ids).endswith("user\nthree<|im_end|>\n<|im_start|>assistant\n") for ids in prompts.as_messages] == [
        True
    ]
    assert [len(kind) for kind in prompts.kinds] == [1, 1, 1]


def test_without_a_chat_template_every_text_is_plain(planted_model, monkeypatch):
    monkeypatch.setattr(planted_model.tokenizer, "chat_template", None)
    prompts = neutral_prompts(planted_model, QUIET[2])
    assert len(prompts.as_they_stand) == len(QUIET[2])
    assert prompts.as_messages == ()
    assert [len(kind) for kind in prompts.kinds] == [9]


# ---------------------------------------------------------------- what is measured


def test_an_open_gate_changes_nothing_and_is_of_no_use(planted_model):
    report = measured(planted_model, constant(1.0))
    assert (report.recall, report.false_open, report.effect_kept, report.kl_left) == (1, 1, 1, 1)
    assert (report.effect, report.kl_mean, report.kl_p95) == (1, 1, 1)
    assert not report.passed
    assert report.reason == "leaves 100% of the neutral KL, at most 20% may be left"


def test_a_closed_gate_has_no_effect_and_disturbs_nothing(planted_model):
    report = measured(planted_model, constant(-1.0))
    assert (report.recall, report.false_open, report.effect_kept, report.kl_left) == (0, 0, 0, 0)
    assert (report.effect, report.kl_mean, report.kl_p95) == (0, 0, 0)
    assert (report.passed, report.reason) == (False, "keeps 0% of the effect, at least 90% is asked")


def test_effect_and_divergence_count_only_where_the_gate_is_open(planted_model, monkeypatch):
    """Twelve pairs of effects 1 to 12, the last one closed; nine texts, of which only the third is open."""
    opened = {id_: place != 11 for place, id_ in enumerate(pair_prompts(planted_model, SIDES[2]))}
    texts = neutral_prompts(planted_model, QUIET[2])
    opened |= {ids: place == 2 for place, ids in enumerate(texts.as_they_stand)}
    opened |= dict.fromkeys(texts.as_messages, False)
    monkeypatch.setattr(gates, "opens_for", lambda _l, _p, prompts: torch.tensor([opened[ids] for ids in prompts]))
    owners = torch.tensor([0, 0, 1, 2, 2, 8])
    kl = torch.tensor([1.0, 2.0, 4.0, 0.5, 0.25, 8.0], dtype=torch.float64)
    effects = torch.arange(1, 13, dtype=torch.float64)
    report = measured(planted_model, constant(0.0), effects, kl, owners)
    assert report.effect == pytest.approx(66 / 12)
    assert report.effect_kept == pytest.approx(66 / 78)
    assert report.kl_mean == pytest.approx(0.75 / 6)
    assert report.kl_left == pytest.approx(0.75 / 15.75)
    assert report.recall == pytest.approx(11 / 12)
    assert report.false_open == pytest.approx(1 / 16)
    assert (report.n_prompts, report.n_neutral) == (12, 16)


@pytest.mark.parametrize(
    ("effects", "kl", "reason"),
    [
        (torch.full((12,), torch.nan), torch.zeros(9), "keeps 0% of the effect"),
        (-torch.ones(12), torch.zeros(9), "keeps 0% of the effect"),
        (torch.ones(12), torch.full((9,), torch.nan), "leaves"),
        (torch.ones(12), torch.zeros(9), ""),
    ],
)
def test_what_is_no_number_or_no_effect_meets_no_bar(planted_model, effects, kl, reason):
    report = measured(planted_model, constant(1.0), effects.double(), kl.double())
    assert report.reason.startswith(reason)
    assert report.passed is (reason == "")


def test_the_whole_report_is_that_of_the_vector_it_gates(planted_model):
    """Steered again by hand: text that the gate leaves closed keeps its divergence out, position by position."""
    deltas = {LOWEST: (2.0 * planted_direction()).to(torch.float32)}
    effects = PreparedPairs.of(planted_model, SIDES[2], [LOWEST]).effects(deltas)
    quiet = prepare_neutral(planted_model, QUIET[2], [LOWEST])
    divergence = disturbance(quiet, [under(quiet, deltas)])[0]
    told = []
    report = gate_report(
        planted_model, SIDES, QUIET, LOWEST, effects, divergence, owners_of(quiet), SETTINGS, told.append
    )
    assert report.passed, report.reason
    assert report.effect == pytest.approx(float(effects.mean()))
    assert report.kl_mean == 0
    assert divergence.mean() > 0.01
    assert [(step.done, step.total) for step in told] == [(0, 2), (1, 2), (2, 2)]
    alone = [
        disturbance(one, [under(one, deltas)])[0].sum()
        for one in (prepare_neutral(planted_model, [text], [LOWEST]) for text in QUIET[2])
    ]
    by_text = torch.zeros(9).index_add_(0, owners_of(quiet), divergence)
    assert by_text.tolist() == pytest.approx([float(each) for each in alone], rel=1e-3)


# ---------------------------------------------------------------- the boundary


def normal_equations(opened, closed, ridge):
    """The same weights from the hidden × hidden normal equations, in numpy."""
    kinds = [np.asarray(opened), *map(np.asarray, closed)]
    rows = np.concatenate(kinds)
    cost = np.concatenate(
        [np.full(len(kind), 0.5 / len(kind) / (1 if i == 0 else len(closed))) for i, kind in enumerate(kinds)]
    )
    y = np.where(np.arange(len(rows)) < len(opened), 1.0, -1.0)
    centre = np.average(rows, axis=0, weights=cost)
    z = (rows - centre) / np.sqrt(np.average((rows - centre) ** 2, axis=0, weights=cost))
    scatter = z.T @ (cost[:, None] * z)
    w = np.linalg.solve(scatter + ridge * np.trace(scatter) * np.eye(z.shape[1]), z.T @ (cost * y))
    return w / np.sqrt(np.average((rows - centre) ** 2, axis=0, weights=cost)), centre


@pytest.mark.parametrize("ridge", [1e-3, 0.1])
def test_the_boundary_solves_its_normal_equations(ridge):
    draw = torch.Generator().manual_seed(3)
    opened = torch.randn(9, 20, generator=draw, dtype=torch.float64) * torch.linspace(0.1, 50, 20) + 1
    closed = [torch.randn(n, 20, generator=draw, dtype=torch.float64) * torch.linspace(0.1, 50, 20) for n in (4, 30)]
    weights, bias = boundary(opened, closed, ridge)
    wanted, centre = normal_equations(opened, closed, ridge)
    assert weights.tolist() == pytest.approx(wanted.tolist(), rel=1e-5)
    assert bias == pytest.approx(-wanted @ centre, rel=1e-4)
    assert torch.equal(weights, weights.to(torch.float32).to(torch.float64))


def test_many_passages_do_not_outvote_few_chats():
    """One kind of 200 rows and one of 4: both weigh the same, so the boundary is that of 4 against 4."""
    draw = torch.Generator().manual_seed(1)
    opened = torch.randn(8, 5, generator=draw, dtype=torch.float64) + 2
    few, passage = (
        torch.randn(4, 5, generator=draw, dtype=torch.float64),
        torch.randn(4, 5, generator=draw).double() - 2,
    )
    one, two = boundary(opened, [passage, few])[0], boundary(opened, [passage.repeat(50, 1), few])[0]
    assert one.tolist() == pytest.approx(two.tolist(), rel=1e-4)


def test_a_dimension_that_never_moves_has_no_say():
    draw = torch.Generator().manual_seed(2)
    opened, closed = torch.randn(6, 4, generator=draw).double() + 1, torch.randn(6, 4, generator=draw).double() - 1
    opened[:, 2] = closed[:, 2] = 1234.5678
    assert abs(float(boundary(opened, [closed])[0][2])) < 1e-3


@pytest.mark.parametrize(
    ("opened", "closed", "wanted"),
    [
        ([3.0, 5.0], [0.0, 1.0], (2.0, 1.0)),
        ([1.0, 5.0, 6.0], [0.0, 2.0, 2.2], (3.6, 2 / 3)),
        ([3.0, 4.0], [0.0, 3.5], (1.5, 0.5)),
        ([1.0, 5.0], [0.0, 2.0], (3.5, 0.5)),
    ],
)
def test_the_threshold_stands_in_the_middle_of_the_widest_gap_that_parts_best(opened, closed, wanted):
    found = best_threshold(torch.tensor(opened).double(), torch.tensor(closed).double())
    assert found == pytest.approx(wanted)


def test_no_other_threshold_parts_better():
    draw = torch.Generator().manual_seed(9)
    for _ in range(50):
        opened, closed = torch.randn(7, generator=draw).double() + 0.7, torch.randn(9, generator=draw).double()
        threshold, parted = best_threshold(opened, closed)
        tried = [
            sum(o > t for o in opened.tolist()) / 7 - sum(c > t for c in closed.tolist()) / 9
            for t in np.linspace(-4, 5, 901)
        ]
        assert parted >= max(tried) - 1e-9
        assert (opened > threshold).double().mean() - (closed > threshold).double().mean() == pytest.approx(parted)


def test_separation_is_in_units_of_the_pooled_spread():
    assert distance(torch.tensor([1.0, 3.0]).double(), torch.tensor([-1.0, 1.0]).double()) == pytest.approx(2 / 2**0.5)
    assert distance(torch.tensor([1.0]), torch.tensor([0.0, 1.0])) == 0
