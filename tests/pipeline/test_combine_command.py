"""combine: what is measured of several vectors is kept and shown, and served only when a person says so."""

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import load as tensors_of

from daemon.child import ModelProcess
from daemon.commands.combine import combine
from daemon.errors import UsageError
from daemon.pipeline.placed import factors_of, gate_of, placements_of
from daemon.pipeline.publish import publish
from store.combinations import CombinationRow
from store.engine import Store
from store.rows import one, shaped
from store.served import served, set_enabled
from store.vectors import by_name, load_blob, withdraw
from tests.pipeline.two_vectors import DOSE, LAYER, answer, prove


@pytest.fixture
def home(two_served):
    return two_served


def run(home, *arguments):
    return CliRunner().invoke(combine, arguments, obj=home.config)


def said(home, *arguments):
    done = run(home, *arguments)
    assert done.exception is None, done.output
    return done.output


def doses(home):
    with Store.open(home.database) as store, store.read() as conn:
        return {row.name: (row.dose, row.coefficient) for row in served(conn)}


def kept(home):
    with Store.open(home.database) as store, store.read() as conn:
        row = one(conn, "SELECT * FROM combination ORDER BY id DESC LIMIT 1")
        return shaped(CombinationRow, row) if row else None


def manifest(home):
    (path,) = home.registry.glob("*/manifest.json")
    return {entry["id"]: entry for entry in json.loads(path.read_text())["vectors"]}


def test_it_shows_interference_and_doses_and_changes_nothing(home):
    before = doses(home)
    text = said(home, "--budget", "0.2")
    for words in (
        "eager@1",
        "listening@1",
        "cosine of the vectors",
        "budget",
        "one scale for all",
        "nothing was changed",
    ):
        assert words in text
    assert doses(home) == before


def test_what_was_found_is_kept_whole(home):
    assert kept(home) is None
    report = json.loads(said(home, "--budget", "0.2", "--json"))
    row = kept(home)
    assert json.loads(row.members) == ["eager@1", "listening@1"] == report["members"]
    assert json.loads(row.report) | {"used": False} == report


def test_the_same_vector_under_two_names_shares_one_dose(home):
    """Both behaviours have the same pairs, so their vectors are one: part of each dose is enough."""
    report = json.loads(said(home, "--budget", "1000", "--json"))
    assert report["common_scale"] == 1
    assert report["chosen"]["min_kept"] == pytest.approx(1, abs=0.1)
    assert sum(report["chosen"]["multipliers"]) < 1.5
    assert list(report["cosines"]) == [pytest.approx([1, 1])] * 2


def test_with_use_the_chosen_doses_are_served_at_once(home):
    before = doses(home)
    report = json.loads(said(home, "--budget", "0.2", "--use", "--json"))
    after = doses(home)
    for effect in report["joint"]:
        (place,) = effect["placements"]
        assert 0 < effect["multiplier"] < 1
        assert after[effect["name"]] == (place["dose"], place["coefficient"])
        assert place["dose"] == pytest.approx(effect["multiplier"] * before[effect["name"]][0])
        assert place["coefficient"] == pytest.approx(effect["multiplier"] * before[effect["name"]][1])
        assert manifest(home)[effect["name"]]["coefficient"] == place["coefficient"]


def test_a_named_set_is_published_with_its_doses_and_leaves_with_a_member(home):
    before = doses(home)
    report = json.loads(said(home, "--budget", "0.2", "--name", "team", "--json"))
    assert doses(home) == before
    (path,) = home.registry.glob("*/manifest.json")
    wanted = [{"id": effect["name"], "dose": effect["placements"][0]["dose"]} for effect in report["joint"]]
    assert json.loads(path.read_text())["sets"] == {"team": wanted}
    with Store.open(home.database) as store:
        with store.write() as conn:
            withdraw(conn, by_name(conn, "eager@1").id, "not wanted", store.clock.wall_ms())
        publish(store, home, 1.0)
    assert json.loads(path.read_text())["sets"] == {}


