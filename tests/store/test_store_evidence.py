"""What the memory says: episodes, labels, pairs and splits; nothing that was known is ever deleted."""

import pytest
from lifecycle import NOW, behaviour, episode, pair, rolled_back, save

from store import evidence, sources, ticks
from store.errors import IllegalMoveError
from store.evidence import Change, LabelRow
from store.graph import forget_unit
from store.reader import open_reader


@pytest.fixture
def conn(seeded):
    with seeded.write() as connection:
        yield connection


def ids(rows):
    return [row.id for row in rows]


# ---------------------------------------------------------------- sources


def test_a_source_is_watched_once(conn):
    first = sources.add_source(conn, "graphml", "/other.xml", NOW)
    assert sources.add_source(conn, "graphml", "/other.xml", NOW + 1) == first
    assert [source.path for source in sources.list_sources(conn)] == ["/memory.json", "/other.xml"]


def test_a_removed_source_keeps_what_it_taught(conn):
    assert sources.remove_source(conn, "node-link", "/memory.json", NOW)
    assert not sources.remove_source(conn, "node-link", "/memory.json", NOW)
    assert sources.list_sources(conn) == []
    assert [source.path for source in sources.list_sources(conn, removed=True)] == ["/memory.json"]
    assert ids(evidence.live_episodes(conn)) == ["no", "yes"]


def test_an_error_is_kept_until_a_look_goes_well(conn):
    (source,) = sources.list_sources(conn)
    sources.save_read(conn, source.id, NOW + 5, "torn JSON in line 3")
    (source,) = sources.list_sources(conn)
    assert (source.last_read_at, source.last_error) == (NOW + 5, "torn JSON in line 3")
    sources.save_read(conn, source.id, NOW + 6)
    assert sources.list_sources(conn)[0].last_error is None


def test_each_unit_has_its_cursor(conn):
    other = sources.add_source(conn, "claude-code", "/projects", NOW)
    sources.save_unit(conn, other.id, "b.jsonl", {"offset": 1}, NOW, {}, 0, None)
    sources.save_unit(conn, other.id, "a.jsonl", {"offset": 2, "head": "ü"}, NOW, {}, 0, None)
    sources.save_unit(conn, other.id, "b.jsonl", {"offset": 3}, NOW + 1, {}, 0, None)
    sources.save_unit(conn, 1, "", {"sha256": "x"}, NOW, {}, 0, None)
    assert sources.unit_cursors(conn, other.id) == {"a.jsonl": {"offset": 2, "head": "ü"}, "b.jsonl": {"offset": 3}}
    forget_unit(conn, other.id, "b.jsonl", NOW, keep_evidence=True)
    assert list(sources.unit_cursors(conn, other.id)) == ["a.jsonl"]


def test_unknown_records_add_up_and_problems_are_those_of_the_last_read(seeded):
    with seeded.write() as conn:
        sources.save_unit(conn, 1, "a.jsonl", {}, NOW, {"mode": 2, "new": 1}, 3, "a.jsonl:7: no JSON")
        sources.save_unit(conn, 1, "a.jsonl", {}, NOW, {"mode": 5}, 1, "a.jsonl:9: no JSON")
        sources.save_unit(conn, 1, "b.jsonl", {}, NOW, {"mode": 1}, 0, None)
    with open_reader(seeded.path) as reader:
        (source,) = reader.rows("SELECT units, problems, unknown FROM sources")
        told = reader.rows("SELECT source, unit, type, n FROM unknown_records")
    assert source == {"units": 2, "problems": 1, "unknown": 9}
    assert [tuple(row.values()) for row in told] == [
        ("node-link /memory.json", "a.jsonl", "mode", 7),
        ("node-link /memory.json", "b.jsonl", "mode", 1),
        ("node-link /memory.json", "a.jsonl", "new", 1),
    ]
    with seeded.write() as conn:
        sources.remove_source(conn, "node-link", "/memory.json", NOW)
    with open_reader(seeded.path) as reader:
        assert reader.rows("SELECT * FROM unknown_records") == []


def test_a_cursor_commits_with_its_rows_or_not_at_all(seeded):
    with rolled_back(seeded) as conn:
        save(conn, [episode("new")])
        sources.save_unit(conn, 1, "", {"at": 9}, NOW, {"new": 1}, 0, None)
    with seeded.read() as conn:
        assert sources.unit_cursors(conn, 1) == {}
        assert ids(evidence.live_episodes(conn)) == ["no", "yes"]


# ---------------------------------------------------------------- episodes and labels


def test_episodes_come_go_and_come_back(conn):
    yes, no, new = episode("yes"), episode("no", "rejected"), episode("new")
    assert save(conn, [yes, new], NOW + 1, also=["no"]) == Change(added=1, gone=1, kept=1)
    assert ids(evidence.live_episodes(conn)) == ["new", "yes"]
    (gone_at,) = conn.exec_driver_sql("SELECT gone_at FROM episode WHERE id = 'no'").one()
    assert gone_at == NOW + 1
    assert save(conn, [yes, no, new], NOW + 2) == Change(added=1, gone=0, kept=2)
    assert save(conn, [yes, no, new], NOW + 3) == Change(added=0, gone=0, kept=3)
    assert save(conn, [], NOW + 4, also=["yes", "no", "new"]) == Change(added=0, gone=3, kept=0)


