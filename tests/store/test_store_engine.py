"""How the store is opened: nothing is lost between two writers, every setting is read back, every fault is one line."""

import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from lifecycle import NOW, job_state, queued, rolled_back, seed, state_of, weights
from sqlalchemy import create_engine, event

from store import engine, sqlite
from store.engine import Store
from store.errors import (
    ForeignFileError,
    IllegalMoveError,
    NotFoundError,
    StoreBusyError,
    StoreError,
    StoreFullError,
    StoreReadOnlyError,
)
from store.jobs import claim, finish
from store.models import current_model
from store.ticks import tick_ok

# ---------------------------------------------------------------- two writers

THREADS, ROUNDS = 4, 25


def count_up(writers):
    """Read, add one, write, `ROUNDS` times in a thread for each of `writers`, which begin a transaction. The errors."""
    failures = []

    def work(begin_write):
        for _ in range(ROUNDS):
            try:
                with begin_write() as conn:
                    (value,) = conn.exec_driver_sql("SELECT last_ok_at FROM tick WHERE name = 'n'").one()
                    conn.exec_driver_sql("UPDATE tick SET last_ok_at = ? WHERE name = 'n'", (value + 1,))
            except Exception as error:  # noqa: BLE001 - whatever goes wrong is the finding
                failures.append(str(error))

    threads = [threading.Thread(target=work, args=(writer,)) for writer in writers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures


def counted(store):
    with store.read() as conn:
        return conn.exec_driver_sql("SELECT last_ok_at FROM tick WHERE name = 'n'").scalar()


def test_no_update_is_lost_between_writers(store):
    with store.write() as conn:
        tick_ok(conn, "n", 0)
    others = [Store.open(store.path, store.clock, upgrade=False) for _ in range(THREADS)]
    assert count_up([other.write for other in others]) == []
    for other in others:
        other.close()
    assert counted(store) == THREADS * ROUNDS


def test_a_deferred_begin_would_lose_or_refuse_updates(store):
    """The mutant: the same with BEGIN instead of BEGIN IMMEDIATE must not come out right."""
    with store.write() as conn:
        tick_ok(conn, "n", 0)
    module, _ = sqlite.driver()
    mutant = create_engine(
        "sqlite://",
        module=module,
        creator=lambda: module.connect(store.path, timeout=5, check_same_thread=False, isolation_level=None),
    )
    event.listen(mutant, "begin", lambda conn: conn.exec_driver_sql("BEGIN"))
    failures = count_up([mutant.begin] * THREADS)
    mutant.dispose()
    assert failures
    assert counted(store) < THREADS * ROUNDS


def test_a_writer_that_is_kept_waiting_says_so(store, monkeypatch):
    monkeypatch.setattr(engine, "_BUSY_MS", 50)
    with Store.open(store.path, store.clock, upgrade=False) as impatient, store.write():
        waiting = impatient.write()
        with pytest.raises(StoreBusyError, match="another process is writing"):
            waiting.__enter__()


def test_an_error_rolls_everything_back(store):
    with rolled_back(store) as conn:
        tick_ok(conn, "n", 1)
    assert counted(store) is None


def test_what_was_read_holds_still(store):
    """A look sees one moment, whatever is written meanwhile."""
    if store.journal.mode != "WAL":
        pytest.skip("with a rollback journal the writer waits instead")
    with store.read() as look:
        assert look.exec_driver_sql("SELECT count(*) FROM tick").scalar() == 0
        with store.write() as conn:
            tick_ok(conn, "n", 1)
        assert look.exec_driver_sql("SELECT count(*) FROM tick").scalar() == 0


# ---------------------------------------------------------------- settings


def pragma(conn, name):
    return conn.exec_driver_sql(f"PRAGMA {name}").scalar()


def test_every_connection_is_set_up(store):
    expected = {"foreign_keys": 1, "cell_size_check": 1, "busy_timeout": 10_000}
    expected["trusted_schema"] = int(not sqlite.can_distrust_schema(sqlite.driver()[0]))
    with store.write() as conn:
        assert {name: pragma(conn, name) for name in expected} == expected
        assert pragma(conn, "journal_mode") == store.journal.mode.lower()
        assert pragma(conn, "synchronous") == {"FULL": 2, "EXTRA": 3}[store.journal.synchronous]
    with store.read() as conn:
        assert {name: pragma(conn, name) for name in expected} == expected
        assert pragma(conn, "query_only") == 1


def test_a_setting_that_is_not_taken_is_an_error(store):
    class Stubborn:
        def execute(self, statement):
            self.statement = statement
            return self

        def fetchone(self):
            return ("wal",) if "journal_mode" in self.statement else (0,)

    wal = sqlite.choose("sqlite3", (3, 53, 0))
    with pytest.raises(StoreError, match="did not take foreign_keys = 1"):
        engine.set_pragmas(Stubborn(), wal)
    with pytest.raises(StoreBusyError, match="the journal stays wal, DELETE is needed"):
        engine.set_pragmas(Stubborn(), sqlite.choose("sqlite3", (3, 40, 1)))


def test_foreign_keys_hold(store):
    with pytest.raises(IllegalMoveError, match="FOREIGN KEY"), store.write() as conn:
        conn.exec_driver_sql(
            "INSERT INTO episode_label VALUES ('nobody', 'listening', 'positive', 'rule', '1', 1.0)",
        )


def test_a_reader_cannot_write(store):
    with pytest.raises(StoreReadOnlyError), store.read() as conn:
        conn.exec_driver_sql("DELETE FROM tick")


@pytest.mark.parametrize(
    ("version", "mode", "synchronous"),
    [
        ((3, 40, 1), "DELETE", "EXTRA"),
        ((3, 44, 5), "DELETE", "EXTRA"),
        ((3, 44, 6), "WAL", "FULL"),
        ((3, 45, 0), "DELETE", "EXTRA"),
        ((3, 50, 6), "DELETE", "EXTRA"),
        ((3, 50, 7), "WAL", "FULL"),
        ((3, 51, 0), "DELETE", "EXTRA"),
        ((3, 51, 2), "DELETE", "EXTRA"),
        ((3, 51, 3), "WAL", "FULL"),
        ((4, 0, 0), "WAL", "FULL"),
    ],
)
def test_the_journal_follows_the_version(version, mode, synchronous):
    choice = sqlite.choose("sqlite3", version)
    assert (choice.mode, choice.synchronous, choice.fixed) == (mode, synchronous, mode == "WAL")
    assert "WAL-reset bug" in choice.reason
    assert choice.version == ".".join(map(str, version))


def test_an_affected_library_opens_the_same_store_with_a_rollback_journal(seeded, monkeypatch):
    """An update of Python may bring an older SQLite: the store changes its journal and keeps its rows."""
    seeded.close()
    affected = (sqlite3, sqlite.choose("sqlite3", (3, 40, 1)))
    for module in ("store.sqlite", "store.engine", "store.migrate"):
        monkeypatch.setattr(f"{module}.driver", lambda: affected)
    with Store.open(seeded.path, seeded.clock) as store, store.write() as conn:
        assert pragma(conn, "journal_mode") == "delete"
        assert pragma(conn, "synchronous") == 3
        assert current_model(conn).name == "tiny"
        vector, job = queued(conn)  # and the whole machinery runs on it, JSON in triggers and CHECKs included
        finish(conn, claim(conn, "worker", 1000, NOW), weights(), "{}", NOW)
        assert (state_of(conn, vector), job_state(conn, job)) == ("retired", "trained")


def test_the_schema_is_trusted_only_where_it_must_be():
    module, choice = sqlite.driver()
    if choice.fixed:
        assert sqlite.can_distrust_schema(module)
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript("CREATE VIEW v AS SELECT json_valid('{}'); PRAGMA trusted_schema = OFF")
        refused = False
        try:
            connection.execute("SELECT * FROM v").fetchall()
        except sqlite3.Error:
            refused = True
    assert sqlite.can_distrust_schema(sqlite3) is not refused


# ---------------------------------------------------------------- faults


def test_a_full_disk_is_one_line_and_loses_nothing(seeded):
    with seeded.write() as conn:
        conn.exec_driver_sql(f"PRAGMA max_page_count = {pragma(conn, 'page_count') + 2}")
    with pytest.raises(StoreFullError, match="disk is full; make room"), seeded.write() as conn:
        conn.exec_driver_sql("INSERT INTO tick (name, last_error) VALUES ('big', ?)", ("x" * 1_000_000,))
    with seeded.read() as conn:
        assert current_model(conn).name == "tiny"
        assert conn.exec_driver_sql("SELECT count(*) FROM tick").scalar() == 0
        assert pragma(conn, "integrity_check") == "ok"


@pytest.fixture
def nobody():
    """The file system as an ordinary user sees it."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.usefixtures("nobody")
@pytest.mark.parametrize("folder", ["/usr", "/usr/reflexd-state"])
def test_a_folder_that_cannot_be_written_is_one_line(folder):
    with pytest.raises(StoreReadOnlyError, match=rf"(?i)^{folder}.*: .*permission") as caught:
        Store.open(Path(folder) / "reflexd.db")
    assert caught.value.exit_code == 74
    assert "\n" not in str(caught.value)


def test_a_path_through_a_file_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreReadOnlyError, match="cannot be made"):
        Store.open(tmp_path / "file" / "reflexd.db")


@pytest.mark.parametrize("content", [b"Dear diary, ...\n" * 400, os.urandom(5000)])
def test_a_file_that_is_no_database_is_refused_untouched(path, content):
    path.write_bytes(content)
    with pytest.raises(ForeignFileError, match="no SQLite file"):
        Store.open(path)
    assert path.read_bytes() == content


def test_another_programs_database_is_refused_untouched(path):
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE bookmarks (url TEXT)")
    other.close()
    content = path.read_bytes()
    with pytest.raises(ForeignFileError, match="no reflexd store"):
        Store.open(path)
    assert path.read_bytes() == content


def test_without_leave_to_make_one_there_must_be_a_store(path):
    with pytest.raises(NotFoundError, match="`reflexd init` makes one"):
        Store.open(path, upgrade=False)
    assert not path.exists()


def test_a_path_may_hold_any_character(tmp_path, clock):
    odd = tmp_path / "a b?c#d%20" / "ü&=.db"
    with Store.open(odd, clock) as store, store.write() as conn:
        seed(conn, NOW)
    with Store.open(odd, clock) as store, store.read() as conn:
        assert current_model(conn).name == "tiny"
    assert odd.is_file()


def test_a_fault_of_the_program_is_not_called_illegal(store):
    with pytest.raises(StoreError, match="no such table: nonsense") as caught, store.write() as conn:
        conn.exec_driver_sql("SELECT * FROM nonsense")
    assert not isinstance(caught.value, IllegalMoveError)
    assert caught.value.exit_code == 70
