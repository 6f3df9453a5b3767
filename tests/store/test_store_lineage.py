"""What a version came from: its parent, its template, and when the same evidence may make another one."""

import sqlite3

import pytest
from lifecycle import BASE, NOW, candidate, extracted, queued, state_of, verified, weights

from store import evidence, jobs, models, vectors
from store.lineage import newest_version, version_of_evidence
from store.reader import open_reader

OTHER = "d" * 64


@pytest.fixture
def conn(seeded):
    with seeded.write() as connection:
        yield connection


def add(conn, digest=BASE, path="/models/tiny", template="template", now=NOW + 9):
    models.add_model(conn, digest, "tiny", path, 4, 2, template, now)


def stale(conn):
    return dict(conn.exec_driver_sql("SELECT vector, stale FROM vectors").all())


RETOLD = "tokenizer or chat template of tiny changed"
REPLACED = "weights in /models/tiny changed"


# ---------------------------------------------------------------- a model that changes


def test_another_template_makes_what_was_made_with_the_first_stale(seeded):
    with seeded.write() as conn:
        one, two = verified(conn, "e1"), candidate(conn, "e2")
        add(conn, template="other")
        three = candidate(conn, "e3")
        assert stale(conn) == {"listening@1": RETOLD, "listening@2": RETOLD, "listening@3": None}
        assert [vectors.by_id(conn, v).template_digest for v in (one, two, three)] == ["template", "template", "other"]
        assert models.get_model(conn, BASE).template_digest == "other"
        assert set(conn.exec_driver_sql("SELECT stale_at FROM vector_version").scalars()) == {NOW + 9, None}
    with open_reader(seeded.path) as reader:
        told = reader.rows("SELECT subject, was, detail FROM history WHERE now = 'stale'")
    assert [tuple(row.values()) for row in told] == [
        ("listening@1", "verified", f'{{"reason":"{RETOLD}"}}'),
        ("listening@2", "candidate", f'{{"reason":"{RETOLD}"}}'),
    ]


def test_the_same_model_again_makes_nothing_stale(conn):
    verified(conn)
    add(conn)
    add(conn, path="/moved")
    assert stale(conn) == {"listening@1": None}
    assert models.get_model(conn, BASE).path == "/moved"


def test_what_is_out_of_use_is_not_called_stale(conn):
    rejected, old = candidate(conn, "e1"), verified(conn, "e2")
    vectors.reject(conn, rejected, "no", NOW)
    vectors.supersede(conn, old, verified(conn, "e3"), NOW)
    vectors.withdraw(conn, extracted(conn, "e4"), "no", NOW)
    add(conn, template="other")
    assert [name for name, reason in stale(conn).items() if reason] == ["listening@3"]


def test_the_weights_in_use_keep_their_own_template(conn):
    """A trained model's folder has its own copy of the tokenizer: what fits it is not stale when the base's changes."""
    queued(conn)
    jobs.finish(conn, jobs.claim(conn, "w", 1000, NOW), weights(), "{}", NOW)
    assert models.current_model(conn).digest == "b" * 64
    add(conn, template="other")
    assert stale(conn) == {"listening@1": None}
    models.set_current(conn, BASE)
    add(conn, template="third")
    assert stale(conn) == {"listening@1": RETOLD}


@pytest.mark.parametrize("known_before", [False, True])
def test_other_weights_in_the_same_place_make_the_versions_of_the_first_stale(conn, known_before):
    if known_before:
        add(conn, OTHER, "/elsewhere")
    verified(conn)
    assert stale(conn) == {"listening@1": None}
    add(conn, OTHER)
    assert stale(conn) == {"listening@1": REPLACED}


def test_weights_in_another_place_make_nothing_stale(conn):
    verified(conn)
    add(conn, OTHER, "/models/other")
    models.set_current(conn, OTHER)
    assert stale(conn) == {"listening@1": None}


def test_a_template_changed_in_the_shell_counts_too(seeded):
    with seeded.write() as conn:
        verified(conn)
    seeded.close()
    connection = sqlite3.connect(seeded.path, isolation_level=None)
    connection.execute("UPDATE model SET template_digest = 'x'")
    ((reason, at),) = connection.execute("SELECT stale_reason, stale_at FROM vector_version").fetchall()
    connection.close()
    assert reason == RETOLD
    assert at > NOW


