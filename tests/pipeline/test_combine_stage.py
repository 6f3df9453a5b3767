"""What is on together is measured when it changes, and its doses are scaled for the weights that it was measured on."""

import json

import pytest

from daemon.child import ModelProcess
from daemon.errors import DataError
from daemon.pipeline import Context
from daemon.pipeline.combine import combine
from daemon.pipeline.publish import publish
from daemon.settings import load_settings
from store.combinations import newest_of_reflexd
from store.engine import Store
from store.jobs import claim, finish
from store.models import current_model
from store.served import served, set_dose, set_enabled
from store.vectors import by_name, promote
from tests.pipeline.two_vectors import DOSE, answer

FREE = {"kl_p95_max": 1000.0, "kl_rmse_max": 1000.0}


class Served:
    """A home with two served vectors, the stage, and what its model process was asked."""

    def __init__(self, home, store, monkeypatch):
        self.home, self.store, self.said, self.asked = home, store, [], []
        monkeypatch.setattr(ModelProcess, "ask", self._ask)
        self.answer = answer
        self.bars(**FREE)

    def _ask(self, operation, request, report, **more):
        self.asked.append(operation)
        self.request = request
        return self.answer(None, operation, request, report, **more)

    def bars(self, joint_budget=True, **verification):
        own = load_settings(self.home.config)
        settings = own.model_copy(
            update={
                "verification": own.verification.model_copy(update=verification),
                "serving": own.serving.model_copy(update={"joint_budget": joint_budget}),
            }
        )
        process = ModelProcess(self.home.log)
        self.context = Context(settings, self.home, self.store, process, say=self.said.append)

    def look(self):
        """The stage until nothing is left for it; what was asked of the model meanwhile."""
        self.said.clear()
        self.asked.clear()
        while combine(self.context):
            pass
        publish(self.store, self.home, 1.0)
        return list(self.asked)

    def change(self, decision, *arguments):
        with self.store.write() as conn:
            decision(conn, *arguments, self.store.clock.wall_ms(), "ann")

    def dose(self, behaviour, dose):
        with self.store.read() as conn:
            unit = next(row.coefficient_per_dose for row in served(conn) if row.behaviour == behaviour)
        self.change(set_dose, behaviour, dose, dose * unit)

    def manifest(self):
        """{name: dose} as servers get it."""
        (path,) = self.home.registry.glob("*/manifest.json")
        return {entry["id"]: entry["dose"] for entry in json.loads(path.read_text())["vectors"]}

    def rows(self, sql):
        with self.store.read() as conn:
            return [tuple(row) for row in conn.exec_driver_sql(sql).all()]

    def kl(self):
        """The neutral KL p95 of both at their own doses."""
        with self.store.read() as conn:
            return newest_of_reflexd(conn, current_model(conn).digest).kl_p95

    def overloaded(self):
        """Measured once, and the budget made too small for it; that budget."""
        self.look()
        budget = 0.4 * self.kl()
        self.bars(kl_p95_max=budget, kl_rmse_max=1000.0)
        return budget


@pytest.fixture
def place(two_served, monkeypatch):
    with Store.open(two_served.database) as store:
        yield Served(two_served, store, monkeypatch)


def over_budget(place):
    return dict(place.rows("SELECT what, n FROM health"))["sets of vectors over their joint budget"]


def test_within_the_budget_every_dose_stays_as_it_is_and_is_measured_once(place):
    assert place.look() == ["joint"]
    assert "within the budget" in place.said[-1]
    assert place.manifest() == {"eager@1": DOSE, "listening@1": DOSE}
    assert place.look() == []
    assert place.rows("SELECT asked_by, vectors, scales, reason FROM combinations") == [
        ("reflexd", "eager@1, listening@1", "eager@1 × 1.0, listening@1 × 1.0", None)
    ]


def test_over_it_doses_are_scaled_until_it_is_met_and_none_is_raised(place):
    budget = place.overloaded()
    assert place.look() == ["joint", "combine"]
    assert place.request.settings.max_multiplier == 1
    assert place.request.settings.hold_on_test_text  # a bar that must hold, not a figure that must be fair
    doses = place.manifest()
    assert all(0 < dose <= DOSE for dose in doses.values())
    assert min(doses.values()) < 0.9 * DOSE
    assert place.kl() <= budget
    (row,) = place.rows("SELECT kl_p95, reason FROM combination ORDER BY id DESC LIMIT 1")
    assert row == (pytest.approx(place.kl()), None)


def test_what_servers_get_is_what_people_see(place):
    place.overloaded()
    place.look()
    seen = place.rows("SELECT vector, dose, scale FROM serving")
    assert [(name, pytest.approx(dose, abs=1e-4)) for name, dose, _ in seen] == list(place.manifest().items())
    assert all(scale == pytest.approx(dose / DOSE, abs=1e-3) for _, dose, scale in seen)
    events = place.rows("SELECT name, was, now, actor, detail FROM event WHERE detail LIKE '%scale%' ORDER BY name")
    changed = {name: dose for name, dose in place.manifest().items() if dose != DOSE}
    assert [event[:4] for event in events] == [(name, "on", "on", "reflexd") for name in sorted(changed)]
    assert json.loads(events[0][4])["dose"] == pytest.approx(changed[events[0][0]], abs=1e-4)