def test_episodes_of_other_responses_are_left_alone(conn):
    assert save(conn, [episode("new")]) == Change(added=1, gone=0, kept=0)
    assert ids(evidence.live_episodes(conn)) == ["new", "no", "yes"]
    judged = episode("judged again", response_node="node of yes")
    assert save(conn, [judged]) == Change(added=1, gone=1, kept=0)
    assert ids(evidence.live_episodes(conn)) == ["judged again", "new", "no"]


def test_episodes_from_before_the_nodes_are_taken_over_or_gone(conn):
    """Their source is one file: the first read with nodes says which of them it still holds."""
    other = sources.add_source(conn, "graphml", "/other.xml", NOW)
    old = {name: episode(name, response_node=None) for name in ("kept", "lost", "elsewhere")}
    save(conn, [old["kept"], old["lost"]])
    save(conn, [old["elsewhere"]], source=other.id)
    assert save(conn, [episode("kept"), episode("new")], NOW + 1) == Change(added=1, gone=1, kept=1)
    assert ids(evidence.live_episodes(conn)) == ["elsewhere", "kept", "new", "no", "yes"]
    assert episode("kept") in evidence.live_episodes(conn)


def test_what_a_source_says_of_an_episode_may_change(conn):
    changed = episode("yes", weight=0.9, pairable=False, words="thank you", response_node="another node")
    save(conn, [changed, episode("no", "rejected")])
    assert changed in evidence.live_episodes(conn)


def test_an_episode_comes_back_as_it_went_in(conn):
    odd = episode("odd", "corrected", words='"; DROP TABLE episode; --\n\t\0 ü', ts=5)
    save(conn, [odd], also=["yes", "no"])
    assert evidence.live_episodes(conn) == [odd]


def test_labels_stand_by_version_and_go_with_their_episode(conn):
    rule = LabelRow("yes", "listening", "positive", "rule", "1", 1.0)
    newer = LabelRow("yes", "listening", "negative", "rule", "2", 0.5)
    evidence.save_labels(conn, [rule, rule, newer])
    assert evidence.live_labels(conn) == [rule, newer]
    save(conn, [episode("no", "rejected")], also=["yes"])
    assert evidence.live_labels(conn) == []


def test_a_label_that_the_source_took_back_is_gone(conn):
    marker = LabelRow("yes", "listening", "positive", "marker", "1", 1.0)
    rule = LabelRow("yes", "listening", "positive", "rule", "1", 1.0)
    evidence.save_labels(conn, [marker, rule])
    save(conn, [episode("yes"), episode("no", "rejected")])
    assert evidence.live_labels(conn) == [rule]


def test_days_are_counted_once(conn):
    day = 86_400_000
    save(conn, [episode("a", ts=0), episode("b", ts=day - 1), episode("c", ts=day)])
    assert evidence.episode_days(conn, ["a", "b"]) == {0}
    assert evidence.episode_days(conn, ["a", "b", "c", "unknown"]) == {0, 1}


# ---------------------------------------------------------------- behaviours, splits, pairs


def test_a_behaviour_is_redefined_in_place(conn):
    evidence.save_behaviours(conn, [behaviour(), behaviour("not_rushing")], NOW)
    assert [row.name for row in evidence.list_behaviours(conn)] == ["listening", "not_rushing"]
    assert evidence.list_behaviours(conn)[0] == behaviour()


def test_a_session_keeps_its_side(seeded):
    with seeded.write() as conn:
        evidence.save_splits(conn, {"s1": "test", "s2": "validation"}, NOW)
        assert evidence.splits(conn) == {"s1": "train", "s2": "validation"}
    with pytest.raises(IllegalMoveError, match="never changes its side"), seeded.write() as conn:
        conn.exec_driver_sql("UPDATE session_split SET split = 'test'")


def test_pairs_come_go_and_come_back(conn):
    evidence.save_splits(conn, {"s2": "test"}, NOW)
    one, two = pair("p1"), pair("p2", "s2", "test")
    assert evidence.replace_pairs(conn, "listening", [one, two], NOW) == Change(added=1, gone=0, kept=1)
    assert evidence.live_pairs(conn, "listening") == [one, two]
    assert evidence.replace_pairs(conn, "listening", [two], NOW) == Change(added=0, gone=1, kept=1)
    assert evidence.live_pairs(conn, "listening") == [two]
    assert evidence.replace_pairs(conn, "listening", [one, two], NOW) == Change(added=1, gone=0, kept=1)


def test_a_pair_without_episodes_is_a_pair(conn):
    bare = pair("p9", episodes=())
    evidence.replace_pairs(conn, "listening", [bare], NOW)
    assert evidence.live_pairs(conn, "listening") == [bare]


def test_a_pair_needs_evidence_that_is_known(seeded):
    with pytest.raises(IllegalMoveError, match="FOREIGN KEY"), seeded.write() as conn:
        evidence.replace_pairs(conn, "listening", [pair("p3", episodes=("yes", "nobody"))], NOW)


# ---------------------------------------------------------------- ticks


def test_a_look_that_goes_well_again_is_well(conn):
    ticks.tick_failed(conn, "look", "disk is full", NOW)
    ticks.tick_ok(conn, "look", NOW + 1)
    assert conn.exec_driver_sql("SELECT * FROM tick").all() == [("look", NOW + 1, NOW, None)]
