"""Which evidence makes a version: enough of a change, always after a drop, never twice of the same."""

from dataclasses import replace

import numpy as np
import orjson
import pytest

from daemon.errors import MismatchError
from daemon.pipeline.promote import conditions, promote
from daemon.pipeline.train import train
from daemon.protocol import Placement
from daemon.settings import PromotionSettings
from store import vectors
from tests.pipeline.evidence_life import Life, difference


@pytest.fixture
def life(tmp_path):
    made = Life(tmp_path)
    yield made
    made.close()


@pytest.fixture
def grown(life):
    """One verified version of 20 training pairs and 10 others."""
    life.show(range(20), range(5), range(5))
    life.look()
    life.prove()
    assert life.versions() == {"listening@1": "verified"}
    return life


def test_a_first_version_needs_enough_pairs_and_no_more(life):
    life.show(range(3))
    assert life.look() == ["listening: 3 training pairs, 4 are needed; waiting"]
    life.show(range(4))
    assert life.look()[0] == "listening@1: a new version: the first for this model"
    assert life.look() == []


def test_a_few_new_pairs_wait_and_say_so(grown):
    grown.show(range(23), range(5), range(5))
    assert grown.look() == ["listening: 3 new training pairs, 4 are needed for a new version"]
    assert grown.versions() == {"listening@1": "verified"}
    grown.show(range(24), range(5), range(5))
    assert grown.look()[0] == "listening@2: a new version: 4 of 20 training pairs changed"
    assert grown.fed("listening@2") == set(range(24))


def test_the_bars_can_be_set(grown):
    grown.set(refresh_share=0.05)
    grown.show(range(21), range(5), range(5))
    assert grown.look()[0] == "listening@2: a new version: 1 of 20 training pairs changed"
    grown.set(refresh_share=1.0, refresh_cosine=0.999)
    grown.show(range(24), range(5), range(5))
    assert "predicted cosine" in grown.look()[0]


def test_the_prediction_takes_the_chosen_layer_of_the_version_before(grown):
    """At split halves of 0.9 two pairs more in 20 turn little; of 0.05 they would turn the direction far."""
    life = grown
    life.show(range(22), range(5), range(5))
    assert "4 are needed" in life.look()[0]
    lineage = orjson.loads(life.rows("SELECT lineage FROM vector_version")[0][0])
    lineage["layers"][1]["split_half_cosine"] = 0.05  # layer 1 is the chosen one
    with life.store.write() as conn:
        conn.exec_driver_sql("DROP TRIGGER vector_extraction_frozen")
        conn.exec_driver_sql("UPDATE vector_version SET lineage = ?", (orjson.dumps(lineage).decode(),))
    assert life.look()[0] == "listening@2: a new version: 2 new training pairs: predicted cosine 0.958 to listening@1"


@pytest.mark.parametrize(("proved", "agree"), [((0.9, 1.3), True), ((1.2, 1.6), False)])
def test_versions_whose_effects_do_not_agree_are_not_stable(grown, proved, agree):
    """0.72 to 1.10 was the first one's."""
    grown.process.proved = proved
    grown.show(range(24), range(5), range(5))
    grown.look()
    grown.prove()
    assert grown.versions()["listening@2"] == "verified"
    with grown.store.read() as conn:
        asked = conditions(conn, vectors.by_name(conn, "listening@2"), PromotionSettings(versions=2))
    (overlap,) = [condition for condition in asked if condition.name == "overlap of their effect intervals"]
    assert overlap.met is agree
    assert overlap.value == pytest.approx(1.1 - proved[0])


@pytest.mark.parametrize(("dropped", "state"), [((), "promoted"), ((22,), "verified")])
def test_a_sound_version_is_promoted_and_a_stale_one_is_not(grown, dropped, state):
    """Pair 22 fed the second version alone: the first one is sound, and does not stand in for it."""
    grown.show(range(24), range(5), range(5))
    grown.look()
    grown.prove()
    for number in dropped:
        grown.drop(number)
    easily = PromotionSettings(versions=1, min_sessions=1, min_days=1)
    settings = grown.context.settings.model_copy(update={"promotion": easily})
    assert promote(replace(grown.context, settings=settings)) == (state == "promoted")
    assert grown.versions() == {"listening@1": "verified", "listening@2": state}


