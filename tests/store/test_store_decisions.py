"""What people decide: a pair dropped or pinned, a proposal adopted or dismissed; and what follows from it."""

from dataclasses import replace

import pytest
from lifecycle import BASE, NOW, behaviour, candidate, extracted, pair, queued, state_of, verified, weights

from store import evidence, jobs, proposals, vectors
from store.errors import IllegalMoveError, NotFoundError
from store.evidence import Change
from store.proposals import ProposalRow
from store.reader import open_reader
from store.served import set_enabled


@pytest.fixture
def conn(seeded):
    with seeded.write() as connection:
        yield connection


def ids(rows):
    return [row.id for row in rows]


# ---------------------------------------------------------------- pairs


def told(store, what="pair%"):
    with open_reader(store.path) as reader:
        return reader.rows("SELECT subject, what, now, actor, detail FROM history WHERE what LIKE ?", (what,))


def test_a_dropped_pair_stays_dropped(seeded):
    with seeded.write() as conn:
        assert evidence.drop_pair(conn, "p1", NOW, "ann")
        assert not evidence.drop_pair(conn, "p1", NOW, "bob")
        evidence.replace_pairs(conn, "listening", [], NOW)
        evidence.replace_pairs(conn, "listening", [pair()], NOW)
        assert evidence.live_pairs(conn, "listening") == []
    (event,) = told(seeded)
    assert event == {"subject": "listening", "what": "pair p1", "now": "dropped", "actor": "ann", "detail": None}


def test_a_pinned_pair_stays_whatever_is_mined(seeded):
    with seeded.write() as conn:
        assert evidence.pin_pair(conn, "p1", NOW, "ann")
        assert not evidence.pin_pair(conn, "p1", NOW, "ann")
        assert evidence.replace_pairs(conn, "listening", [], NOW) == Change(added=0, gone=0, kept=1)
        assert evidence.live_pairs(conn, "listening") == [replace(pair(), pinned=True)]
        assert evidence.unpin_pair(conn, "p1", NOW + 7, "bob")
        assert not evidence.unpin_pair(conn, "p1", NOW + 7, "bob")
        assert evidence.replace_pairs(conn, "listening", [], NOW) == Change(added=0, gone=1, kept=0)
        assert evidence.pin_pair(conn, "p1", NOW, "ann")  # brings it back
        assert ids(evidence.live_pairs(conn, "listening")) == ["p1"]
    assert [(e["now"], e["actor"]) for e in told(seeded)] == [("pinned", "ann"), ("unpinned", "bob"), ("pinned", "ann")]
    with seeded.read() as conn:
        assert conn.exec_driver_sql("SELECT at FROM event WHERE now = 'unpinned'").scalar() == NOW + 7
        assert conn.exec_driver_sql("SELECT pinned FROM pairs").all() == [(1,)]


def test_a_pin_and_a_drop_exclude_each_other(conn):
    evidence.pin_pair(conn, "p1", NOW, "ann")
    with pytest.raises(IllegalMoveError, match="pair p1: is pinned; unpin it first"):
        evidence.drop_pair(conn, "p1", NOW, "ann")
    evidence.unpin_pair(conn, "p1", NOW, "ann")
    evidence.drop_pair(conn, "p1", NOW, "ann")
    with pytest.raises(IllegalMoveError, match="pair p1: is dropped, and stays dropped"):
        evidence.pin_pair(conn, "p1", NOW, "ann")


def test_what_was_decided_is_told_by_behaviour(conn):
    evidence.save_behaviours(conn, [behaviour("not_rushing")], NOW)
    evidence.replace_pairs(conn, "listening", [pair("p1"), pair("p2"), pair("p3")], NOW)
    evidence.replace_pairs(conn, "not_rushing", [pair("p4", behaviour="not_rushing")], NOW)
    for name in ("p1", "p4"):
        evidence.drop_pair(conn, name, NOW, "ann")
    evidence.pin_pair(conn, "p2", NOW, "ann")
    evidence.replace_pairs(conn, "listening", [], NOW)
    decided = evidence.decided_pairs(conn, "listening")
    assert (decided.pinned, decided.dropped) == ({"p2"}, {"p1"})


@pytest.mark.parametrize("decide", [evidence.drop_pair, evidence.pin_pair, evidence.unpin_pair])
def test_a_pair_that_is_not_there_is_named(conn, decide):
    with pytest.raises(NotFoundError, match=r"pair p7: no such pair; `reflexd pairs BEHAVIOUR` lists them"):
        decide(conn, "p7", NOW, "ann")


def test_a_pair_is_found_by_the_beginning_of_its_id(conn):
    evidence.replace_pairs(conn, "listening", [pair("p1"), pair("p22"), pair("q%")], NOW)
    assert [evidence.find_pair(conn, prefix) for prefix in ("p1", "p2", "q%", "q")] == ["p1", "p22", "q%", "q%"]
    for prefix, said in [
        ("p", "2 pairs begin so"),
        ("", "no such pair"),
        ("%", "no such pair"),
        ("p11", "no such pair"),
    ]:
        with pytest.raises(NotFoundError, match=said):
            evidence.find_pair(conn, prefix)


# ---------------------------------------------------------------- a dropped pair and the vectors that it fed


def stale(conn):
    return dict(conn.exec_driver_sql("SELECT vector, stale FROM vectors").all())