def test_doses_that_miss_the_budget_on_test_text_are_not_served(home, monkeypatch):
    before = doses(home)

    def over(*arguments, **more):
        return answer(*arguments, **more).model_copy(update={"within_budget": False, "reason": "too much"})

    monkeypatch.setattr(ModelProcess, "ask", over)
    for wish in (["--use"], ["--name", "team"]):
        done = run(home, "--budget", "0.2", *wish)
        assert isinstance(done.exception, UsageError)
        assert "too much" in str(done.exception)
    assert doses(home) == before
    assert json.loads(kept(home).report)["set"] is None
    assert "not within the budget: too much" in said(home, "--budget", "0.2")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["listening"], "needs at least two vectors, named: listening"),
        (["listening", "listening"], "needs at least two vectors"),
        (["listening", "patience"], "patience: no vector of it is served; served are: eager, listening"),
        (["--budget", "-1"], "--budget -1: must be above 0"),
        (["--budget", "nan"], "must be above 0"),
    ],
)
def test_what_cannot_be_combined_is_said(home, arguments, words):
    error = run(home, *arguments).exception
    assert isinstance(error, UsageError)
    assert words in str(error)


def test_without_a_name_only_those_that_are_on_are_meant_and_with_one_also_those_that_are_off(home):
    with Store.open(home.database) as store, store.write() as conn:
        set_enabled(conn, "eager", False, store.clock.wall_ms(), "me")
    error = run(home).exception
    assert "needs at least two vectors, on: listening" in str(error)
    assert json.loads(said(home, "listening", "eager", "--json"))["members"] == ["listening@1", "eager@1"]


PLACES = [{"layer": 1, "dose": 0.4, "coefficient": 2.0}, {"layer": 2, "dose": 0.1, "coefficient": -0.5}]


def test_where_a_vector_is_added_follows_the_dose_that_it_is_served_at(home):
    with Store.open(home.database) as store, store.read() as conn:
        bare = served(conn)[0]
    assert [(at.layer, at.dose, at.coefficient) for at in placements_of(bare)] == [(LAYER, DOSE, bare.coefficient)]
    assert (factors_of(bare), gate_of(bare)) == ({LAYER: 1.0}, None)
    row = replace(bare, dose=0.2, coefficient=1.0, placements=json.dumps(PLACES))
    assert [(at.layer, at.dose, at.coefficient) for at in placements_of(row)] == [(1, 0.2, 1.0), (2, 0.05, -0.25)]
    assert factors_of(row) == {1: 1.0, 2: -0.25}
    assert factors_of(replace(row, dose=0.1, coefficient=0.5)) == factors_of(row)


@pytest.mark.parametrize("passed", [True, False])
def test_layers_doses_and_a_good_gate_of_a_proof_reach_the_manifest_and_its_files(two_unproved, passed):
    gate = {"layer": 0, "weights": [0.5] * 32, "bias": -1.5, "passed": passed, "n_prompts": 9, "n_neutral": 9}
    gate |= dict.fromkeys(("recall", "false_open", "effect", "effect_kept", "kl_mean", "kl_p95", "kl_left"), 0.5)
    with Store.open(two_unproved.database) as store:
        with store.write() as conn:
            prove(conn, "listening@1", store.clock.wall_ms(), json.dumps({"placements": PLACES, "gate": gate}))
        publish(store, two_unproved, 1.0)
        with store.read() as conn:
            (row,) = served(conn)
            n_layers, dim, data = load_blob(conn, row.sha256)
    entry = manifest(two_unproved)["listening@1"]
    assert (entry["layers"], entry["dose"], entry["coefficient"]) == ([1, 2], row.dose, row.coefficient)
    opening = {"layer": 0, "read": "mean_prompt", "bias": -1.5, "tensor": "gate"}
    assert entry["gate"] == (opening if passed else None)
    (path,) = two_unproved.registry.glob(f"*/vectors/{entry['sha256']}.safetensors")
    tensors = tensors_of(path.read_bytes())
    assert sorted(tensors) == (["gate"] if passed else []) + ["layer.1", "layer.2"]
    matrix = np.frombuffer(data, dtype="<f4").reshape(n_layers, dim)
    assert (tensors["layer.1"] == matrix[1]).all()
    assert tensors["layer.2"] == pytest.approx(-0.25 * matrix[2])
    if passed:
        assert tensors["gate"].tolist() == [0.5] * 32
