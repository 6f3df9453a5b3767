"""Vector versions, the numbers they hold, the weights they were made for, and what is served."""

import hashlib
import struct

import pytest
from lifecycle import BASE, MATRIX, MATRIX_SHA, NOW, candidate, extracted, queued, state_of, verified, verify, weights

from store import jobs, models, vectors
from store.errors import CorruptStoreError, IllegalMoveError, NotFoundError, StoreError
from store.lineage import version_of_evidence
from store.reader import open_reader
from store.served import serve, served, set_dose, set_enabled


@pytest.fixture
def conn(seeded):
    with seeded.write() as connection:
        yield connection


def sha(data):
    return hashlib.sha256(data).hexdigest()


# ---------------------------------------------------------------- versions


def test_versions_count_up_and_know_the_one_before(conn):
    first, second = (vectors.by_id(conn, candidate(conn, digest)) for digest in ("e1", "e2"))
    assert (first.name, first.parent_id, first.state) == ("listening@1", None, "candidate")
    assert (second.name, second.parent_id) == ("listening@2", first.id)
    assert vectors.latest(conn, "listening") == second
    assert vectors.latest(conn, "humming") is None


def test_the_same_evidence_never_makes_a_second_version(seeded):
    with seeded.write() as conn:
        vector = candidate(conn)
        vectors.reject(conn, vector, "not coherent", NOW)
        assert version_of_evidence(conn, "listening", BASE, "template", "e1", '{"seed":0}').id == vector
        for template, pairs, seed in (("template", "e2", 0), ("template", "e1", 1), ("other", "e1", 0)):
            assert version_of_evidence(conn, "listening", BASE, template, pairs, f'{{"seed":{seed}}}') is None
    with pytest.raises(IllegalMoveError, match="same evidence"), seeded.write() as conn:
        candidate(conn)


def test_a_name_that_is_not_there_lists_what_is(conn):
    candidate(conn)
    assert vectors.by_name(conn, "listening@1").version == 1
    with pytest.raises(NotFoundError, match="listening@2: no such version; known are: listening@1"):
        vectors.by_name(conn, "listening@2")


def test_the_evidence_of_a_version_outlives_the_memory(conn):
    from store import evidence

    vector = candidate(conn)
    evidence.replace_pairs(conn, "listening", [], NOW)
    (pair,) = vectors.vector_pairs(conn, vector)
    assert (pair.id, pair.split, pair.episodes) == ("p1", "train", ("yes", "no"))


def test_the_way_to_verified(conn):
    vector = extracted(conn)
    assert vectors.by_id(conn, vector).blob_sha256 == MATRIX_SHA
    verify(conn, vector)
    found = vectors.by_id(conn, vector)
    assert (found.state, found.layer, found.dose, found.effect) == ("verified", 1, 0.2, 0.9)
    assert (found.effect_low, found.effect_high) == (0.5, 1.2)
    assert vectors.verification(conn, vector) == '{"verdict":"verified"}'
    assert [row.id for row in vectors.in_state(conn, "verified", "promoted")] == [vector]


def test_a_rejection_keeps_its_reason_and_its_report(conn):
    vector = extracted(conn)
    vectors.reject(conn, vector, "weaker than chance", NOW, report='{"effect":0.01}')
    assert vectors.by_id(conn, vector).reason == "weaker than chance"
    assert vectors.verification(conn, vector) == '{"effect":0.01}'


def test_a_move_that_was_made_says_so(conn):
    vector = extracted(conn)
    with pytest.raises(IllegalMoveError, match="is extracted already, or not there"):
        vectors.mark_extracted(conn, vector, MATRIX_SHA, 2, 4, MATRIX, NOW)


def test_the_last_verified_versions_count_from_the_newest(conn):
    ones = [verified(conn, f"e{i}") for i in range(3)]
    vectors.supersede(conn, ones[0], ones[2], NOW)
    assert [row.id for row in vectors.last_verified(conn, "listening", BASE, 2)] == [ones[2], ones[1]]
    assert [row.id for row in vectors.last_verified(conn, "listening", BASE, 9)] == ones[::-1]
    vectors.withdraw(conn, ones[1], "a person said so", NOW)
    stale = verified(conn, "e3")
    conn.exec_driver_sql(f"UPDATE vector_version SET stale_at = 5, stale_reason = 'so' WHERE id = {stale}")
    assert [row.id for row in vectors.last_verified(conn, "listening", BASE, 2)] == [ones[2], ones[0]]


@pytest.mark.parametrize("state", ["queued", "training"])
def test_withdrawing_a_promoted_vector_cancels_its_job(seeded, state):
    with seeded.write() as conn:
        vector, job = queued(conn)
        if state == "training":
            jobs.claim(conn, "worker", 1000, NOW)
        vectors.withdraw(conn, vector, "it annoys me", NOW, "me")
        assert state_of(conn, vector) == "withdrawn"
        assert jobs.get_job(conn, job).error == "withdrawn: it annoys me"
        assert served(conn) == []


# ---------------------------------------------------------------- numbers


