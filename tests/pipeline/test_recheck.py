"""A served vector is measured again when what it was proved on changed, and switched off when it no longer holds."""

import orjson
import pytest

from daemon.pipeline.recheck import Measured, changed, fault, recheck
from daemon.pipeline.verify import verify
from daemon.protocol import RecheckReport, VerifySettings
from daemon.settings import DriftSettings
from store.jobs import retry
from store.served import served, set_dose, set_enabled
from store.vectors import by_name, promote
from tests.pipeline.evidence_life import Life, side_effects


@pytest.fixture
def life(tmp_path):
    """One verified, served version, proved on six test pairs."""
    made = Life(tmp_path)
    made.show(range(20), range(5), range(6))
    made.look()
    made.prove()
    made.said.clear()
    yield made
    made.close()


def watch(life):
    """The recheck stage until nothing is due; what it said."""
    life.said.clear()
    life.clock.advance(1000)
    while recheck(life.context):
        pass
    return life.said


def switch(life):
    with life.store.read() as conn:
        (row,) = served(conn)
    return row


def test_nothing_is_measured_again_while_nothing_changed(life):
    assert watch(life) == []
    assert "recheck" not in life.process.asked


def test_new_held_out_directions_are_reason_enough_once_there_are_several(life):
    life.show(range(20), range(5), range(11))
    assert watch(life) == []
    life.show(range(20), range(5), range(12))
    assert watch(life) == [
        "listening@1: measured again: 6 new held-out pairs",
        "listening@1: holds: +0.80 nats a token",
    ]
    assert len(life.process.asked["recheck"].test) == 12
    assert watch(life) == []  # measured once is not measured again
    (row,) = life.rows("SELECT vector, because, verdict, effect, effect_at_proof, kl_p95 FROM rechecks")
    assert row == ("listening@1", "6 new held-out pairs", "holds", 0.8, 0.91, 0.3)


def test_another_template_is_reason_enough(life):
    life.process.template = "t2"
    life.add_model()
    assert watch(life)[0] == "listening@1: measured again: the tokenizer or chat template changed"
    assert watch(life) == []


def test_what_no_longer_holds_is_switched_off_and_the_history_says_why(life):
    life.show(range(20), range(5), range(12))
    life.process.interval = (-0.1, 0.3)
    told = watch(life)[-1]
    assert told.startswith(
        "listening@1: switched off: effect +0.100 nats a token, and its interval reaches down to -0.100"
    )
    assert "`reflexd on listening` serves it all the same" in told
    row = switch(life)
    assert (row.enabled, row.reason) == (False, "effect +0.100 nats a token, and its interval reaches down to -0.100")
    (event,) = life.rows("SELECT actor, now, detail FROM event WHERE subject = 'served' AND was = 'on'")
    assert event[:2] == ("reflexd", "off")
    assert orjson.loads(event[2])["reason"] == row.reason
    health = dict(life.rows("SELECT what, n FROM health"))
    assert health["vectors that reflexd switched off"] == 1


def test_what_is_no_number_holds_nothing_and_is_kept(life):
    life.show(range(20), range(5), range(12))
    life.process.interval, life.process.kl = (float("nan"), float("nan")), float("inf")
    assert "switched off: effect +nan nats a token" in watch(life)[-1]
    assert not switch(life).enabled
    assert life.rows("SELECT verdict, effect, effect_low, kl_p95 FROM recheck") == [("fails", None, None, float("inf"))]
    assert watch(life) == []


@pytest.mark.parametrize("state", ["awaiting_approval", "queued"])
def test_what_no_longer_holds_leaves_the_training_queue(life, state):
    with life.store.write() as conn:
        job = promote(conn, by_name(conn, "listening@1").id, state, 3, life.clock.wall_ms())
    life.show(range(20), range(5), range(12))
    life.process.interval = (-0.1, 0.3)
    assert f"job {job}: cancelled" in "".join(watch(life))
    assert life.rows("SELECT state, decided_by FROM training_job") == [("cancelled", "reflexd")]
    assert life.rows("SELECT error FROM training_job")[0][0].startswith("its vector no longer holds: effect +0.100")
    assert life.versions() == {"listening@1": "verified"}
    with life.store.write() as conn:
        assert retry(conn, job, life.clock.wall_ms(), "ann") == job + 1


