"""What became of the evidence can be asked of a behaviour and of a version: each response is counted once."""

import json

import pytest

from tests.pipeline.conftest import memory

CUES = '\n[behaviours.listening]\npositive_cues = ["^yes"]\nnegative_cues = ["^no"]\n'


@pytest.fixture
def reflexd(tmp_path, command_line):
    """The command line in a home of its own."""
    call = command_line(tmp_path / "reflexd.toml")
    call("init", "--dir", str(tmp_path))
    return call


def mined(reflexd, folder, told, cues=CUES):
    """Mine `told` with these cues; what `once` said."""
    (folder / "reflexd.toml").write_text((folder / "reflexd.toml").read_text() + cues)
    (folder / "memory.json").write_text(json.dumps(told))
    reflexd("source", "add", "node-link", str(folder / "memory.json"))
    return reflexd("once", "--until", "mine")


def evidence_of(reflexd, behaviour="listening"):
    return reflexd("why", behaviour, "--json")["evidence"]


def test_each_rejected_response_is_accounted_for(reflexd, tmp_path):
    told = memory(sessions=3, directions=4)
    told["edges"] = [edge for edge in told["edges"] if edge["target"] not in {"o0-0b", "o1-0b", "o1-1b"}]
    told["nodes"].append({"id": "c", "kind": "correction", "text": "As I said.", "ts": "2026-03-01T09:01:00Z"})
    told["edges"].append({"source": "c", "target": "r0-0a", "key": 0, "kind": "corrects"})
    mined(reflexd, tmp_path, told)
    evidence = evidence_of(reflexd)
    mining = evidence["mining"]
    assert (evidence["accepted"], evidence["rejected"]) == (9, 12)
    assert (mining["positives"], mining["negatives"], mining["by_direction"]) == (9, 12, 9)
    assert mining["negatives"] == sum(
        mining[key] for key in ("by_direction", "by_similarity", "no_counterpart", "incomparable")
    )
    assert mining["kept"] == sum(evidence["pairs"].values()) == len(reflexd("pairs", "listening", "--json"))
    text = reflexd("why", "listening")
    assert "a first vector needs 16 for training" in text
    assert " 12   Rejected responses that show the negative pole." in text
    assert "both poles" not in text


def test_a_pair_that_a_person_drops_is_counted_as_dropped_at_once(reflexd, tmp_path):
    mined(reflexd, tmp_path, memory(sessions=2, directions=3))
    before = evidence_of(reflexd)
    assert (before["mining"]["dropped"], before["mining"]["kept"]) == (0, 6)
    reflexd("pair", "drop", reflexd("pairs", "listening", "--json")[0]["pair"])
    after = evidence_of(reflexd)
    assert (after["mining"]["dropped"], after["mining"]["kept"], sum(after["pairs"].values())) == (1, 5, 5)


def test_a_memory_without_pairs_says_so_and_why(reflexd, tmp_path):
    told = mined(reflexd, tmp_path, memory(sessions=2, directions=2), CUES.replace("^no", "^never"))
    assert "no pairs in 8 episodes; `reflexd why B`" in told
    assert "listening" in told
    evidence = evidence_of(reflexd)
    assert (evidence["rejected"], evidence["mining"]["negatives"], evidence["mining"]["positives"]) == (4, 0, 4)
    assert "both poles" in reflexd("why", "listening")


def test_a_memory_with_pairs_of_one_behaviour_does_not_say_that_it_has_none(reflexd, tmp_path):
    assert "no pairs" not in mined(reflexd, tmp_path, memory(sessions=1, directions=2))
    assert "no pairs" not in reflexd("once", "--until", "mine")


def test_asking_why_writes_nothing(reflexd, tmp_path):
    mined(reflexd, tmp_path, memory(sessions=1, directions=2))
    (tmp_path / "reflexd.toml").write_text((tmp_path / "reflexd.toml").read_text().replace("^no", "^never"))
    asked = (
        "SELECT (SELECT count(*) FROM episode_label) AS labels, (SELECT count(*) FROM pair WHERE gone_at IS NULL) AS p"
    )
    before = reflexd("sql", asked, "--json")
    assert evidence_of(reflexd)["mining"]["kept"] == 0
    assert reflexd("sql", asked, "--json") == before
    assert sum(evidence_of(reflexd)["pairs"].values()) == 2


def test_a_behaviour_that_nobody_knows_is_refused_with_those_that_are(reflexd):
    said = reflexd("why", "hearing", code=2)
    assert "no such behaviour" in said
    assert "listening" in said


@pytest.mark.slow
def test_of_a_version_the_evidence_is_told_beside_its_conditions(place):
    place.reflexd("once", "--until", "extract")
    told = place.json("why", "listening@1")
    assert (told["vector"], told["state"], told["conditions"]) == ("listening@1", "extracted", [])
    assert told["evidence"] == place.json("why", "listening")["evidence"]
    assert told["evidence"]["mining"]["kept"] == 32
    text = place.reflexd("why", "listening@1").stdout
    assert "listening@1 is extracted" in text
    assert "listening: 32 pairs" in text


@pytest.mark.slow
def test_of_a_version_whose_behaviour_is_switched_off_only_the_conditions_are_told(place):
    place.reflexd("once", "--until", "extract")
    place.config.write_text(place.config.read_text().replace('positive_cues = ["^yes"]', "enabled = false"))
    told = place.json("why", "listening@1")
    assert (told["state"], told["evidence"]) == ("extracted", None)
    assert "pairs" not in place.reflexd("why", "listening@1").stdout