def test_alone_a_vector_has_its_own_dose_at_once(place):
    place.overloaded()
    place.look()
    assert place.manifest()["listening@1"] < DOSE
    place.change(set_enabled, "eager", False)
    publish(place.store, place.home, 1.0)
    assert place.manifest()["listening@1"] == DOSE
    assert place.rows("SELECT dose, scale FROM serving WHERE behaviour = 'listening'") == [(DOSE, 1.0)]
    assert place.look() == []


def test_a_set_that_was_measured_before_is_not_measured_again(place):
    place.overloaded()
    place.look()
    scaled = place.manifest()
    place.change(set_enabled, "eager", False)
    place.look()
    place.change(set_enabled, "eager", True)
    assert place.look() == []
    assert place.manifest() == scaled
    place.bars(**FREE)
    assert place.look() == []  # other bars, but those of the first look
    assert "measured together before" in place.said[0]
    assert place.manifest() == {"eager@1": DOSE, "listening@1": DOSE}


def test_another_template_is_measured_anew(place):
    place.look()
    with place.store.write() as conn:
        conn.exec_driver_sql("UPDATE model SET template_digest = 'another'")
    assert place.look() == ["joint"]
    assert place.look() == []


def test_the_dose_of_a_person_is_never_scaled_and_what_that_means_is_said(place):
    place.overloaded()
    place.look()
    scaled = place.manifest()
    place.dose("listening", 0.6)
    publish(place.store, place.home, 1.0)
    assert place.manifest() == scaled | {"listening@1": 0.6}  # at once
    assert place.look() == ["joint"]
    assert place.manifest() == {"eager@1": DOSE, "listening@1": 0.6}
    assert "a person set the dose of listening" in place.said[-1]
    assert "`reflexd combine eager listening`" in place.said[-1]
    assert over_budget(place) == 1
    place.bars(joint_budget=False)  # whoever asks for no budget is not told that it is missed
    assert place.look() == []
    assert over_budget(place) == 0
    assert place.manifest() == {"eager@1": DOSE, "listening@1": 0.6}


def test_doses_that_a_person_chose_for_all_are_left_alone(place):
    budget = place.overloaded()
    place.dose("listening", 0.1)
    place.dose("eager", 0.1)
    assert place.look() == ["joint"]
    assert place.manifest() == {"eager@1": 0.1, "listening@1": 0.1}
    assert place.kl() < budget
    assert over_budget(place) == 0


def test_where_no_doses_are_found_nothing_is_scaled_and_it_is_not_tried_each_minute(place):
    place.overloaded()

    def in_vain(process, operation, request, report, **more):
        if operation == "combine":
            raise DataError("eager@1: alone it has no effect")
        return answer(process, operation, request, report, **more)

    place.answer = in_vain
    assert place.look() == ["joint", "combine"]
    assert "nothing is scaled: eager@1: alone it has no effect" in place.said
    assert place.manifest() == {"eager@1": DOSE, "listening@1": DOSE}
    assert place.look() == []


def test_switched_off_in_the_configuration_every_vector_has_its_own_dose(place):
    place.overloaded()
    place.look()
    place.bars(joint_budget=False)
    assert place.look() == []
    assert place.manifest() == {"eager@1": DOSE, "listening@1": DOSE}
    assert "serving.joint_budget is off" in place.said[-1]
    assert place.look() == []
    assert place.said == []
    place.bars(**FREE)
    assert place.look() == []


def test_a_neutral_kl_that_is_no_number_is_over_every_budget(place):
    def broken(process, operation, request, report, **more):
        found = answer(process, operation, request, report, **more)
        if operation == "joint":
            nothing = found.test.model_copy(update={"p95": float("nan")})
            return found.model_copy(update={"test": nothing, "reason": "neutral KL p95 nan"})
        return found

    place.answer = broken
    place.dose("listening", 0.6)
    assert place.look() == ["joint"]
    assert place.rows("SELECT kl_p95, reason FROM combination") == [(None, "neutral KL p95 nan")]


def test_measurements_never_change_or_go(place):
    place.look()
    for sql in ("DELETE FROM combination", "UPDATE combination SET kl_p95 = 0"):
        with pytest.raises(Exception, match="never"), place.store.write() as conn:
            conn.exec_driver_sql(sql)


def test_trained_weights_are_looked_at_for_themselves(place):
    """The set that a server of the weights before still runs keeps the doses that were found for it."""
    place.overloaded()
    place.look()
    scaled = place.manifest()
    train(place.store, "eager@1")
    assert place.look() == []
    doses = {}
    for path in place.home.registry.glob("*/manifest.json"):
        told = json.loads(path.read_text())
        doses[told["model"]["name"]] = {entry["id"]: entry["dose"] for entry in told["vectors"]}
    assert doses.pop("trained") == {"listening@1": DOSE}
    assert list(doses.values()) == [scaled]
    with place.store.read() as conn:
        assert newest_of_reflexd(conn, "f" * 64) is None


def train(store, name):
    """As the train stage would leave it."""
    now = store.clock.wall_ms()
    with store.write() as conn:
        model = current_model(conn)
        promote(conn, by_name(conn, name).id, "queued", 1, now)
        weights = {"digest": "f" * 64, "name": "trained", "path": model.path, "parent_digest": model.digest}
        same = {field: getattr(model, field) for field in ("hidden_size", "n_layers", "template_digest", "root_digest")}
        finish(conn, claim(conn, "me", 1000, now), weights | same, "{}", now)
