"""What a page is made of is what the store says, of this version of reflexd and of others."""

import json

import numpy as np
import pytest

from daemon.errors import UsageError
from daemon.protocol import VerifyReport
from daemon.report.lenient import read_leniently
from daemon.report.page import version_page
from daemon.report.read import read_overview, read_version
from store.combinations import CombinationRow, keep
from store.reader import open_reader
from store.rechecks import RecheckRow, keep_recheck
from tests.report.furnished import MODEL, Furnished, direction
from tests.report.pages import Seen
from tests.report.proofs import LAYER, combination, full_proof


@pytest.fixture
def home(tmp_path):
    with Furnished(tmp_path) as made:
        yield made


def version(home, name="listening@3"):
    with open_reader(home.home.database) as reader:
        return read_version(reader, name)


def test_the_proof_is_read_as_it_was_written(home):
    found = version(home)
    assert (found.proof, found.missing) == (full_proof(), ())
    assert [row.vector for row in found.versions] == ["listening@1", "listening@2", "listening@3"]
    assert found.served == "on at 0.25"


def test_versions_stand_in_the_order_of_their_numbers(home):
    for seed in range(20, 28):
        home.extracted("listening", seed)
    numbers = [int(row.vector.rpartition("@")[2]) for row in version(home).versions]
    assert numbers == list(range(1, 12))


def test_the_evidence_is_counted_by_side_session_and_day(home):
    found = version(home).evidence
    assert found.pairs == {"train": 8, "validation": 4, "test": 6}
    assert found.sessions == {"train": 2, "validation": 2, "test": 2}
    assert found.days == ("2023-11-14", "2023-11-15", "2023-11-16")


def test_a_version_that_is_not_there_is_an_error_that_names_those_that_are(home):
    with pytest.raises(UsageError, match=r"listening@9: no such version; known are: listening@1, listening@2"):
        version(home, "listening@9")


def test_pieces_of_another_reflexd_are_left_out_by_name():
    body = json.loads(full_proof().model_dump_json())
    body["from_the_future"] = 1
    body["gate"] = {"nothing": "we know"}
    body["samples"][3]["slope"] = None
    found, missing = read_leniently(VerifyReport, body)
    assert missing == ("from_the_future", "gate", "samples")
    assert (found.gate, found.samples, found.effect) == (None, (), full_proof().effect)


def test_a_report_without_its_verdict_is_no_report():
    body = json.loads(full_proof().model_dump_json())
    del body["verdict"]
    assert read_leniently(VerifyReport, body)[0] is None


def test_directions_are_compared_at_the_vectors_layer_with_the_newest_of_each_other_behaviour(home):
    found = version(home).interference
    assert found.names == ("listening@3", "not_rushing@1")
    assert found.layer == LAYER
    one, other = (direction(seed)[LAYER].astype(float) for seed in (3, 2))
    assert found.cosines[0][1] == pytest.approx(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)), abs=1e-6)
    assert found.cosines[0][0] == pytest.approx(1)
    assert found.cross_effects is None


def test_a_vector_without_company_is_compared_with_nobody(home):
    with home.store.write() as conn:
        conn.exec_driver_sql("UPDATE vector_version SET state = 'withdrawn' WHERE behaviour = 'not_rushing'")
    assert version(home).interference is None


def combined(home, *reports, model=MODEL):
    with home.store.write() as conn:
        for report in reports:
            members = json.dumps(report.get("members", ()))
            row = CombinationRow(home.clock.wall_ms(), model, members, None, None, 0.5, None, json.dumps(report))
            keep(conn, row)


def test_the_last_measured_combination_is_told_before_mere_directions(home):
    combined(home, combination(0.1), combination(0.2) | {"set": "both"})
    found = version(home).interference
    assert found.cosines == ((1, 0.2), (0.2, 1))
    assert found.cross_effects == ((1.5, -0.3), (0.1, None))
    assert found.n == (12, 10)
    assert [each.kept for each in found.joint] == [0.9, 0.8]
    assert found.at == "2023-11-18 22:13"


def test_a_measured_combination_is_on_the_page(home):
    combined(home, combination(0.2))
    text = Seen(version_page(version(home))).text
    assert "Measured together at 2023-11-18 22:13" in text
    assert "n: 12 of listening@3, 10 of not_rushing@1" in text
    assert "All at once: neutral KL mean 0.30, p95 0.80, RMSE 0.50 nats over 900 positions." in text
    assert "not_rushing@1 0.70 +1.00 +0.80 0.80 [0.70, 0.90] 14" in text


def test_a_combination_on_weights_that_were_trained_from_the_model_counts(home):
    home.trained()
    combined(home, combination(0.2), model="e" * 64)
    assert version(home).interference.cosines[0][1] == 0.2


@pytest.mark.parametrize("report", [{}, {"members": ["listening@3"]}, {"cosines": "no"}])
def test_a_combination_that_cannot_be_read_is_passed_over(home, report):
    combined(home, report)
    assert version(home).interference.layer == LAYER


def test_a_combination_without_the_vector_is_anothers(home):
    combined(home, combination(0.2, ("a@1", "b@1")))
    assert version(home).interference.names == ("listening@3", "not_rushing@1")


def test_the_overview_has_what_waits_for_a_person(home):
    job = home.awaits_approval()
    with open_reader(home.home.database) as reader:
        found = read_overview(reader)
    assert found.for_you == (
        {"what": f"job {job} waits: listening@3 is stable and may be trained", "how": f"reflexd approve {job}"},
    )
    assert [row["behaviour"] for row in found.behaviours] == ["listening", "not_rushing"]
    assert len(found.history) <= 20
    assert found.history[0]["seq"] > found.history[-1]["seq"]


def test_what_was_measured_again_is_told_in_order(home):
    with home.store.write() as conn:
        for verdict, reason in (("holds", None), ("fails", "effect gone")):
            row = RecheckRow(
                home.latest.id, home.clock.wall_ms(), "other weights", "{}", verdict, reason, 1.2, 1.0, 1.4, 0.5
            )
            keep_recheck(conn, row, "{}")
    found = version(home)
    assert [(each.verdict, each.reason) for each in found.rechecks] == [("holds", None), ("fails", "effect gone")]
    assert found.rechecks[0].at == "2023-11-18 22:13"
    text = Seen(version_page(found)).text
    assert "2023-11-18 22:13 other weights fails +1.20 [1.00, 1.40] 0.50 effect gone" in text


def test_a_store_of_an_older_reflexd_has_a_page(home):
    """Its tables for rechecks and combinations are not there yet, and its views know nothing of them."""
    views = ("rechecks", "combinations", "serving")
    with home.store.write() as conn:
        for kind, name in (*(("VIEW", view) for view in views), ("TABLE", "recheck"), ("TABLE", "combination")):
            conn.exec_driver_sql(f"DROP {kind} {name}")
        conn.exec_driver_sql("CREATE VIEW serving AS SELECT '' AS vector, 1 AS enabled, 0.5 AS dose")
    assert version(home).rechecks == ()
    assert version(home).interference.layer == LAYER
