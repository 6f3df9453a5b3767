"""A store that is made: by one of many at once, whole or not at all."""

import subprocess
import sys

from lifecycle import NOW, seed

from store.engine import Store
from store.models import current_model


def test_many_may_start_at_once(path):
    code = "import sys; from pathlib import Path; from store.engine import Store; Store.open(Path(sys.argv[1])).close()"
    started = [
        subprocess.Popen([sys.executable, "-c", code, path], stderr=subprocess.PIPE, text=True) for _ in range(4)
    ]
    assert [(process.communicate()[1], process.returncode) for process in started] == [("", 0)] * 4
    with Store.open(path) as store:
        with store.write() as conn:
            seed(conn, NOW)
        with store.read() as conn:
            assert current_model(conn).name == "tiny"


LIMITED = """
import resource, sys
from pathlib import Path
from store.engine import Store
from store.errors import StoreFullError
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
try:
    Store.open(Path(sys.argv[1]))
except StoreFullError as error:
    print(error)
"""


def test_a_disk_that_fills_while_the_store_is_made_is_one_line_and_leaves_no_half(path, clock):
    shown = subprocess.run([sys.executable, "-c", LIMITED, path], capture_output=True, text=True, check=False)
    assert (shown.stderr, shown.returncode) == ("", 0)
    assert shown.stdout.count("\n") == 1
    assert "disk" in shown.stdout
    with Store.open(path, clock) as store, store.read() as conn:
        assert conn.exec_driver_sql("SELECT count(*) FROM legal_move").scalar() > 20


def test_a_killed_creation_leaves_nothing_half_made(tmp_path):
    """An empty file, as a kill before the first commit leaves it, becomes a store."""
    path = tmp_path / "reflexd.db"
    path.touch()
    with Store.open(path) as store, store.read() as conn:
        assert conn.exec_driver_sql("SELECT count(*) FROM queue").scalar() == 0
