"""What the memory says: episodes, labels, pairs and splits; nothing that was known is ever deleted."""

import pytest
from lifecycle import NOW, behaviour, episode, pair, rolled_back

from store import evidence, sources, ticks
from store.errors import IllegalMoveError
from store.evidence import Change, LabelRow
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
    assert ids(evidence.live_episodes(conn)) == ["no", "yes"]


def test_a_cursor_and_an_error_are_kept(conn):
    (source,) = sources.list_sources(conn)
    sources.save_read(conn, source.id, {"sha256": "x", "at": 7}, NOW)
    sources.save_read(conn, source.id, {"sha256": "x", "at": 7}, NOW + 5, "torn JSON in line 3")
    (source,) = sources.list_sources(conn)
    assert (source.cursor, source.last_read_at, source.last_error) == (
        {"sha256": "x", "at": 7},
        NOW + 5,
        "torn JSON in line 3",
    )


def test_a_cursor_commits_with_its_rows_or_not_at_all(seeded):
    with rolled_back(seeded) as conn:
        (source,) = sources.list_sources(conn)
        evidence.replace_episodes(conn, source.id, [episode("new")], NOW)
        sources.save_read(conn, source.id, {"at": 9}, NOW)
    with seeded.read() as conn:
        assert sources.list_sources(conn)[0].cursor is None
        assert ids(evidence.live_episodes(conn)) == ["no", "yes"]


# ---------------------------------------------------------------- episodes and labels


def test_episodes_come_go_and_come_back(conn):
    yes, no, new = episode("yes"), episode("no", "rejected"), episode("new")
    assert evidence.replace_episodes(conn, 1, [yes, new], NOW + 1) == Change(added=1, gone=1, kept=1)
    assert ids(evidence.live_episodes(conn)) == ["new", "yes"]
    (gone_at,) = conn.exec_driver_sql("SELECT gone_at FROM episode WHERE id = 'no'").one()
    assert gone_at == NOW + 1
    assert evidence.replace_episodes(conn, 1, [yes, no, new], NOW + 2) == Change(added=1, gone=0, kept=2)
    assert evidence.replace_episodes(conn, 1, [yes, no, new], NOW + 3) == Change(added=0, gone=0, kept=3)
    assert evidence.replace_episodes(conn, 1, [], NOW + 4) == Change(added=0, gone=3, kept=0)


def test_what_a_source_says_of_an_episode_may_change(conn):
    changed = episode("yes", weight=0.9, pairable=False, words="thank you")
    evidence.replace_episodes(conn, 1, [changed, episode("no", "rejected")], NOW)
    assert changed in evidence.live_episodes(conn)


def test_an_episode_comes_back_as_it_went_in(conn):
    odd = episode("odd", "corrected", words='"; DROP TABLE episode; --\n\t\0 ü', ts=5)
    evidence.replace_episodes(conn, 1, [odd], NOW)
    assert evidence.live_episodes(conn) == [odd]


def test_labels_stand_by_version_and_go_with_their_episode(conn):
    rule = LabelRow("yes", "listening", "positive", "rule", "1", 1.0)
    newer = LabelRow("yes", "listening", "negative", "rule", "2", 0.5)
    evidence.save_labels(conn, [rule, rule, newer])
    assert evidence.live_labels(conn) == [rule, newer]
    evidence.replace_episodes(conn, 1, [episode("no", "rejected")], NOW)
    assert evidence.live_labels(conn) == []


def test_a_label_that_the_source_took_back_is_gone(conn):
    marker = LabelRow("yes", "listening", "positive", "marker", "1", 1.0)
    rule = LabelRow("yes", "listening", "positive", "rule", "1", 1.0)
    evidence.save_labels(conn, [marker, rule])
    evidence.replace_episodes(conn, 1, [episode("yes"), episode("no", "rejected")], NOW)
    assert evidence.live_labels(conn) == [rule]


def test_days_are_counted_once(conn):
    day = 86_400_000
    evidence.replace_episodes(conn, 1, [episode("a", ts=0), episode("b", ts=day - 1), episode("c", ts=day)], NOW)
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


def test_a_dropped_pair_stays_dropped(seeded):
    with seeded.write() as conn:
        assert evidence.drop_pair(conn, "p1", NOW)
        assert not evidence.drop_pair(conn, "p1", NOW)
        evidence.replace_pairs(conn, "listening", [], NOW)
        evidence.replace_pairs(conn, "listening", [pair()], NOW)
        assert evidence.live_pairs(conn, "listening") == []
    with open_reader(seeded.path) as reader:
        (told,) = reader.rows("SELECT subject, what, now FROM history WHERE what LIKE 'pair%'")
    assert told == {"subject": "listening", "what": "pair p1", "now": "dropped"}


def test_a_pair_needs_evidence_that_is_known(seeded):
    with pytest.raises(IllegalMoveError, match="FOREIGN KEY"), seeded.write() as conn:
        evidence.replace_pairs(conn, "listening", [pair("p3", episodes=("yes", "nobody"))], NOW)


# ---------------------------------------------------------------- ticks


def test_a_look_that_goes_well_again_is_well(conn):
    ticks.tick_failed(conn, "look", "disk is full", NOW)
    ticks.tick_ok(conn, "look", NOW + 1)
    assert conn.exec_driver_sql("SELECT * FROM tick").all() == [("look", NOW + 1, NOW, None)]
