"""`reflexd compare`: which version, which weights, and a table that a person can read."""

import re

import pytest

from daemon.child import ModelProcess
from daemon.protocol.compare import CompareReport, CompareRequest, CompareRow, Effect, Timing
from tests.report.furnished import Furnished
from tests.report.proofs import full_proof

TIMING = Timing(median=31.4, least=30.2, most=44.0)


def effect(value):
    return Effect(value=value, interval=(value - 0.1, value + 0.1))


def row(way, value, examples=0, **more):
    return CompareRow(
        way=way,
        examples=examples,
        gap=0.5 + value,
        fresh=effect(value),
        filled=effect(value / 2 if examples else value),
        compacted=effect(0.0 if examples else value),
        tokens_added=60.4 * examples,
        first_ms=TIMING,
        token_ms=TIMING,
        **more,
    )


REPORT = CompareReport(
    rows=(
        row("untouched", 0.0, kl_mean=0.0, kl_p95=0.0),
        row("examples", 0.4, 1, kl_why_not="there is no direction"),
        row("examples", 0.9, 5, kl_why_not="there is no direction"),
        row("vector", 1.6, kl_mean=0.2, kl_p95=0.7),
        row("weights", 1.5, kl_mean=0.02, kl_p95=0.06),
    ),
    n_test=6,
    n_groups=2,
    n_neutral=800,
    draws=3,
    rounds=5,
    filler_turns=4,
    filler_tokens=210,
    device="cpu",
    seconds=1.0,
)


@pytest.fixture
def home(tmp_path):
    with Furnished(tmp_path) as made:
        yield made


@pytest.fixture
def asked(monkeypatch):
    """What the model process was asked."""
    seen = []

    def ask(_process, operation, request, report, **_):
        seen.append((operation, CompareRequest.model_validate_json(request.model_dump_json())))
        assert report is CompareReport
        return REPORT

    monkeypatch.setattr(ModelProcess, "ask", ask)
    return seen


@pytest.fixture
def reflexd(home, command_line):
    return command_line(home.home.config)


def test_the_newest_proved_version_is_measured_on_its_own_sides_where_it_was_proved(home, asked, reflexd):
    found = reflexd("compare", "listening", "--json")
    ((operation, request),) = asked
    assert (operation, found["vector"]) == ("compare", "listening@3")
    assert (len(request.train), len(request.test)) == (8, 6)
    assert {pair.group for pair in request.train}.isdisjoint({pair.group for pair in request.test})
    assert request.placements == full_proof().placements
    assert request.vector.name == "listening@3.safetensors"
    assert request.vector.exists()
    assert len(request.filler) > 2
    assert all(each.messages for each in request.filler)
    assert request.weights is None
    assert found["no_weights"] == "listening@3 was not trained into weights"
    assert found["rows"][3]["fresh"]["value"] == 1.6


def test_trained_weights_are_measured_where_they_are(home, asked, reflexd, tmp_path):
    home.trained(folder=tmp_path / "weights")
    (tmp_path / "weights").mkdir()
    assert reflexd("compare", "listening", "--json")["no_weights"] == ""
    assert asked[0][1].weights == tmp_path / "weights"
    assert str(asked[0][1].model) == "/models/smollm2"


def test_weights_that_are_gone_are_said_to_be(home, asked, reflexd, tmp_path):
    home.trained(folder=tmp_path / "gone")
    said = reflexd("compare", "listening")
    assert asked[0][1].weights is None
    assert f"no row for trained weights: {tmp_path}/gone: the trained weights are not there any more" in said


def test_people_see_a_table_with_what_the_numbers_are_of(asked, reflexd):
    said = " ".join(re.sub(r"[│─]", " ", reflexd("compare", "listening")).split())
    for told in (
        "1 example in the context 0.900 +0.40 [0.30, 0.50] +0.20 [0.10, 0.30] +0.00 [-0.10, 0.10] 60 31 (30–44)",
        "5 examples in the context",
        "the vector 2.100 +1.60 [1.50, 1.70]",
        "trained weights",
        "listening@3: 6 test pairs of 2 sessions",
        "other talk: 4 exchanges, 210 tokens",
        "times: median of 5 rounds (least–most) on cpu neutral KL: nats, over 800 positions",
        "neutral KL of examples: none, for there is no direction",
    ):
        assert told in said


def test_a_behaviour_without_a_proof_is_a_mistake_of_the_command_line(asked, reflexd):
    assert "shouting: no proved version; `reflexd vectors shouting`" in reflexd("compare", "shouting", code=2)
    assert asked == []
