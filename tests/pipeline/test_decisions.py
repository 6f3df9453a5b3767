"""What a person decides about pairs and proposals holds, whatever is mined afterwards."""

import json

import pytest

from tests.pipeline.conftest import memory


@pytest.fixture
def reflexd(tmp_path, command_line):
    """The command line in a home that watches a small memory; gives what was printed."""

    call = command_line(tmp_path / "reflexd.toml")
    call("init", "--dir", str(tmp_path))
    cues = '\n[behaviours.listening]\npositive_cues = ["^yes"]\nnegative_cues = ["^no"]\n'
    (tmp_path / "reflexd.toml").write_text((tmp_path / "reflexd.toml").read_text() + cues)
    (tmp_path / "memory.json").write_text(json.dumps(memory()))
    call("source", "add", "node-link", str(tmp_path / "memory.json"))
    call("once", "--until", "mine")
    return call


def ids(reflexd):
    return [pair["pair"] for pair in reflexd("pairs", "listening", "--json")]


def test_a_dropped_pair_stays_dropped_when_the_memory_is_mined_again(reflexd, tmp_path):
    before = ids(reflexd)
    assert "dropped" in reflexd("pair", "drop", before[0])
    (tmp_path / "memory.json").write_text(json.dumps(memory()) + "\n")
    reflexd("once", "--until", "mine")
    assert ids(reflexd) == before[1:]
    assert "dropped" in reflexd("pair", "show", before[0])
    (event,) = reflexd("history", "--json")
    assert (event["what"], event["now"], bool(event["actor"])) == (f"pair {before[0]}", "dropped", True)


def test_a_pinned_pair_outlives_its_memory(reflexd, tmp_path):
    before = ids(reflexd)
    reflexd("pair", "pin", before[0])
    assert "pinned" in reflexd("pair", "drop", before[0], code=1)
    (tmp_path / "memory.json").write_text(json.dumps(memory(sessions=1, directions=1)))
    reflexd("once", "--until", "mine")
    assert before[0] in ids(reflexd)
    reflexd("pair", "unpin", before[0])
    reflexd("once", "--until", "mine")
    assert len(ids(reflexd)) == 1


def test_a_pair_is_shown_with_where_both_sides_come_from(reflexd, tmp_path):
    pair = reflexd("pairs", "listening", "--json")[0]
    whole = reflexd("pair", "show", pair["pair"], "--json")
    assert whole["id"].startswith(pair["pair"])
    assert f"node-link:{tmp_path / 'memory.json'}:" in whole["positive_from"]
    text = reflexd("pair", "show", pair["pair"])
    assert whole["positive"] in text
    assert "the human, human_turn: No." in text
    assert "no such pair" in reflexd("pair", "show", "ffff", code=2)


SAME = [
    "you said done but you never ran the tests",
    "run the tests before you tell me it works",
    "tests are red, did you not run them",
    "no, run the tests first and then say it works",
    "you did not run the tests, two of them fail",
    "please run all tests before you call it done",
    "it does not work, the tests fail, run them before you say so",
    "again without running the tests, please run them",
]
OTHER = [
    "the port is 5432 there",
    "call it ledger, not book",
    "that is the old logo",
    "I meant the staging database",
    "make the title shorter",
    "drop the cache",
    "the invoice goes to accounting",
    "wrong branch",
    "no emoji in the commit message",
    "blue, like the rest of the page",
    "you forgot the header row",
    "put it under docs",
    "sort by price",
    "the lock must be released in both branches",
    "use the existing logger",
    "the regex misses umlauts",
    "that table has no index",
    "take the median instead",
    "use tabs",
    "the customer is called Maier",
    "no, Tuesday",
    "the second paragraph repeats the first",
    "twelve columns are too many",
    "keep the old endpoint for a month",
    "the date should come before the name",
    "that's not how the router does retries",
    "the meeting is at nine",
    "pick the cheaper instance",
    "too formal for her",
    "we don't ship to Canada",
    "write it as a list",
    "one sentence is enough",
    "it should retry three times",
    "the mail went to the wrong list",
    "not in the constructor",
    "rename the flag back",
    "that breaks on Windows",
    "ask Ines first",
]


def corrections():
    """Some corrections that say the same thing, in several sessions, among others that have nothing in common."""
    nodes = [{"id": f"s{s}", "kind": "session", "text": "", "ts": s} for s in range(6)]
    edges = []
    for n, words in enumerate([*SAME, *OTHER]):
        ts = 1_772_438_400_000 + n * 60_000
        nodes += [
            {"id": f"d{n}", "kind": "direction", "text": f"Task {n}", "ts": ts},
            {"id": f"r{n}", "kind": "response", "text": "Here is the new version of it.", "ts": ts + 1},
            {"id": f"o{n}", "kind": "outcome", "text": words, "ts": ts + 2, "signal": "human_turn"},
        ]
        edges += [
            {"source": f"d{n}", "target": f"s{n % 6}", "kind": "part_of"},
            {"source": f"r{n}", "target": f"d{n}", "kind": "responds_to"},
            {"source": f"r{n}", "target": f"o{n}", "kind": "rejected_by"},
        ]
    return {"directed": True, "multigraph": True, "graph": {}, "nodes": nodes, "edges": edges}


def test_a_group_of_corrections_is_proposed_and_does_nothing_until_it_is_adopted(reflexd, tmp_path):
    (tmp_path / "more.json").write_text(json.dumps(corrections()))
    reflexd("source", "add", "node-link", str(tmp_path / "more.json"))
    reflexd("once", "--until", "mine")
    proposals = reflexd("behaviours", "propose", "--json")
    assert proposals
    assert "tests" in proposals[0]["words"]
    assert set(proposals[0]["evidence"]["examples"]) <= set(SAME)
    name = proposals[0]["name"]
    assert name not in {row["behaviour"] for row in reflexd("behaviours", "--json")}
    reflexd("behaviours", "adopt", name)
    reflexd("once", "--until", "mine")
    assert name in {row["behaviour"] for row in reflexd("behaviours", "--json")}
    assert name not in {row["name"] for row in reflexd("behaviours", "propose", "--json")}
    assert "adopted already" in reflexd("behaviours", "adopt", name, code=1)


def test_a_dismissed_proposal_is_not_made_again(reflexd, tmp_path):
    (tmp_path / "more.json").write_text(json.dumps(corrections()))
    reflexd("source", "add", "node-link", str(tmp_path / "more.json"))
    reflexd("once", "--until", "mine")
    name = reflexd("behaviours", "propose", "--json")[0]["name"]
    reflexd("behaviours", "dismiss", name)
    assert name not in {row["name"] for row in reflexd("behaviours", "propose", "--json")}
