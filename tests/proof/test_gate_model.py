"""In the embedded model: a gate on the example memories keeps the effect, and leaves what is no direction alone."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from daemon.proof.gate import Probe, gate_report, neutral_prompts, opens_for, owners_of, pair_prompts
from daemon.proof.prepared import PreparedPairs, delta, prepare_neutral
from daemon.proof.tasks import load_requests
from daemon.protocol import ExtractRequest, GateReport, NeutralText, VerifySettings
from daemon.steering.extract import run_extract
from daemon.steering.neutral import load_neutral
from daemon.steering.sweep import disturbance, under
from daemon.steering.vector_file import load
from graph.behaviours.patterns import BUILTIN
from graph.memory import MemoryGraph
from graph.mining.pairs import mine
from graph.mining.splits import assign_splits
from tests.embedded import embedded_model

pytestmark = pytest.mark.model

EXAMPLES = Path(__file__).parents[2] / "examples"
LAYER, DOSE = 15, 0.25


@pytest.fixture(scope="module")
def loaded():
    return embedded_model()


def sides(behaviour):
    """Train, validation and test pairs of an example memory; a session lies on one side."""
    told = json.loads((EXAMPLES / behaviour.name / "memory.json").read_text())
    pairs = mine(MemoryGraph.from_records(told["nodes"], told["edges"]).episodes("node-link"), behaviour)[0]
    groups = sorted({pair.group for pair in pairs})
    split = assign_splits([(group, sum(pair.group == group for pair in pairs)) for group in groups], {})
    return tuple(tuple(pair for pair in pairs if split[pair.group] == side) for side in ("train", "validation", "test"))


@dataclass(frozen=True)
class Gated:
    """A gate of a behaviour, and the share of some prompts of its own test side for which it is open."""

    report: GateReport
    passages_as_messages: float
    requests: float


def gated(loaded, behaviour, path):
    pairs = sides(behaviour)
    neutral = tuple(load_neutral(side) for side in ("train", "validation", "test"))
    run_extract(
        loaded,
        ExtractRequest(model="unused", pairs=pairs[0], out=path, behaviour=behaviour.name, depth=0.6),
        lambda _: None,
    )
    deltas = {LAYER: delta(load(path), LAYER, DOSE)}
    effects = PreparedPairs.of(loaded, pairs[2], [LAYER]).effects(deltas)
    quiet = prepare_neutral(loaded, neutral[2], [LAYER])
    kl = disturbance(quiet, [under(quiet, deltas)])[0]
    report = gate_report(loaded, pairs, neutral, LAYER, effects, kl, owners_of(quiet), VerifySettings(), lambda _: None)
    probe = Probe(report.layer, torch.tensor(report.weights, dtype=torch.float64), report.bias)
    asked = [NeutralText(kind="request", text=text) for text in load_requests()]

    def share(prompts):
        return float(opens_for(loaded, probe, prompts).double().mean())

    assert share(pair_prompts(loaded, pairs[2])) == pytest.approx(report.recall, abs=0.05)
    return Gated(
        report,
        share(neutral_prompts(loaded, neutral[2]).as_messages),
        share(neutral_prompts(loaded, asked).as_messages),
    )


@pytest.mark.parametrize("behaviour", BUILTIN[:2], ids=lambda b: b.name)
def test_it_keeps_the_effect_and_leaves_a_fifth_of_the_disturbance_at_most(loaded, behaviour, tmp_path):
    found = gated(loaded, behaviour, tmp_path / "v")
    assert found.report.passed, found.report.reason
    assert found.report.effect_kept >= 0.9
    assert found.report.kl_left <= 0.2
    assert found.report.layer <= LAYER
    assert found.passages_as_messages <= 0.1, "it opens for whatever a user says"
    assert found.requests <= 0.25 < found.report.recall, "it tells no request from a direction to an agent"
