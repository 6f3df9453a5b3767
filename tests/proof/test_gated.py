"""Vectors with gates: what is added depends on the request, and everything else is left alone."""

import pytest
import torch

from daemon.proof.gate import Probe
from daemon.proof.gated import GatedPairs, GatedText, probe_of
from daemon.proof.held_out import HeldOut
from daemon.proof.prepared import joined, prepare_neutral
from daemon.protocol import GateReport
from daemon.steering.sweep import disturbance, under
from tests.steering.planted import make_pairs, neutral, planted_direction
from tests.tiny import HIDDEN

LAYER = 2
PARTS = [{LAYER: planted_direction()}, {LAYER: -0.4 * planted_direction().roll(3)}]
PAIRS = make_pairs(8, seed=2)


def always(is_open):
    return Probe(1, torch.zeros(HIDDEN, dtype=torch.float64), 1.0 if is_open else -1.0)


def by_prompt(loaded, pairs):
    """A gate that is open for some of the prompts and closed for others."""
    from daemon.proof.gate import pair_prompts, prompt_means

    weights = planted_direction().to(torch.float64)
    scores = prompt_means(loaded, pair_prompts(loaded, pairs), [1])[:, 0] @ weights
    return Probe(1, weights, -float(scores.median())), scores > scores.median()


def plain(loaded, parts):
    return HeldOut.of(loaded, PAIRS, [LAYER]).effects(joined(parts))


@pytest.mark.parametrize("gates", [[None, None], [always(True), None]])
def test_open_gates_and_none_are_all_the_vectors_together(planted_model, gates):
    found = GatedPairs.of(planted_model, PAIRS, [LAYER], gates).effects(PARTS)
    assert torch.allclose(found, plain(planted_model, PARTS), atol=1e-6)


def test_a_closed_gate_takes_its_own_vector_out_and_no_other(planted_model):
    found = GatedPairs.of(planted_model, PAIRS, [LAYER], [always(False), None]).effects(PARTS)
    assert torch.allclose(found, plain(planted_model, PARTS[1:]), atol=1e-6)
    nothing = GatedPairs.of(planted_model, PAIRS, [LAYER], [always(False)] * 2)
    assert nothing.effects(PARTS).tolist() == [0] * 8
    assert torch.allclose(nothing.effects_of(PARTS[0]), plain(planted_model, PARTS[:1]), atol=1e-6)


def test_each_pair_is_steered_by_what_its_own_prompt_opens(planted_model):
    gate, is_open = by_prompt(planted_model, PAIRS)
    assert 0 < int(is_open.sum()) < 8
    found = GatedPairs.of(planted_model, PAIRS, [LAYER], [gate, None]).effects(PARTS)
    both, second = plain(planted_model, PARTS), plain(planted_model, PARTS[1:])
    assert torch.allclose(found, torch.where(is_open, both, second), atol=1e-6)


def test_neutral_text_behind_closed_gates_does_not_change(planted_model):
    texts = neutral()
    quiet = prepare_neutral(planted_model, texts, [LAYER])
    wanted = disturbance(quiet, [under(quiet, joined(PARTS))])[0]
    closed = GatedText.of(planted_model, texts, [LAYER], [always(False)] * 2)
    assert closed.divergences(PARTS).tolist() == [0] * len(wanted)
    assert closed.divergences_of_all(PARTS).sort().values.tolist() == pytest.approx(wanted.sort().values.tolist())
    half = GatedText.of(planted_model, texts, [LAYER], [always(False), None]).divergences(PARTS)
    only = disturbance(quiet, [under(quiet, PARTS[1])])[0]
    assert half.sort().values.tolist() == pytest.approx(only.sort().values.tolist(), abs=1e-6)


def test_a_gate_of_a_report_is_the_probe_that_it_describes():
    report = GateReport(
        layer=1,
        weights=(1.0, -2.0),
        bias=0.5,
        recall=1,
        false_open=0,
        effect=1,
        effect_kept=1,
        kl_mean=0,
        kl_p95=0,
        kl_left=0,
        n_prompts=1,
        n_neutral=1,
        passed=True,
    )
    probe = probe_of(report)
    means = torch.tensor([[1.0, 0.0], [0.0, 1.0], [torch.nan, 0.0]], dtype=torch.float64)
    assert probe.opens(means).tolist() == [True, False, False]
    assert probe_of(None) is None
