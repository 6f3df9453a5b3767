"""What a person sees of two versions: what came and went, how far the direction turned, what each was made with."""

import re

import numpy as np
import pytest

from tests.pipeline.evidence_life import Life, difference


@pytest.fixture
def life(tmp_path):
    """Two verified versions; between them pairs came, one went by itself and one was dropped, and libraries changed."""
    made = Life(tmp_path)
    made.show(range(20), range(5), range(5))
    made.look()
    made.prove()
    made.process.libraries = {"torch": "2.10.0", "numpy": "2.3.0"}
    made.show(range(1, 23), range(5), range(1, 6))
    made.drop(1)
    made.look()
    made.prove()
    yield made
    made.close()


@pytest.fixture
def reflexd(life, command_line):
    """The command line in that home; gives what was printed."""
    return command_line(life.home.config)


def numbers(life, pairs, split):
    ids = {life.pair(n, split).id: n for n in range(30)}
    return sorted(ids[row["pair"]] for row in pairs if row["split"] == split)


def test_pairs_that_came_and_went_are_told_with_where_they_come_from(life, reflexd):
    found = reflexd("diff", "listening@1", "listening@2", "--json")
    assert found["pairs"] == {
        "train": {"from": 20, "to": 21, "came": 3, "went": 2, "same": 18},
        "validation": {"from": 5, "to": 5, "came": 0, "went": 0, "same": 5},
        "test": {"from": 5, "to": 5, "came": 1, "went": 1, "same": 4},
    }
    assert numbers(life, found["came"], "train") == [20, 21, 22]
    assert numbers(life, found["went"], "train") == [0, 1]
    assert numbers(life, found["came"], "test") == [5]
    came = found["came"][0]
    own = next(life.pair(n) for n in (20, 21, 22) if life.pair(n).id == came["pair"])
    assert [came[key] for key in ("direction", "positive", "negative", "now")] == [
        own.prompt,
        own.positive,
        own.negative,
        "in use",
    ]
    assert came["positive_from"] == f"node-link:/memory.json:{own.episodes[0]}"
    assert came["negative_from"] == f"node-link:/memory.json:{own.episodes[1]}"
    assert {row["now"] for row in found["went"] if row["split"] == "train"} == {"no longer mined", "dropped by ann"}


def test_the_direction_is_compared_layer_by_layer(life, reflexd):
    found = reflexd("diff", "listening@1", "listening@2", "--json")["direction"]
    one, other = ([difference(life.pair(n)) for n in numbers] for numbers in (range(20), range(2, 23)))
    for layer, told in enumerate(found["layers"]):
        a, b = np.mean(one, axis=0)[layer], np.mean(other, axis=0)[layer]
        assert told == pytest.approx(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)), abs=1e-6)
    assert (found["layer"], found["cosine"]) == (1, found["layers"][1])
    assert reflexd("show", "listening@2", "--json")["lineage"]["cosine_to_parent"] == pytest.approx(found["layers"])


def test_layers_that_both_have_are_compared(life, reflexd):
    """A later version may have been read to a smaller depth."""
    life.process.layers = 2
    life.show(range(2, 28), range(5), range(1, 6))
    life.look()
    life.prove()
    found = reflexd("diff", "listening@2", "listening@3", "--json")["direction"]
    assert (len(found["layers"]), found["cosine"]) == (2, found["layers"][1])
    assert reflexd("show", "listening@3", "--json")["lineage"]["cosine_to_parent"] == pytest.approx(found["layers"])


def test_what_they_were_made_with_is_told_where_it_changed(life, reflexd):
    found = reflexd("diff", "listening@1", "listening@2", "--json")["made_with"]
    assert found == [{"what": "library torch", "from": "2.9.1", "to": "2.10.0"}]
    life.set(seed=3)
    life.process.template = "t2"
    life.add_model()
    life.look()
    changed = reflexd("diff", "listening@2", "listening@3", "--json")["made_with"]
    assert [row["what"] for row in changed] == ["tokenizer and chat template", "recipe seed"]
    assert (changed[1]["from"], changed[1]["to"]) == (0, 3)


