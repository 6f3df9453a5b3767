import shutil

import pytest
from lifecycle import seed

from store.clock import ManualClock
from store.engine import Store


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "reflexd.db"


@pytest.fixture
def store(path, clock):
    """A new store, empty."""
    with Store.open(path, clock) as opened:
        yield opened


@pytest.fixture(scope="session")
def seeded_file(tmp_path_factory):
    """A closed store with evidence for one vector, and a model."""
    path = tmp_path_factory.mktemp("seeded") / "reflexd.db"
    with Store.open(path, ManualClock()) as opened, opened.write() as conn:
        seed(conn)
    return path


@pytest.fixture
def seeded(seeded_file, path, clock):
    """The same, a copy of one's own, open."""
    shutil.copy(seeded_file, path)
    with Store.open(path, clock) as opened:
        yield opened
