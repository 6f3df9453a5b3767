"""Looking into the store: quick, without SQLAlchemy, without a daemon, and without the power to write."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from lifecycle import BASE, NOW, candidate, extracted, queued, verified, weights

from store import jobs, models, vectors
from store.errors import ForeignFileError, NotFoundError, StoreError, StoreReadOnlyError
from store.reader import open_reader
from store.served import set_dose, set_enabled
from store.sources import save_unit
from store.sqlite import can_distrust_schema, driver
from store.ticks import tick_failed

VIEWS = ("queue", "history", "behaviours", "vectors", "pairs", "serving", "sources", "unknown_records", "health")


@pytest.fixture
def lived(seeded):
    """A store in which something of everything has happened; listening@1 lives in the weights, @2 was refused."""
    with seeded.write() as conn:
        queued(conn)
        claim = jobs.claim(conn, "host:boot:7", 1000, NOW)
        jobs.note_milestone(conn, claim, 8)
        jobs.finish(conn, claim, weights(), "{}", NOW)
        second = extracted(conn, "e2")
        vectors.reject(conn, second, "not coherent", NOW)
        verified(conn, "e3")
        set_enabled(conn, "listening", False, NOW, "me")
        set_dose(conn, "listening", 0.1, 0.75, NOW, "me")
        save_unit(conn, 1, "", {}, NOW, {"a new type": 3}, 1, "node 7: has no id")
        tick_failed(conn, "look", "disk is full", NOW)
    return seeded


def test_every_view_reads(lived):
    with open_reader(lived.path) as reader:
        rows = {view: reader.rows(f"SELECT * FROM {view}") for view in VIEWS}
    assert all(rows.values())
    assert rows["queue"][0] | {"since": None} == {
        "job": 1,
        "vector": "listening@1",
        "state": "trained",
        "attempt": "1/3",
        "since": None,
        "milestone": 8,
        "owner": None,
        "weights": "b" * 12,
        "error": None,
    }
    assert [row["state"] for row in rows["vectors"]] == ["retired", "rejected", "verified"]
    assert rows["pairs"][0]["direction"] == "Keep the tests in one file."
    assert rows["pairs"][0]["positive_from"] == "node-link:memory.json:yes"


def test_serving_shows_what_the_current_weights_still_need(lived):
    """listening@1 lives in them, so only listening@3 is left; with the base weights @1 is needed again."""
    with open_reader(lived.path) as reader:
        assert [row["vector"] for row in reader.rows("SELECT * FROM serving")] == ["listening@3"]
        (behaviour,) = reader.rows("SELECT * FROM behaviours")
        assert (behaviour["vector"], behaviour["in_weights"]) == ("listening@3", "listening@1")
    with lived.write() as conn:
        vectors.withdraw(conn, vectors.by_name(conn, "listening@3").id, "a person said so", NOW)
        models.set_current(conn, BASE)
    with open_reader(lived.path) as reader:
        assert [row["vector"] for row in reader.rows("SELECT * FROM serving")] == ["listening@1"]


def test_the_history_tells_the_whole_story(lived):
    with open_reader(lived.path) as reader:
        told = reader.rows("SELECT what, was, now FROM history WHERE subject = 'listening@1'")
    assert [tuple(row.values()) for row in told] == [
        ("vector", None, "candidate"),
        ("vector", "candidate", "extracted"),
        ("vector", "extracted", "verified"),
        ("served", None, "on"),
        ("job 1", None, "queued"),
        ("vector", "verified", "promoted"),
        ("job 1", "queued", "training"),
        ("job 1", "training", "trained"),
        ("vector", "promoted", "retired"),
        ("served", "on", "off"),
        ("served", "off", "off"),
    ]


def test_health_counts_what_is_wrong(lived):
    with open_reader(lived.path) as reader:
        wrong = {row["what"]: row["n"] for row in reader.rows("SELECT * FROM health") if row["n"]}
    assert wrong == {"ticks that failed": 1}


@pytest.mark.skipif(shutil.which("sqlite3") is None, reason="no sqlite3 shell here")
@pytest.mark.parametrize("view", VIEWS)
def test_every_view_reads_in_the_shell(lived, view):
    """Old ones too: a view may use no function that they lack."""
    lived.close()
    asked = ["sqlite3", "-readonly", lived.path, f"SELECT * FROM {view}"]
    shown = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert shown.stderr == ""
    assert shown.stdout.strip()


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_reads_where_the_schema_is_not_trusted(lived, view):
    if not can_distrust_schema(driver()[0]):
        pytest.skip("this SQLite calls its own JSON functions unsafe")
    with open_reader(lived.path) as reader:
        reader.rows("PRAGMA trusted_schema = OFF")
        assert reader.rows(f"SELECT * FROM {view}")


def test_the_schema_is_its_own_manual(seeded):
    with open_reader(seeded.path) as reader:
        (row,) = reader.rows("SELECT sql FROM sqlite_master WHERE name = 'training_job'")
    assert "-- charged when claimed" in row["sql"]
    assert "CONSTRAINT leased_iff_training" in row["sql"]


def test_every_check_has_a_name_and_every_table_is_strict(seeded):
    with open_reader(seeded.path) as reader:
        tables = reader.rows("SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
        strict = {row["name"]: row["strict"] for row in reader.rows("SELECT name, strict FROM pragma_table_list")}
    for table in tables:
        if table["name"] != "alembic_version":
            assert strict[table["name"]] == 1
            text = str(table["sql"])
            assert text.count("CHECK (") == text.count("CHECK (", text.find("CONSTRAINT")), table["name"]
            for before in text.split("CHECK (")[:-1]:
                assert before.split()[-2] == "CONSTRAINT", before[-60:]


def test_a_missing_store_names_the_command_that_makes_one(tmp_path):
    with pytest.raises(NotFoundError, match="reflexd init") as caught:
        open_reader(tmp_path / "none.db")
    assert caught.value.exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_something_else_is_refused(tmp_path):
    (tmp_path / "notes.db").write_text("milk, bread\n" * 200)
    with pytest.raises(ForeignFileError):
        open_reader(tmp_path / "notes.db")


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM tick",
        "CREATE TABLE mine (x)",
        "UPDATE vector_version SET state = 'retired'",
    ],
)
def test_a_look_cannot_write(lived, sql):
    with open_reader(lived.path) as reader, pytest.raises(StoreReadOnlyError, match="read-only"):
        reader.rows(sql)


def test_even_a_cunning_look_cannot_write(lived, tmp_path):
    with open_reader(lived.path) as reader:
        reader.rows("PRAGMA query_only = OFF")
        with pytest.raises(StoreReadOnlyError):
            reader.rows("DELETE FROM tick")
        for mode in ("", "?mode=rwc"):
            with pytest.raises(StoreReadOnlyError):
                reader.rows(f"ATTACH 'file:{tmp_path}/new.db{mode}' AS other")
    assert not (tmp_path / "new.db").exists()


@pytest.mark.parametrize("sql", ["SELEC 1", "SELECT * FROM nowhere", "SELECT 1; SELECT 2"])
def test_sql_that_does_not_run_is_one_line(lived, sql):
    with open_reader(lived.path) as reader, pytest.raises(StoreError) as caught:
        reader.rows(sql)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


def test_a_look_loads_no_sqlalchemy():
    code = "import store.reader, sys; print([m for m in ('sqlalchemy', 'alembic', 'torch') if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_the_store_is_read_where_nothing_can_be_written(seeded):
    """SQLite opens a WAL store only beside files of its own; another user, in our folder, has no right to make them."""
    if os.geteuid() != 0:
        pytest.skip("needs root to be somebody else")
    seeded.close()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        shutil.copy(seeded.path, folder / "reflexd.db")
        folder.chmod(0o755)
        (folder / "reflexd.db").chmod(0o644)
        os.seteuid(65534)
        try:
            with open_reader(folder / "reflexd.db") as reader:
                assert reader.rows("SELECT count(*) AS n FROM behaviour") == [{"n": 1}]
        finally:
            os.seteuid(0)
        assert [found.name for found in folder.iterdir()] == ["reflexd.db"]


def test_a_look_sees_what_was_committed_and_nothing_else(seeded):
    if seeded.journal.mode != "WAL":
        pytest.skip("with a rollback journal a look waits for the writer")
    with open_reader(seeded.path) as reader:
        with seeded.write() as conn:
            candidate(conn)
            assert reader.rows("SELECT count(*) AS n FROM vectors") == [{"n": 0}]
        assert reader.rows("SELECT count(*) AS n FROM vectors") == [{"n": 1}]
