"""The page of everything: one row a behaviour, the queue, what waits, what happened, what is not well."""

import pytest

from daemon.report.data import Overview
from daemon.report.overview import overview_page
from daemon.report.read import read_overview
from store.reader import open_reader
from tests.report.furnished import Furnished
from tests.report.pages import Seen, addresses

EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    with Furnished(tmp_path_factory.mktemp("home")) as home:
        home.awaits_approval()
        with open_reader(home.home.database) as reader:
            return read_overview(reader)


def test_it_tells_each_behaviour_the_queue_and_what_to_do(found):
    seen = Seen(overview_page(found))
    assert seen.torn == []
    assert "listening +1.59 [1.42, 1.76] promoted on at 0.25 18 6 listening@3" in seen.text
    assert "job 1 waits: listening@3 is stable and may be trained reflexd approve 1" in seen.text
    assert "awaiting approval" in seen.text
    assert "all is well" in seen.text


def test_it_runs_nothing_and_asks_for_nothing(found):
    page = overview_page(found)
    assert addresses(page) == []
    assert "script" not in Seen(page).tags


def test_what_is_not_well_is_said_at_the_top(found):
    health = ({"what": "ticks that failed", "n": 2},)
    text = Seen(overview_page(found.model_copy(update={"health": health}))).text
    assert text.index("2 things are not well") < 100
    assert "ticks that failed 2 look" in text


def test_a_new_store_has_a_page_that_says_what_to_do_first():
    empty = dict.fromkeys(("behaviours", "queue", "waiting", "for_you", "history", "health"), ())
    text = Seen(overview_page(Overview(model=None, **empty))).text
    assert "reflexd model add smollm2" in text
    assert "None yet" in text


def test_text_of_other_people_stays_text(found):
    def evil(rows):
        return tuple({key: EVIL if isinstance(value, str) else value for key, value in row.items()} for row in rows)

    rows = {name: evil(getattr(found, name)) for name in ("behaviours", "queue", "for_you", "history", "health")}
    seen = Seen(overview_page(found.model_copy(update=rows | {"model": EVIL})))
    assert "script" not in seen.tags
    assert seen.torn == []
    assert seen.text.count(EVIL) > 20