def test_a_served_vector_that_is_stale_is_served_on_and_counted(conn):
    verified(conn)
    add(conn, template="other")
    assert conn.exec_driver_sql("SELECT vector, enabled FROM serving").all() == [("listening@1", 1)]
    counted = "SELECT n FROM health WHERE what = 'stale vectors that are still served'"
    assert conn.exec_driver_sql(counted).scalar() == 1


# ---------------------------------------------------------------- one version for one evidence


def again(conn, of="e1"):
    """Whether the same evidence may make another version; the lookup and the database must say the same."""
    template = models.get_model(conn, BASE).template_digest
    found = version_of_evidence(conn, "listening", BASE, template, of, '{"seed":0}')
    point, refused = conn.begin_nested(), ""
    try:
        candidate(conn, of)
    except Exception as error:  # noqa: BLE001 - the driver's own
        refused = str(error)
    finally:
        point.rollback()
    assert (found is None) == (refused == "")
    assert found is None or "one made of the same evidence" in refused
    return found is None


def supersede_first(conn):
    """e1 was verified; e2 took its place."""
    first = verified(conn, "e1")
    second = verified(conn, "e2")
    vectors.supersede(conn, first, second, NOW)
    return second


def call_stale(conn, vector):
    conn.exec_driver_sql(f"UPDATE vector_version SET stale_at = 5, stale_reason = 'so' WHERE id = {vector}")


@pytest.mark.parametrize("made", [candidate, extracted, verified, lambda conn: queued(conn)[0]])
def test_what_stands_is_not_made_again_and_what_is_stale_is(conn, made):
    vector = made(conn)
    assert not again(conn)
    call_stale(conn, vector)
    assert again(conn)


@pytest.mark.parametrize("end", [vectors.reject, vectors.withdraw])
def test_what_was_refused_or_withdrawn_is_not_made_again(conn, end):
    end(conn, extracted(conn), "no", NOW)
    call_stale(conn, verified(conn, "e2"))
    assert not again(conn)


def test_evidence_that_comes_back_is_made_again_only_when_its_successor_is_stale(conn):
    second = supersede_first(conn)
    assert not again(conn)
    call_stale(conn, second)
    assert again(conn)
    third = candidate(conn, "e1")
    assert not again(conn)
    vectors.reject(conn, third, "no", NOW)
    assert not again(conn)


def test_a_successor_that_was_never_proved_took_nobodys_place(conn):
    verified(conn, "e1")
    call_stale(conn, extracted(conn, "e2"))
    assert not again(conn)


def test_a_version_that_is_on_its_way_into_the_weights_is_not_made_again(conn):
    queued(conn, "e1")
    call_stale(conn, verified(conn, "e2"))
    assert not again(conn)


def test_another_template_is_another_evidence(conn):
    vectors.reject(conn, candidate(conn), "no", NOW)
    assert not again(conn)
    add(conn, template="other")
    assert again(conn)


# ---------------------------------------------------------------- parents


def test_a_parent_is_the_version_before_for_the_same_model(conn):
    first = candidate(conn, "e1")
    add(conn, OTHER, "/models/other")
    made = [
        vectors.create_candidate(conn, "listening", digest, digest, pairs, "{}", "{}", {}, NOW)
        for digest, pairs in ((OTHER, "e1"), (BASE, "e2"), (OTHER, "e2"))
    ]
    assert [vector.parent_id for vector in made] == [first, first, made[0].id]
    assert newest_version(conn, "listening", BASE) == made[1]
    assert newest_version(conn, "listening", OTHER) == made[2]
    assert newest_version(conn, "humming", BASE) is None
    assert state_of(conn, first) == "candidate"


# ---------------------------------------------------------------- what waits


def test_what_waits_is_counted_for_each_behaviour(conn):
    assert conn.exec_driver_sql("SELECT * FROM waiting").all() == [("listening", None, 1, 0, 0, None)]
    candidate(conn)
    assert conn.exec_driver_sql("SELECT * FROM waiting").all() == []
    evidence.drop_pair(conn, "p1", NOW, "ann")
    assert conn.exec_driver_sql("SELECT * FROM waiting").all() == [
        ("listening", "listening@1", 0, 1, 0, "pair p1 dropped")
    ]
