"""The agent's own model checks what the rules found: its word counts, theirs stays."""

import pytest

from daemon.child import ModelProcess
from daemon.home import Home
from daemon.pipeline import Context, judge, watch
from daemon.pipeline.judge import checked
from daemon.protocol import ChooseReport
from daemon.settings import Settings
from graph.schema import Outcome
from graph.turns.judge import TurnVerdict
from graph.turns.prompt import ANSWERS
from store.engine import Store
from store.models import add_model, set_current
from store.sources import add_source
from tests.pipeline.transcripts import session, tree

DIGEST = "a" * 64


class Opinionated:
    """A model process that gives one answer to everything, after a bias that it has about nothing too."""

    def __init__(self, answer):
        self.answer = answer
        self.asked = 0

    def ask(self, operation, request, report, **_):
        assert (operation, report) == ("choose", ChooseReport)
        self.asked += len(request.prompts) - 1
        bias = [-1.0 - 0.5 * n for n in range(len(ANSWERS))]
        told = [b + (0.3 if a == self.answer else 0.0) for a, b in zip(ANSWERS, bias, strict=True)]
        return ChooseReport(
            logprobs=(tuple(bias), *[tuple(told)] * (len(request.prompts) - 1)), model_digest=DIGEST, seconds=0
        )


@pytest.fixture
def home(tmp_path):
    for path, lines in tree(tmp_path / "p").items():
        path.write_bytes(b"".join(lines))
    home = Home(tmp_path / "reflexd.toml", tmp_path / "state")
    with Store.open(home.database) as store:
        with store.write() as conn:
            add_source(conn, "claude-code", str(tmp_path / "p"), 0)
            add_model(conn, DIGEST, "tiny", "/tiny", 4, 2, "t", 0)
            set_current(conn, DIGEST)
        yield home, store


def context(home, store, model, by="model"):
    return Context(Settings(judging={"by": by}), home, store, model)


def outcomes(store):
    sql = "SELECT outcome, count(*) FROM episode WHERE gone_at IS NULL AND signal = 'human_turn' GROUP BY outcome"
    with store.read() as conn:
        return dict(conn.exec_driver_sql(sql).all())


def test_a_model_that_sees_nothing_drops_every_candidate_and_the_rules_word_stays(home):
    home, store = home
    model = Opinionated("NONE")
    watch(context(home, store, ModelProcess(home.log)))
    assert outcomes(store)
    with store.read() as conn:
        before = conn.exec_driver_sql("SELECT count(*) FROM edge WHERE method = 'rule'").scalar_one()
    while judge(context(home, store, model)):
        pass
    assert model.asked > 5
    assert outcomes(store) == {}
    with store.read() as conn:
        assert conn.exec_driver_sql("SELECT count(*) FROM edge WHERE method = 'rule'").scalar_one() == before
    asked = model.asked
    assert not judge(context(home, store, model))
    watch(context(home, store, ModelProcess(home.log)))
    assert (model.asked, outcomes(store)) == (asked, {})


def test_only_new_turns_are_asked_about(home):
    home, store = home
    model = Opinionated("UR5")
    watch(context(home, store, model))
    while judge(context(home, store, model)):
        pass
    assert set(outcomes(store)) == {"accepted"}
    asked = model.asked
    (home.config.parent / "p" / "late.jsonl").write_bytes(b"".join(session("late", 6, 3)))
    watch(context(home, store, model))
    while judge(context(home, store, model)):
        pass
    assert asked < model.asked <= asked + 6


def test_it_is_off_unless_asked_for(home):
    home, store = home
    model = Opinionated("NONE")
    watch(context(home, store, model, by="rules"))
    assert not judge(context(home, store, model, by="rules"))
    assert model.asked == 0


@pytest.mark.parametrize(
    ("polarity", "answer", "wanted"),
    [
        (Outcome.CORRECTED, "UR2", Outcome.CORRECTED),
        (Outcome.REJECTED, "UR3", Outcome.REJECTED),
        (Outcome.ACCEPTED, "UR5", Outcome.ACCEPTED),
        (Outcome.ACCEPTED, "UR2", Outcome.NEUTRAL),
        (Outcome.CORRECTED, "UR4", Outcome.NEUTRAL),
    ],
)
def test_a_candidate_is_confirmed_or_dropped_never_turned(polarity, answer, wanted):
    scores = [1.0 if each == answer else 0.0 for each in ANSWERS]
    found = checked(TurnVerdict(polarity, "human_turn", 0.7, ("no_first",)), scores)
    assert found.polarity is wanted
    assert found.because[-1] == f"model: {answer}"
    assert 0 < found.probability < 1