@pytest.mark.parametrize("layers", [(1,), (1, 0), (2, 0, 1)])
def test_versions_agree_as_far_as_they_do_at_the_layer_where_they_do_least(life, layers):
    life.process.placements = tuple(Placement(layer=layer, dose=0.1, coefficient=0.1) for layer in layers)
    life.show(range(20), range(5), range(5))
    life.look()
    life.prove()
    life.show(range(10, 30), range(5), range(5))
    life.look()
    life.prove()
    means = [
        np.mean([difference(life.pair(number)) for number in numbers], axis=0) for numbers in (range(20), range(10, 30))
    ]
    cosines = (means[0] * means[1]).sum(axis=1) / np.prod([np.linalg.norm(mean, axis=1) for mean in means], axis=0)
    assert len(set(cosines.round(4))) == 3
    with life.store.read() as conn:
        asked = conditions(conn, vectors.by_name(conn, "listening@2"), PromotionSettings(versions=2))
    (found,) = [condition.value for condition in asked if condition.name == "cosine between versions"]
    assert found == pytest.approx(min(cosines[list(layers)]), abs=1e-6)


def test_a_vector_of_several_layers_is_trained_where_it_was_proved(life):
    life.process.placements = tuple(
        Placement(layer=layer, dose=dose, coefficient=-dose) for layer, dose in ((0, 0.1), (1, 0.2))
    )
    life.show(range(20), range(5), range(5))
    life.look()
    life.prove()
    promotion = PromotionSettings(versions=1, min_sessions=1, min_days=1)
    training = life.context.settings.training.model_copy(update={"approval": "auto"})
    settings = life.context.settings.model_copy(update={"promotion": promotion, "training": training})
    context = replace(life.context, settings=settings)
    assert promote(context)
    assert train(context)
    assert life.process.asked["train"].placements == life.process.placements


def test_the_model_process_is_told_where_activations_are_kept_and_how_deep_to_read(life):
    life.set(depth=0.5, activations_mb=3)
    life.show(range(20), range(5), range(5))
    life.look()
    life.prove()
    extraction, proof = life.process.asked["extract"], life.process.asked["verify"]
    assert (extraction.rows, extraction.rows_bytes, extraction.depth) == (life.home.activations, 3 << 20, 0.5)
    assert (proof.rows, proof.rows_bytes) == (life.home.activations, 3 << 20)
    life.set(depth=1.0)
    assert life.look()[0] == "listening@2: a new version: another recipe"


def test_a_dropped_pair_always_makes_a_version(grown):
    grown.drop(7)
    assert "listening@1 is stale: pair" in grown.look()[0]
    grown.prove()
    assert grown.fed("listening@2") == set(range(20)) - {7}
    assert grown.rows("SELECT vector FROM serving") == [("listening@2",)]
    assert grown.rows("SELECT n FROM health WHERE what = 'stale vectors that are still served'") == [(0,)]


def test_a_drop_that_brings_back_the_evidence_of_an_earlier_version_makes_it_again(grown):
    """New pairs came, a version was made of them, a person drops them: what is served must not be made of them."""
    grown.show(range(24), range(5), range(5))
    grown.look()
    grown.prove()
    for number in range(20, 24):
        grown.drop(number)
    grown.look()
    grown.prove()
    assert grown.fed("listening@3") == grown.fed("listening@1")
    assert grown.rows("SELECT vector FROM serving") == [("listening@3",)]
    blobs = grown.rows("SELECT count(DISTINCT blob_sha256) FROM vector_version WHERE version IN (1, 3)")
    assert blobs == [(1,)]
    assert grown.look() == []


def test_evidence_that_comes_back_of_itself_makes_no_second_version(grown):
    grown.show(range(24), range(5), range(5))
    grown.look()
    grown.prove()
    grown.show(range(20), range(5), range(5))
    assert grown.look() == ["listening: the evidence is that of listening@1 again; no new version"]
    assert list(grown.versions()) == ["listening@1", "listening@2"]


def test_after_a_drop_too_few_pairs_wait_and_the_stale_version_is_named(life):
    life.show(range(4))
    life.look()
    life.drop(0)
    stale, waits = life.look()
    assert stale.startswith("listening@1: stale before it was proved: pair ")
    assert waits.startswith("listening: 3 training pairs, 4 are needed; waiting, and listening@1 is stale: pair ")
    assert life.versions() == {"listening@1": "rejected"}


def test_what_is_stale_before_it_is_proved_goes_no_further(life):
    life.show(range(6))
    life.look()
    life.drop(0)
    life.prove()
    assert life.versions() == {"listening@1": "extracted"}
    life.look()
    assert life.versions() == {"listening@1": "rejected", "listening@2": "extracted"}


def test_a_version_that_was_refused_waits_for_training_pairs_or_for_more_to_be_proved_on(life):
    life.process.convinced = False
    life.show(range(20), range(3))
    life.look()
    life.prove()
    assert life.versions() == {"listening@1": "rejected"}
    assert life.look() == []
    life.show(range(20), range(4), range(6))
    assert life.look()[0] == "listening@2: a new version: listening@1 was refused, and 7 held-out pairs changed"


