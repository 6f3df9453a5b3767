"""Bringing a store to this version: in one step or not at all, never without a copy, never from a newer one."""

import re
import shutil
import sqlite3
from contextlib import closing
from importlib.resources import files
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from lifecycle import BASE, NOW, candidate, queued, verified
from sqlalchemy import create_engine

from store import migrate
from store.engine import Store
from store.errors import CorruptStoreError, IllegalMoveError, NewerStoreError, StoreError
from store.evidence import live_episodes, live_pairs, pin_pair
from store.models import add_model
from store.sources import add_source, unit_cursors
from store.sqlite import driver
from store.vectors import create_candidate


def script_directory():
    config = Config()
    config.set_main_option("script_location", str(files("migrations")))
    return ScriptDirectory.from_config(config)


def revisions():
    """From the first to the newest."""
    return [script.revision for script in script_directory().walk_revisions()][::-1]


def master(connection):
    """Everything that a database is made of, white space aside, Alembic's own table left out."""
    rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall()
    return {
        (kind, name, table, re.sub(r"\s+", " ", sql or ""))
        for kind, name, table, sql in rows
        if table not in ("alembic_version", "sqlite_sequence")
    }


@pytest.fixture
def engine(tmp_path):
    module, _ = driver()
    made = create_engine(
        "sqlite://",
        module=module,
        creator=lambda: module.connect(":memory:", isolation_level=None, check_same_thread=False),
    )
    yield made
    made.dispose()


# ---------------------------------------------------------------- the revisions


def test_the_code_knows_its_revisions():
    assert script_directory().get_heads() == [migrate.HEAD]
    assert list(migrate._KNOWN) == revisions()


def test_a_migrated_store_is_what_a_fresh_one_is(store):
    module, _ = driver()
    with closing(module.connect(":memory:")) as fresh, closing(module.connect(store.path)) as migrated:
        fresh.executescript(migrate.sql("tables") + migrate.sql("triggers") + migrate.sql("views"))
        assert master(migrated) == master(fresh)
        assert len(master(fresh)) > 80
        moves = "SELECT * FROM legal_move ORDER BY subject, was, now"
        assert migrated.execute(moves).fetchall() == fresh.execute(moves).fetchall()


@pytest.mark.parametrize("revision", revisions())
def test_each_step_goes_up_down_and_up_again(engine, revision):
    before = script_directory().get_revision(revision).down_revision or "base"
    with engine.begin() as conn:
        if before != "base":
            migrate.run_migrations(conn, before)
        lower = master(conn.connection)
        migrate.run_migrations(conn, revision)
        upper = master(conn.connection)
        migrate.run_migrations(conn, before, down=True)
        assert master(conn.connection) == lower
        migrate.run_migrations(conn, revision)
        assert master(conn.connection) == upper != lower


def test_the_file_says_whose_it_is(store):
    with closing(sqlite3.connect(store.path)) as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (0x52464C58,)


# ---------------------------------------------------------------- an older store

NOW_AT = migrate.HEAD
NEXT = f"{int(NOW_AT) + 1:04}"
UPGRADE = """
from alembic import op

revision = {after!r}
down_revision = {before!r}


def upgrade():
    op.get_bind().exec_driver_sql("ALTER TABLE tick ADD COLUMN visits INTEGER NOT NULL DEFAULT 0")
    op.get_bind().exec_driver_sql({last!r})


def downgrade():
    op.get_bind().exec_driver_sql("ALTER TABLE tick DROP COLUMN visits")
"""


@pytest.fixture
def next_version(tmp_path, monkeypatch):
    """Makes the code a newer version, with one more revision that ends with the given statement."""

    def install(last="SELECT 1"):
        scratch = tmp_path / "next" / "migrations"
        shutil.copytree(str(files("migrations")), scratch, ignore=shutil.ignore_patterns("__pycache__"))
        script = UPGRADE.format(after=NEXT, before=NOW_AT, last=last)
        (scratch / "versions" / f"r{NEXT}_next.py").write_text(script)
        monkeypatch.setattr(migrate, "files", lambda package: scratch if package == "migrations" else files(package))
        monkeypatch.setattr(migrate, "HEAD", NEXT)
        monkeypatch.setattr(migrate, "_KNOWN", (*migrate._KNOWN, NEXT))

    return install


@pytest.fixture
def older(seeded):
    """A closed store of this version, with a job in it."""
    with seeded.write() as conn:
        queued(conn)
    seeded.close()
    return seeded.path