def test_it_reads_well(life, reflexd):
    text = reflexd("diff", "listening@1", "listening@2")
    head = text[: text.index("4 pairs came")]
    turned = r"cosine 0\.\d{3} at layer 1; 0\.\d{3} \(layer \d\) to 0\.\d{3} over 3 layers"
    assert re.search(rf"^direction  {turned}$", head, re.MULTILINE)
    for line in (
        r"^listening@1 → listening@2   \(listening@1 is stale: pair [0-9a-f]{12} dropped\)$",
        r"^pairs      train      20 → 21: 3 came, 2 went, 18 the same$",
        r"^           validation 5$",
        r"^           test       5 → 5: 1 came, 1 went, 4 the same$",
        r"^effect     \+0\.91 \[\+0\.72, \+1\.10\] nats a token at layer 1, dose 0\.25, both$",
        r"^state      verified; stale: pair [0-9a-f]{12} dropped$",
        r"^           → verified$",
        r"^made with  library torch: 2\.9\.1 → 2\.10\.0$",
    ):
        assert re.search(line, head, re.MULTILINE), (line, head)
    pair = life.pair(1)
    assert (
        f"- {pair.id[:12]}  train, weight 0.50, session s-train, dropped by ann\n"
        "    asked     please change train file 1\n"
        "    accepted  yes, 1\n"
        "              node-link:/memory.json:train1+\n"
        "    rejected  no, not 1\n"
        "              node-link:/memory.json:train1-\n"
    ) in text
    assert max(map(len, text.splitlines())) <= 120


def test_a_version_and_itself_do_not_differ(reflexd):
    text = reflexd("diff", "listening@2", "listening@2")
    assert "the same model, recipe, code and libraries" in text
    assert "came" not in text
    assert "went" not in text


def test_versions_that_cannot_be_compared_say_why(life, reflexd):
    life.process.digest = "b" * 64
    life.add_model("/models/other")
    life.show(range(22))
    life.look()
    text = reflexd("diff", "listening@2", "listening@3")
    assert "direction  not to be compared: made from two models\n" in text
    assert "→ not measured" in text
    assert "model: tiny aaaaaaaaaaaa → tiny bbbbbbbbbbbb" in text


def test_a_version_that_is_not_there_is_named_with_those_that_are(reflexd):
    said = reflexd("diff", "listening@1", "listening@7", code=2)
    assert said == "reflexd: listening@7: no such version; known are: listening@1, listening@2\n"


def test_numbers_that_rotted_are_not_compared(life, reflexd):
    with life.store.write() as conn:
        conn.exec_driver_sql("DROP TRIGGER blob_no_update")
        conn.exec_driver_sql("UPDATE vector_blob SET data = zeroblob(length(data))")
    assert "its bytes changed; restore a backup" in reflexd("diff", "listening@1", "listening@2", code=65)


def test_the_lineage_of_a_version_is_shown(reflexd):
    text = reflexd("show", "listening@2")
    for line in (
        r"^parent +listening@1$",
        r"^made because +listening@1 is stale: pair [0-9a-f]{12} dropped$",
        r"^cosine to it, layer 1 +0\.\d{3}$",
        r"^template_digest +t1$",
        r"^threads +2$",
        r"^torch +2\.10\.0$",
    ):
        assert re.search(line, text, re.MULTILINE), (line, text)
    assert "cosine to it" not in reflexd("show", "listening@1")


def test_the_screen_says_what_waits(life, reflexd):
    assert reflexd("status", "--json")["waiting"] == {}
    assert re.search(r"^waiting +none$", reflexd("status"), re.MULTILINE)
    life.show(range(1, 25), range(5), range(1, 7))
    assert re.search(
        r"^waiting +listening: 2 new training pairs, 1 held-out changed since listening@2$",
        reflexd("status"),
        re.MULTILINE,
    )
    life.drop(5)
    assert "listening@2 is stale: pair" in reflexd("status")
    row = reflexd("status", "--json")["waiting"]["listening"]
    assert (row["new_training"], row["gone_training"], row["since"]) == (2, 1, "listening@2")


def test_why_says_what_the_next_version_waits_for(life, reflexd):
    life.show(range(2, 25), range(5), range(1, 6))
    says = "2 new training pairs, 5 are needed for a new version"
    assert f"listening: {says}\n" in reflexd("why", "listening@2")
    assert f"listening: {says}\n" in reflexd("why", "listening")
    found = reflexd("why", "listening@2", "--json")
    assert found["evidence"]["next_version"] == says
    asked = [row for row in found["conditions"] if row["stage"] == "extract"]
    assert [(row["bar"], row["met"]) for row in asked] == [(0.2, False), (0.97, False)]
    ratio = 21 / 2 * (1 - 0.9) / 0.9  # halves of 21 pairs that agree by 0.9
    turned = ((1 + ratio / 23) / (1 + ratio / 21)) ** 0.5
    assert [row["value"] for row in asked] == pytest.approx([2 / 21, turned])
    older = reflexd("why", "listening@1", "--json")
    assert "extract" not in {row["stage"] for row in older["conditions"]}
    assert older["stale"].startswith("pair ")
    assert "listening@1 is stale: pair " in reflexd("why", "listening@1")