@pytest.mark.parametrize("change", [{"seed": 1}, {"aggregator": "pca"}])
def test_another_recipe_makes_a_version_and_the_one_before_is_not_stale(grown, change):
    grown.set(**change)
    assert grown.look()[0] == "listening@2: a new version: another recipe"
    assert grown.rows("SELECT stale FROM vectors") == [(None,), (None,)]


def test_another_chat_template_makes_the_versions_stale_and_new_ones(grown):
    grown.process.template = "t2"
    grown.clock.advance(5)
    grown.add_model()
    stale = "tokenizer or chat template of tiny changed"
    assert grown.rows("SELECT stale FROM vectors") == [(stale,)]
    assert grown.rows("SELECT n FROM health WHERE what = 'stale vectors that are still served'") == [(1,)]
    assert grown.look()[0] == f"listening@2: a new version: listening@1 is stale: {stale}"
    grown.prove()
    assert grown.rows("SELECT vector FROM serving") == [("listening@2",)]
    grown.process.template = "t1"
    grown.add_model()
    grown.look()
    grown.prove()
    assert grown.rows("SELECT vector FROM serving") == [("listening@3",)]
    assert grown.rows("SELECT template_digest FROM vector_version") == [("t1",), ("t2",), ("t1",)]


def test_other_weights_in_the_same_folder_make_the_versions_stale_and_new_ones(grown):
    grown.process.digest = "b" * 64
    grown.add_model()
    assert grown.rows("SELECT stale FROM vectors") == [("weights in /models/tiny changed",)]
    assert grown.look()[0] == "listening@2: a new version: the first for this model"
    assert grown.rows("SELECT parent_id FROM vector_version") == [(None,), (1,)]
    told = "SELECT json_extract(lineage, '$.parent'), json_extract(lineage, '$.cosine_to_parent') FROM vector_version"
    assert grown.rows(told) == [(None, None), ("listening@1", None)]


def test_another_model_beside_the_first_makes_versions_of_its_own_and_nothing_stale(grown):
    grown.process.digest = "b" * 64
    grown.add_model("/models/other")
    grown.look()
    assert grown.rows("SELECT stale FROM vectors") == [(None,), (None,)]
    grown.process.digest = "a" * 64
    grown.add_model()
    assert grown.look() == []
    grown.show(range(24), range(5), range(5))
    grown.look()
    assert grown.rows("SELECT version, parent_id FROM vector_version WHERE id = 3") == [(3, 1)]


def test_a_template_that_changed_under_us_is_refused(life):
    life.show(range(4))
    life.process.template = "t2"
    with pytest.raises(MismatchError, match="`reflexd model add` it again"):
        life.look()
    assert life.versions() == {"listening@1": "candidate"}
    life.add_model()
    life.look()
    assert life.versions() == {"listening@1": "rejected", "listening@2": "extracted"}


def test_a_version_records_what_it_came_from(grown):
    grown.show(range(24), range(5), range(5))
    grown.look()
    first, second = (orjson.loads(text) for (text,) in grown.rows("SELECT lineage FROM vector_version ORDER BY id"))
    assert (first["parent"], first["cosine_to_parent"]) == (None, None)
    named = ("parent", "because", "seed", "aggregator", "threads", "device", "libraries", "template_digest")
    assert [second[name] for name in named] == [
        "listening@1",
        "4 of 20 training pairs changed",
        0,
        "mean_difference",
        2,
        "cpu",
        {"torch": "2.9.1", "numpy": "2.3.0"},
        "t1",
    ]
    ((digest, model),) = grown.rows("SELECT pairs_digest, model_digest FROM vector_version WHERE version = 2")
    assert (second["pairs_digest"], second["model_digest"]) == (digest, model)
    means = [sum(difference(grown.pair(n)) for n in range(count)) / count for count in (20, 24)]
    for layer, told in enumerate(second["cosine_to_parent"]):
        a, b = (mean[layer] for mean in means)
        assert told == pytest.approx(a @ b / (a @ a * (b @ b)) ** 0.5, abs=1e-6)


def test_a_withdrawn_version_is_not_made_again(grown):
    with grown.store.write() as conn:
        vectors.withdraw(conn, 1, "it annoys me", grown.clock.wall_ms(), "ann")
    assert grown.look() == []
    grown.show(range(23), range(5), range(5))
    assert grown.look() == ["listening: 3 new training pairs, 4 are needed for a new version"]