def rows(path, table):
    with closing(driver()[0].connect(path)) as connection:
        return connection.execute(f"SELECT * FROM {table}").fetchall()


def test_an_older_store_is_copied_upgraded_and_keeps_every_row(older, clock, next_version):
    tables = ("event", "vector_version", "training_job", "pair", "episode", "vector_blob", "session_split", "model")
    before = {table: rows(older, table) for table in tables}
    assert before["event"]
    next_version()
    with Store.open(older, clock):
        pass
    assert {table: rows(older, table) for table in tables} == before
    assert rows(older, "alembic_version") == [(NEXT,)]
    copy = older.with_name(f"{older.name}.before-{NOW_AT}")
    assert rows(copy, "alembic_version") == [(NOW_AT,)]
    assert {table: rows(copy, table) for table in tables} == before


def test_triggers_and_views_are_there_again_after_an_upgrade(older, clock, next_version):
    next_version()
    with Store.open(older, clock) as store:
        with pytest.raises(IllegalMoveError, match="append-only"), store.write() as conn:
            conn.exec_driver_sql("DELETE FROM event")
        with store.read() as conn:
            assert conn.exec_driver_sql("SELECT vector FROM queue").scalar() == "listening@1"


@pytest.mark.parametrize(
    ("last", "error"),
    [
        ("SELECT * FROM nowhere", "no such table"),
        ("DELETE FROM behaviour", r"would leave \d+ rows without their parent"),
    ],
)
def test_an_upgrade_that_fails_changes_nothing(older, clock, next_version, last, error):
    def content():
        with closing(sqlite3.connect(older)) as connection:
            return list(connection.iterdump())

    before = content()
    next_version(last)
    with pytest.raises(StoreError, match=error) as caught:
        Store.open(older, clock)
    assert "\n" not in str(caught.value)
    assert content() == before
    assert "visits" not in "".join(before)


def test_an_older_store_is_not_used_without_leave_to_upgrade(older, clock, next_version):
    next_version()
    with pytest.raises(StoreError, match="made by an older reflexd"):
        Store.open(older, clock, upgrade=False)
    assert rows(older, "alembic_version") == [(NOW_AT,)]