def test_side_effects_that_grew_switch_it_off_too(life):
    life.show(range(20), range(5), range(12))
    life.process.kl = 1.4
    assert "neutral KL p95 grew from 0.30 to 1.40 nat, at most 1.00 may be" in watch(life)[-1]
    assert not switch(life).enabled


def test_a_person_may_serve_it_all_the_same_and_the_next_proof_is_served_again(life):
    life.show(range(20), range(5), range(12))
    life.process.interval = (-0.1, 0.3)
    watch(life)
    with life.store.write() as conn:
        set_enabled(conn, "listening", True, 5, "ann")
    assert (switch(life).enabled, switch(life).reason) == (True, None)
    life.show(range(20), range(5), range(20))
    watch(life)
    assert not switch(life).enabled
    life.show(range(30), range(5), range(20))
    life.look()
    life.prove()
    assert life.versions()["listening@2"] == "verified"
    assert (switch(life).name, switch(life).enabled) == ("listening@2", True)


def test_a_new_version_stays_off_where_a_person_switched_the_old_one_off(life):
    with life.store.write() as conn:
        set_enabled(conn, "listening", False, 5, "ann")
    life.show(range(20), range(5), range(12))
    assert watch(life) == []  # nobody is served by it
    life.show(range(30), range(5), range(12))
    life.look()
    while verify(life.context):
        pass
    assert (switch(life).name, switch(life).enabled) == ("listening@2", False)


def test_what_is_measured_is_what_is_served(life):
    with life.store.write() as conn:
        set_dose(conn, "listening", 0.5, 3.0, 5, "ann")
    life.show(range(20), range(5), range(12))
    watch(life)
    (at,) = life.process.asked["recheck"].placements
    assert (at.layer, at.dose, at.coefficient) == (1, 0.5, 3.0)


def test_measurements_never_change_or_go(life):
    life.show(range(20), range(5), range(12))
    watch(life)
    for sql in ("DELETE FROM recheck", "UPDATE recheck SET effect = 9"):
        with pytest.raises(Exception, match="never"), life.store.write() as conn:
            conn.exec_driver_sql(sql)


def test_a_version_that_fell_is_not_promoted(life):
    from daemon.pipeline.promote import conditions

    life.show(range(20), range(5), range(12))
    life.process.interval = (-0.1, 0.3)
    watch(life)
    with life.store.read() as conn:
        from store.vectors import by_name

        told = {c.name: c.met for c in conditions(conn, by_name(conn, "listening@1"), life.context.settings.promotion)}
    assert told["held when it was measured again"] is False


# ---------------------------------------------------------------- the rules


def measured(weights="w", template="t", pairs=()):
    return Measured(weights, template, frozenset(pairs))


@pytest.mark.parametrize(
    ("now", "because"),
    [
        (measured(), ""),
        (measured(pairs="ab"), ""),
        (measured(pairs="abc"), "3 new held-out pairs"),
        (measured(weights="x" * 64), "the weights are now xxxxxxxxxxxx"),
        (measured(template="u"), "the tokenizer or chat template changed"),
    ],
)
def test_what_counts_as_a_change(now, because):
    assert changed(measured(), now, 3) == because
    assert Measured.of(now.json()) == now


def report(low=0.5, kl=0.5):
    return RecheckReport(
        effect=1.0,
        effect_interval=(low, 2.0),
        side_effects=side_effects(kl),
        n_test=9,
        n_groups=3,
        model_digest="",
        template_digest="",
        seconds=0,
    )


@pytest.mark.parametrize(
    ("found", "at_proof", "why"),
    [
        (report(), 0.4, ""),
        (report(low=0.0), 0.4, "reaches down to +0.000"),
        (report(low=float("nan")), 0.4, "reaches down to +nan"),
        (report(kl=1.1), 0.4, "neutral KL p95 grew from 0.40 to 1.10 nat, at most 1.00 may be"),
        (report(kl=1.1), 0.9, ""),  # 1.25 times what it was is allowed
        (report(kl=float("nan")), 0.9, "to nan nat"),
    ],
)
def test_what_no_longer_holds(found, at_proof, why):
    assert why in fault(found, at_proof, VerifySettings(), DriftSettings())
    assert bool(why) == bool(fault(found, at_proof, VerifySettings(), DriftSettings()))