def test_equal_numbers_are_kept_once(conn):
    extracted(conn, "e1")
    extracted(conn, "e2")
    assert conn.exec_driver_sql("SELECT count(*) FROM vector_blob").scalar() == 1
    assert vectors.load_blob(conn, MATRIX_SHA) == (2, 4, MATRIX)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_are_not_finite_are_refused(conn, value):
    data = struct.pack("<8f", *[1.0] * 7, value)
    with pytest.raises(StoreError, match="NaN or infinity"):
        vectors.mark_extracted(conn, candidate(conn), sha(data), 2, 4, data, NOW)


@pytest.mark.parametrize(
    ("digest", "data", "said"),
    [
        (MATRIX_SHA, MATRIX[:-4], "28 bytes for 2 × 4"),
        (MATRIX_SHA, MATRIX + b"\0", "33 bytes for 2 × 4"),
        ("0" * 64, MATRIX, "hash to something else"),
    ],
)
def test_numbers_that_are_not_what_they_say_are_refused(conn, digest, data, said):
    with pytest.raises(StoreError, match=said):
        vectors.mark_extracted(conn, candidate(conn), digest, 2, 4, data, NOW)


def test_numbers_that_rotted_are_found_when_they_are_read(conn):
    extracted(conn)
    conn.exec_driver_sql("DROP TRIGGER blob_no_update")
    conn.exec_driver_sql("UPDATE vector_blob SET data = zeroblob(32)")
    with pytest.raises(CorruptStoreError, match="its bytes changed"):
        vectors.load_blob(conn, MATRIX_SHA)


def test_numbers_that_are_not_there_are_named(conn):
    with pytest.raises(NotFoundError, match="vector blob 000000000000"):
        vectors.load_blob(conn, "0" * 64)


# ---------------------------------------------------------------- models


def test_a_model_that_moved_is_the_same_model(conn):
    models.add_model(conn, BASE, "tiny", "/elsewhere", 4, 2, "template", NOW + 1)
    (model,) = models.list_models(conn)
    assert (model.path, model.added_at, model.root_digest, model.current) == ("/elsewhere", NOW, BASE, True)
    assert models.get_model(conn, BASE) == models.current_model(conn) == model


def test_one_model_is_current(conn):
    other = "d" * 64
    models.add_model(conn, other, "other", "/other", 4, 2, "template", NOW)
    models.set_current(conn, other)
    assert [(m.digest, m.current) for m in models.list_models(conn)] == [(BASE, False), (other, True)]
    with pytest.raises(NotFoundError, match="`reflexd model add`"):
        models.set_current(conn, "e" * 64)
    with pytest.raises(NotFoundError):
        models.get_model(conn, "e" * 64)


# ---------------------------------------------------------------- served


def test_a_newer_version_takes_the_place_and_the_switch_of_the_older(conn):
    first = verified(conn, "e1")
    set_enabled(conn, "listening", False, NOW, "me")
    second = verified(conn, "e2")
    (row,) = served(conn)
    assert (row.vector_id, row.name, row.enabled, row.sha256) == (second, "listening@2", False, MATRIX_SHA)
    assert state_of(conn, first) == "verified"


def test_a_dose_is_changed_in_its_own_units(conn):
    verified(conn)
    (row,) = served(conn)
    assert row.coefficient_per_dose == pytest.approx(7.5)
    set_dose(conn, "listening", 0.1, 0.1 * row.coefficient_per_dose, NOW, "me")
    (row,) = served(conn)
    assert (row.dose, row.coefficient, row.coefficient_per_dose) == pytest.approx((0.1, 0.75, 7.5))


@pytest.mark.parametrize(
    "change", [lambda c: set_enabled(c, "humming", True, NOW, "me"), lambda c: set_dose(c, "humming", 1, 1, NOW, "me")]
)
def test_what_is_not_served_cannot_be_switched(conn, change):
    with pytest.raises(NotFoundError, match="humming: no vector of it is served"):
        change(conn)


def test_only_what_was_proved_is_served(seeded):
    with pytest.raises(IllegalMoveError, match="only a verified version is served"), seeded.write() as conn:
        serve(conn, extracted(conn), 0.2, 1.5, True, NOW)


def test_a_retired_vector_stays_listed_for_the_weights_before(conn):
    vector, _ = queued(conn)
    jobs.finish(conn, jobs.claim(conn, "w", 1000, NOW), weights(), "{}", NOW)
    (row,) = served(conn)
    assert (row.vector_id, row.state, row.root_digest) == (vector, "retired", BASE)


def test_switching_is_told_in_the_history(seeded):
    with seeded.write() as conn:
        verified(conn)
        set_enabled(conn, "listening", False, NOW, "ann")
        set_enabled(conn, "listening", False, NOW, "bob")
    with open_reader(seeded.path) as reader:
        told = reader.rows("SELECT was, now, actor FROM history WHERE what = 'served'")
    assert [tuple(row.values()) for row in told] == [(None, "on", "reflexd"), ("on", "off", "ann")]