def test_a_dropped_pair_marks_what_it_fed(seeded):
    with seeded.write() as conn:
        one, two = verified(conn, "e1"), candidate(conn, "e2")
        vectors.reject(conn, two, "not coherent", NOW)
        retired, _ = queued(conn, "e3")
        jobs.finish(conn, jobs.claim(conn, "w", 1000, NOW), weights(), "{}", NOW)
        withdrawn = extracted(conn, "e4")
        vectors.withdraw(conn, withdrawn, "no", NOW)
        unfed = vectors.create_candidate(conn, "listening", BASE, BASE, "e5", "{}", "{}", {}, NOW).id
        evidence.drop_pair(conn, "p1", NOW + 3, "ann")
        assert stale(conn) == {
            f"listening@{number}": "pair p1 dropped" if number in (one, retired) else None
            for number in (one, two, retired, withdrawn, unfed)
        }
        assert set(conn.exec_driver_sql("SELECT stale_at FROM vector_version").scalars()) == {None, NOW + 3}
        assert state_of(conn, retired) == "retired"
    assert told(seeded)[0]["detail"] == '{"stale":"listening@1, listening@3"}'


def test_the_first_reason_is_kept(seeded):
    with seeded.write() as conn:
        evidence.replace_pairs(conn, "listening", [pair("p1"), pair("p2")], NOW)
        both = {"p1": "train", "p2": "train"}
        vectors.create_candidate(conn, "listening", BASE, BASE, "e1", "{}", "{}", both, NOW)
        evidence.drop_pair(conn, "p2", NOW, "ann")
        evidence.drop_pair(conn, "p1", NOW + 1, "ann")
        assert stale(conn) == {"listening@1": "pair p2 dropped"}
    assert [event["detail"] for event in told(seeded)] == ['{"stale":"listening@1"}', None]


def test_a_vector_made_of_a_pair_that_was_dropped_meanwhile_is_born_stale(conn):
    evidence.drop_pair(conn, "p1", NOW, "ann")
    candidate(conn)
    assert stale(conn) == {"listening@1": "pair p1 dropped"}


def test_health_counts_vectors_that_are_served_on_dropped_evidence(seeded):
    what = "stale vectors that are still served"

    def unhealthy(conn):
        return conn.exec_driver_sql("SELECT n FROM health WHERE what = ?", (what,)).scalar()

    with seeded.write() as conn:
        verified(conn)
        assert unhealthy(conn) == 0
        evidence.drop_pair(conn, "p1", NOW, "ann")
        assert unhealthy(conn) == 1
        set_enabled(conn, "listening", False, NOW, "ann")
        assert unhealthy(conn) == 0


# ---------------------------------------------------------------- proposals and classifiers


def proposal(name, **changes):
    cues = {"positive_cues": (r"\bfirst\b",), "negative_cues": ()}
    body = {"description": "asks first", "evidence": {"episodes": ["no"], "scores": [0.5]}, "proposed_at": NOW}
    return ProposalRow(**{"name": name} | cues | body | changes)


def test_open_proposals_are_replaced_and_decided_ones_stay(conn):
    proposals.replace_proposals(conn, [proposal("a"), proposal("b"), proposal("c")])
    proposals.adopt_proposal(conn, "a", NOW + 1)
    proposals.dismiss_proposal(conn, "b", NOW + 2)
    proposals.replace_proposals(conn, [proposal("a", description="x"), proposal("b", description="x"), proposal("d")])
    assert proposals.list_proposals(conn) == [
        proposal("a", adopted_at=NOW + 1),
        proposal("b", dismissed_at=NOW + 2),
        proposal("d"),
    ]


def test_an_adopted_proposal_is_a_behaviour(conn):
    proposals.replace_proposals(conn, [proposal("asks_first")])
    assert [row.name for row in evidence.list_behaviours(conn)] == ["listening"]
    made = proposals.adopt_proposal(conn, "asks_first", NOW)
    assert (made.origin, made.positive_cues) == ("adopted", (r"\bfirst\b",))
    assert made in evidence.list_behaviours(conn)


@pytest.mark.parametrize("decide", [proposals.adopt_proposal, proposals.dismiss_proposal])
def test_a_proposal_is_decided_once(conn, decide):
    proposals.replace_proposals(conn, [proposal("a"), proposal("b")])
    with pytest.raises(NotFoundError, match="c: no such proposal; `reflexd behaviours propose`"):
        decide(conn, "c", NOW)
    proposals.adopt_proposal(conn, "a", NOW)
    proposals.dismiss_proposal(conn, "b", NOW)
    for name, how in (("a", "adopted"), ("b", "dismissed")):
        with pytest.raises(IllegalMoveError, match=f"{name}: was {how} already"):
            decide(conn, name, NOW)


def test_a_proposal_takes_no_behaviours_place(conn):
    proposals.replace_proposals(conn, [proposal("listening")])
    with pytest.raises(IllegalMoveError, match="there is a behaviour of that name"):
        proposals.adopt_proposal(conn, "listening", NOW)
    assert evidence.list_behaviours(conn) == [behaviour()]


def test_a_classifier_is_known_by_its_newest_version(conn):
    assert evidence.classifier_version(conn, "human-turns") is None
    evidence.save_classifier(conn, "human-turns", "1", NOW)
    evidence.save_classifier(conn, "human-turns", "2", NOW + 1)
    assert evidence.classifier_version(conn, "human-turns") == "2"