def test_a_damaged_store_is_not_upgraded(older, clock, next_version):
    """The copy is checked before anything is changed."""
    with closing(sqlite3.connect(older)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'vector_blob'").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    with older.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * 64)
    next_version()
    with pytest.raises(CorruptStoreError, match="restore"):
        Store.open(older, clock)


# ---------------------------------------------------------------- a store of the first version

FIRST = f"""
INSERT INTO source (kind, path, added_at, cursor, last_read_at, last_error) VALUES
  ('node-link', '/memory.json', 1, '{{"sha256":"x"}}', 5, NULL), ('graphml', '/gone.xml', 2, NULL, NULL, 'no file');
INSERT INTO episode VALUES
  ('yes', 1, 's1', 'd1', 'Keep it.', 'Kept.', 'accepted', 'human_turn', 0.5, 1, 'x', 5, 'ü', 5, NULL),
  ('no', 1, 's1', 'd1', 'Keep it.', 'Split.', 'rejected', 'human_turn', 0.5, 1, 'x', 5, '', 5, 6);
INSERT INTO episode_label VALUES ('yes', 'listening', 'positive', 'marker', '1', 1.0);
INSERT INTO behaviour VALUES ('listening', '', '', '', '[]', '[]', '1', 'builtin', 5);
INSERT INTO session_split VALUES ('s1', 'train', 5);
INSERT INTO pair VALUES ('p1', 'listening', '[]', 'Kept.', 'Split.', 's1', 0.5, 5, NULL, NULL),
  ('p2', 'listening', '[]', 'Kept.', 'Cut.', 's1', 0.5, 5, 6, 7);
INSERT INTO pair_episode VALUES ('p1', 'positive', 'yes'), ('p1', 'negative', 'no');
INSERT INTO model VALUES ('{"a" * 64}', 'tiny', '/tiny', 4, 2, 't', '{"a" * 64}', NULL, NULL, 5, 1);
INSERT INTO vector_version VALUES (7, 'listening', 1, '{"a" * 64}', '{"a" * 64}', 'e1', '{{}}', 'rejected', NULL, NULL,
  '{{}}', NULL, NULL, NULL, NULL, NULL, NULL, 'not coherent', NULL, 5, 5);
INSERT INTO vector_pair VALUES (7, 'p1', 'train');
INSERT INTO event (at, subject, subject_id, name, now) VALUES (5, 'vector', '7', 'listening@1', 'candidate');
"""
KEPT = ("source", "episode", "behaviour", "pair", "vector_version", "model")


@pytest.fixture
def first(path):
    """A closed store of revision 0001 with a row or two in each table that has changed since."""
    script = Path(str(files("migrations"))) / "versions" / "r0001_the_whole_way.sql"
    with closing(driver()[0].connect(path)) as connection:
        connection.executescript(script.read_text(encoding="utf-8") + FIRST)
        connection.executescript("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
        connection.execute("INSERT INTO alembic_version VALUES ('0001')")
        connection.execute(f"PRAGMA application_id = {migrate.APPLICATION_ID}")
        connection.commit()
    return path


def named_rows(path, table):
    with closing(driver()[0].connect(path)) as connection:
        found = connection.execute(f"SELECT * FROM {table}")
        return [dict(zip([column[0] for column in found.description], row, strict=True)) for row in found]


def test_a_store_of_the_first_version_keeps_every_row(first, clock):
    before = {table: named_rows(first, table) for table in KEPT}
    others = {table: rows(first, table) for table in ("episode_label", "pair_episode", "vector_pair", "event")}
    with Store.open(first, clock) as store, store.read() as conn:
        assert unit_cursors(conn, 1) == {}  # so that the next look reads it anew and fills the graph
        assert [row.response_node for row in live_episodes(conn)] == [None]
        assert [row.id for row in live_pairs(conn, "listening")] == ["p1"]
        assert conn.exec_driver_sql("PRAGMA foreign_key_check").all() == []
        assert conn.exec_driver_sql("PRAGMA integrity_check").all() == [("ok",)]
    for table in KEPT:
        for old, new in zip(before[table], named_rows(first, table), strict=True):
            assert old.items() - {("cursor", old.get("cursor"))} <= new.items()
            assert {new[name] for name in new.keys() - old.keys()} <= {None, "t"}  # a version has its model's template
    assert {table: rows(first, table) for table in others} == others
    assert rows(first.with_name(first.name + ".before-0001"), "alembic_version") == [("0001",)]


def test_numbers_go_on_where_they_were(first, clock):
    """A table that was made anew never gives a number twice."""
    with Store.open(first, clock) as store, store.write() as conn:
        assert add_source(conn, "aider", "/history.md", NOW).id == 3
        assert create_candidate(conn, "listening", "a" * 64, "a" * 64, "e2", "{}", "{}", {}, NOW).id == 8


def test_an_upgraded_store_is_what_a_new_one_is(first, clock, tmp_path):
    for path in (first, tmp_path / "new.db"):
        Store.open(path, clock).close()
    with closing(sqlite3.connect(first)) as upgraded, closing(sqlite3.connect(tmp_path / "new.db")) as new:
        assert master(upgraded) == master(new)


def test_the_way_back_gives_the_first_version_its_rows(first, clock, engine):
    before = {table: rows(first, table) for table in KEPT}
    with Store.open(first, clock) as store, store.write() as conn:
        conn.exec_driver_sql("UPDATE behaviour SET origin = 'adopted'")
        pin_pair(conn, "p1", NOW, "ann")
    with closing(driver()[0].connect(first)) as source, engine.begin() as conn:
        source.backup(conn.connection.driver_connection)
        migrate.run_migrations(conn, "0001", down=True)
        after = {table: [tuple(row) for row in conn.exec_driver_sql(f"SELECT * FROM {table}").all()] for table in KEPT}
    cursor = '{"sha256":"x"}'
    before["source"] = [tuple(None if value == cursor else value for value in row) for row in before["source"]]
    assert after.pop("behaviour") == [tuple("config" if v == "builtin" else v for v in before.pop("behaviour")[0])]
    assert after == before


# ---------------------------------------------------------------- revision 0003: what versions were made with


def test_a_version_was_made_with_the_template_of_its_model(first, clock):
    with Store.open(first, clock) as store, store.read() as conn:
        assert conn.exec_driver_sql("SELECT id, template_digest FROM vector_version").all() == [(7, "t")]


def test_the_way_back_keeps_versions_that_were_made_again_of_the_same_evidence(seeded, engine):
    with seeded.write() as conn:
        verified(conn, "e1")
        add_model(conn, BASE, "tiny", "/models/tiny", 4, 2, "other", NOW)
        again = candidate(conn, "e1")
        kept = conn.exec_driver_sql("SELECT id, version, state, stale_reason FROM vector_version").all()
    with closing(driver()[0].connect(seeded.path)) as source, engine.begin() as conn:
        source.backup(conn.connection.driver_connection)
        migrate.run_migrations(conn, "0002", down=True)
        assert conn.exec_driver_sql("SELECT id, version, state, stale_reason FROM vector_version").all() == kept
        recipes = conn.exec_driver_sql("SELECT recipe FROM vector_version ORDER BY id").scalars().all()
        assert recipes == ['{"seed":0}', f'{{"seed":0,"again":{again}}}']
        migrate.run_migrations(conn, "0003")
        assert conn.exec_driver_sql("SELECT id, version, state, stale_reason FROM vector_version").all() == kept


# ---------------------------------------------------------------- revision 0005: one budget


def test_what_was_measured_before_was_asked_for_by_a_person_and_the_way_back_keeps_it(seeded, engine):
    """What reflexd scaled, and what gave no number, cannot be said by the revision before."""
    combination = (NOW, BASE, '["a@1"]', '{"kl": {"p95": 0.25}, "reason": "too much"}')
    recheck = "(vector_id, at, because, evidence, verdict, effect, effect_low, effect_high, kl_p95, report)"
    with seeded.write() as conn:
        vector = verified(conn, "e1")
    with closing(driver()[0].connect(seeded.path)) as source, engine.begin() as conn:
        source.backup(conn.connection.driver_connection)
        migrate.run_migrations(conn, "0004", down=True)
        conn.exec_driver_sql(
            "INSERT INTO combination (at, model_digest, members, report) VALUES (?, ?, ?, ?)", combination
        )
        again = f"INSERT INTO recheck {recheck} VALUES ({vector}, 5, 'new', '{{}}', 'holds', ?, 0.5, 1.0, 0.5, '{{}}')"
        conn.exec_driver_sql(again, (0.75,))
        kept = {name: conn.exec_driver_sql(f"SELECT * FROM {name}").all() for name in ("combination", "recheck")}
        migrate.run_migrations(conn, "0005")
        (row,) = conn.exec_driver_sql("SELECT asked, scales, kl_p95, reason FROM combination").all()
        assert row == (None, None, 0.25, "too much")
        ours = "(at, model_digest, members, asked, scales, report) VALUES (?, ?, ?, '{}', '{}', ?)"
        conn.exec_driver_sql(f"INSERT INTO combination {ours}", combination)
        conn.exec_driver_sql(again, (None,))
        migrate.run_migrations(conn, "0004", down=True)
        assert {name: conn.exec_driver_sql(f"SELECT * FROM {name}").all() for name in kept} == kept


# ---------------------------------------------------------------- a newer store, a meddled one, two at once


@pytest.mark.parametrize("upgrade", [True, False])
def test_a_newer_store_is_refused_untouched(older, clock, upgrade):
    with closing(driver()[0].connect(older)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    content = older.read_bytes()
    with pytest.raises(NewerStoreError, match=r"newer reflexd \(revision 9999\)") as caught:
        Store.open(older, clock, upgrade=upgrade)
    assert caught.value.exit_code == 78
    assert older.read_bytes() == content
    assert not list(older.parent.glob("*.before-*"))


@pytest.mark.parametrize(
    "meddling",
    [
        "DROP TRIGGER event_no_delete",
        "DROP VIEW queue",
        "CREATE TRIGGER mine AFTER INSERT ON tick BEGIN SELECT 1; END",
    ],
)
def test_a_trigger_that_somebody_dropped_is_back_at_the_next_start(older, clock, meddling):
    with closing(sqlite3.connect(older, isolation_level=None)) as connection:
        whole = master(connection)
        connection.execute(meddling)
        assert master(connection) != whole
    with Store.open(older, clock), closing(sqlite3.connect(older)) as connection:
        assert master(connection) == whole


def test_opening_a_current_store_writes_nothing(older, clock):
    content = older.read_bytes()
    Store.open(older, clock).close()
    assert older.read_bytes() == content


def test_the_revisions_are_part_of_the_package():
    folder = Path(str(files("migrations")))
    assert (folder / "env.py").is_file()
    for number in ("0001", "0002", "0003"):
        assert sorted(p.suffix for p in (folder / "versions").glob(f"r{number}*")) == [".py", ".sql"]
