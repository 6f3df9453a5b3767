"""Recording: nothing that was recorded is lost, whoever else writes, and the store is never waited for."""

import fcntl
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner

from daemon import recording
from daemon.cli import COMMANDS, cli
from daemon.commands.record import record
from daemon.errors import DataError, FullError, UnavailableError
from daemon.recording import EventLog, reference, watch_log
from graph.events import MAX_LINE, EventError
from graph.sources.events import EventsSource
from store.clock import ManualClock
from store.engine import Store
from store.reader import open_reader
from store.sources import add_source, remove_source

ROOT = Path(__file__).parent.parent

WRITER = """
import sys, threading
from pathlib import Path
from daemon.recording import EventLog
log, name, count = EventLog(Path(sys.argv[1]), fsync=False), sys.argv[2], int(sys.argv[3])
def write(thread):
    for n in range(count):
        log.direction("s", "x" * (n * 37 % 5000 + 1), id=f"{name}-{thread}-{n}")
threads = [threading.Thread(target=write, args=(thread,)) for thread in range(2)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "events.jsonl"


def written(path):
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def test_what_was_recorded_is_read_back(path):
    log = EventLog(path, clock=ManualClock(1_772_438_400_000))
    asked = log.direction("s", "Look at the schema first.", id="d1")
    said = log.response("s", "I have added the column already.", asked, proposal="ALTER TABLE")
    ended = log.outcome(said, "corrected", words="No!", correction="Look first.", signal="undo", weight=0.9)
    wish = log.preference("Look before you touch a migration.", prefers="not_rushing", ts="2026-03-02T08:00:00Z")
    name = log.pattern("brevity", description="a line / an essay", positive_cues=[r"^done\b"])
    assert log.label(said, "brevity", "positive", weight=1) == said
    (batch,) = EventsSource().read(path, {})
    nodes = {node["id"]: node for node in batch.nodes}
    assert batch.problems == ()
    assert nodes["direction:d1"]["ts"] == 1_772_438_400_000
    assert nodes[f"response:{said}"]["text"] == "I have added the column already."
    assert nodes[f"outcome:{ended}"]["signal"] == "undo"
    assert nodes[f"preference:{wish}"]["ts"] == "2026-03-02T08:00:00Z"
    assert nodes[f"pattern:{name}"]["positive_cues"] == (r"^done\b",)
    assert len({asked, said, ended, wish}) == 4


def test_a_log_is_its_owners_alone_and_its_folder_is_made(path):
    EventLog(path).direction("s", "x")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_processes_and_threads_lose_nothing(path):
    path.parent.mkdir()
    command = [sys.executable, "-c", WRITER, str(path)]
    processes = [subprocess.Popen([*command, f"p{n}", "100"], cwd=ROOT) for n in range(4)]
    assert [process.wait(timeout=120) for process in processes] == [0] * 4
    found = {event["id"]: len(event["text"]) for event in written(path)}
    wanted = {f"p{p}-{t}-{n}": n * 37 % 5000 + 1 for p in range(4) for t in range(2) for n in range(100)}
    assert found == wanted


def test_a_torn_line_is_ended_before_the_next_one(path):
    log = EventLog(path)
    log.direction("s", "First.", id="a")
    with path.open("ab") as file:
        file.write(b'{"event": "direction", "session": "s", "te')
    log.direction("s", "Second.", id="b")
    (batch,) = EventsSource().read(path, {})
    assert [node["id"] for node in batch.nodes] == ["session:s", "direction:a", "direction:b"]
    assert len(batch.problems) == 1


def test_a_write_that_the_disk_takes_in_part_is_an_error_and_hurts_no_other_event(path, tmp_path):
    EventLog(path).direction("s", "First.", id="a")
    full = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))\n"
    code = (
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"{full}from daemon.recording import EventLog; from pathlib import Path\n"
        f"EventLog(Path({str(path)!r})).direction('s', 'x' * 1000, id='torn')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert f"FullError: {path}: cannot be written: only a part was written; make room" in done.stderr
    assert path.stat().st_size == 300
    EventLog(path).direction("s", "Second.", id="b")
    (batch,) = EventsSource().read(path, {})
    assert [node["id"] for node in batch.nodes] == ["session:s", "direction:a", "direction:b"]


def test_a_log_that_is_rotated_while_it_is_waited_for_is_not_written_to(path, monkeypatch):
    log = EventLog(path)
    log.direction("s", "Old.", id="old")
    waiting, lock = threading.Event(), recording._lock
    monkeypatch.setattr(recording, "_lock", lambda *arguments: (waiting.set(), lock(*arguments)))
    holder = os.open(path, os.O_RDWR)
    fcntl.flock(holder, fcntl.LOCK_EX)
    writer = threading.Thread(target=lambda: log.direction("s", "New.", id="new"))
    writer.start()
    assert waiting.wait(10)
    path.rename(path.with_name("events-1.jsonl"))
    os.close(holder)
    writer.join(10)
    assert [event["id"] for event in written(path)] == ["new"]
    assert [event["id"] for event in written(path.with_name("events-1.jsonl"))] == ["old"]


def test_who_holds_the_log_for_ever_is_not_waited_for(path, monkeypatch):
    monkeypatch.setattr(recording, "_PATIENCE_S", 0.05)
    log = EventLog(path)
    log.direction("s", "x")
    holder = os.open(path, os.O_RDWR)
    fcntl.flock(holder, fcntl.LOCK_EX)
    with pytest.raises(UnavailableError, match="locked by another process"):
        log.direction("s", "y")
    os.close(holder)
    assert len(written(path)) == 1


def test_what_is_no_log_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(DataError):
            EventLog(place).direction("s", "x")


def test_a_wrong_event_is_refused_and_nothing_is_written(path):
    log = EventLog(path)
    with pytest.raises(EventError, match="a line holds at most"):
        log.direction("s", "x" * MAX_LINE)
    with pytest.raises(EventError, match="polarity"):
        log.outcome("r", "splendid")
    with pytest.raises(EventError, match="unknown key"):
        log.record("direction", session="s", text="x", mood="cross")
    assert not path.exists()


def test_events_appended_together_are_all_or_none(path):
    log = EventLog(path)
    good = log.complete({"event": "direction", "session": "s", "text": "x"})
    with pytest.raises(EventError):
        log.append([good, log.complete({"event": "direction", "session": "s", "text": "x" * MAX_LINE})])
    assert not path.exists()
    log.append([good, good])
    assert len(written(path)) == 2


def test_fsync_is_asked_for_unless_it_is_off(path, monkeypatch):
    EventLog(path).direction("s", "x")
    synced = []
    monkeypatch.setattr(recording.os, "fsync", lambda fd: synced.append(os.fstat(fd).st_ino))
    EventLog(path, fsync=False).direction("s", "x")
    assert synced == []
    EventLog(path).direction("s", "x")
    assert synced == [path.stat().st_ino]


def loaded_by(code):
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_an_agent_loads_little_to_record_in_its_own_process():
    heavy = {"torch", "sqlalchemy", "networkx", "numpy", "click", "rich", "sqlite3", "mcp"}
    assert loaded_by("import daemon.recording").isdisjoint(heavy)


# ---------------------------------------------------------------- the store


@pytest.fixture
def database(path):
    path.parent.mkdir()
    with Store.open(path.with_name("reflexd.db")):
        pass
    return path.with_name("reflexd.db")


def watched(database):
    with open_reader(database) as reader:
        return [(row["kind"], row["path"]) for row in reader.rows("SELECT * FROM source WHERE removed_at IS NULL")]


def test_the_log_is_watched_once_and_told_once(database, path):
    assert f"now watching {path}" in watch_log(database, path)
    assert watch_log(database, path) == ""
    assert watched(database) == [("events", str(path))]


def test_without_a_store_nothing_is_watched_and_nothing_is_made(path):
    assert watch_log(path.with_name("reflexd.db"), path) == ""
    assert not path.parent.exists()


def test_a_log_that_a_person_stopped_watching_stays_so(database, path):
    watch_log(database, path)
    with Store.open(database) as store, store.write() as conn:
        assert remove_source(conn, "events", str(path), 1)
    assert watch_log(database, path) == ""
    assert watched(database) == []


def test_a_log_in_a_watched_folder_is_not_watched_twice(database, path):
    with Store.open(database) as store, store.write() as conn:
        add_source(conn, "events", str(path.parent), 1)
    assert watch_log(database, path) == ""
    with Store.open(database) as store, store.write() as conn:
        remove_source(conn, "events", str(path.parent), 2)
    assert "now watching" in watch_log(database, path)


def test_a_busy_or_foreign_store_is_a_hint_not_an_error(database, path, monkeypatch):
    monkeypatch.setattr("store.engine._BUSY_MS", 50)
    with Store.open(database) as busy, busy.write():
        hint = watch_log(database, path)
    assert hint.startswith("recorded; not watched yet: ")
    assert f"reflexd source add events {path}" in hint
    database.write_bytes(b"no database" * 1000)
    assert watch_log(database, path).startswith("recorded; not watched yet: ")


# ---------------------------------------------------------------- the command


@pytest.fixture
def reflexd(tmp_path, monkeypatch):
    """Runs a command line of `reflexd record`; gives exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REFLEXD_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))

    def run(*arguments, stdin=None):
        done = CliRunner().invoke(record, arguments, input=stdin)
        code = getattr(done.exception, "exit_code", done.exit_code)
        return code, done.stdout, done.stderr if not done.exception else f"{done.stderr}{done.exception}"

    return run


def test_a_conversation_by_command(reflexd, path):
    (path.parent.parent / "reflexd.toml").write_text('state_dir = "state"\n')
    _, asked, _ = reflexd("direction", "Use the vendored parser.", "--session", "s")
    code, said, _ = reflexd("response", "-", "--session", "s", "--direction", asked.strip(), stdin="Pulling it in.\n")
    assert code == 0
    assert (
        reflexd("outcome", said.strip(), "accepted", "good", "--signal", "human_turn", "--ts", "1772438400000")[0] == 0
    )
    assert reflexd("label", said.strip(), "listening", "positive")[:2] == (0, said)
    assert reflexd("preference", "No essays.", "--avoids", "lecturing", "--id", "p1")[:2] == (0, "p1\n")
    assert reflexd("pattern", "brevity", "--positive-cue", "^yes", "--positive-cue", "^no")[:2] == (0, "brevity\n")
    events = written(path)
    assert [event["event"] for event in events] == [
        "direction",
        "response",
        "outcome",
        "label",
        "preference",
        "pattern",
    ]
    assert events[1] == events[1] | {"id": said.strip(), "direction": asked.strip(), "text": "Pulling it in."}
    assert events[2] == events[2] | {"words": "good", "signal": "human_turn", "ts": 1772438400000}
    assert events[5]["positive_cues"] == ["^yes", "^no"]


def test_json_says_what_was_recorded_and_where(reflexd, tmp_path):
    code, out, _ = reflexd("direction", "x", "--session", "s", "--log", "own.jsonl", "--no-fsync", "--json")
    told = orjson.loads(out)
    assert code == 0
    (event,) = written(tmp_path / "own.jsonl")
    assert told == {**event, "log": str(tmp_path / "own.jsonl")}
    assert reference(EventLog(tmp_path).complete(event)) == told["id"]


def test_events_as_json_are_all_recorded_or_none(reflexd, tmp_path):
    good = '{"event": "direction", "id": "a", "session": "s", "text": "x"}'
    odd = '{"event": "direction", "session": "s", "text": "x", "mood": 1}'
    code, _, said = reflexd("event", "-", "--log", "own.jsonl", stdin=f"{good}\n{odd}\n")
    assert (code, said.splitlines()[-1]) == (65, "direction: mood: unknown key")
    assert reflexd("event", "{", "--log", "own.jsonl")[0] == 65
    assert not (tmp_path / "own.jsonl").exists()
    assert reflexd("event", good, good.replace('"a"', '"b"'), "--log", "own.jsonl")[:2] == (0, "a\nb\n")


def test_what_is_wrong_has_its_exit_code(reflexd):
    assert reflexd("direction", " ", "--session", "s", "--log", "l")[0] == 65
    assert reflexd("outcome", "r", "corrected", "--log", "l")[0] == 65
    assert reflexd("outcome", "r", "splendid", "--log", "l")[0] == 2
    assert reflexd("response", "-", "--session", "s", "--direction", "d", "--log", "l", stdin=b"\xff")[0] == 65
    code, _, said = reflexd("direction", "x", "--session", "s")
    assert (code, "no configuration" in said) == (66, True)


def test_the_first_record_has_its_log_watched_and_says_so_on_standard_error(reflexd, database, path):
    (path.parent.parent / "reflexd.toml").write_text('state_dir = "state"\n')
    first = reflexd("direction", "x", "--session", "s", "--id", "d")
    second = reflexd("direction", "y", "--session", "s", "--id", "e")
    assert first[:2] == (0, "d\n")
    assert "now watching" in first[2]
    assert second == (0, "e\n", "")
    assert watched(database) == [("events", str(path))]


def test_a_configuration_that_was_named_must_be_there(tmp_path, monkeypatch):
    monkeypatch.setitem(COMMANDS, "record", "daemon.commands.record:record")
    command = ["--config", "none.toml", "record", "direction", "x", "--session", "s", "--log", str(tmp_path / "l")]
    done = CliRunner().invoke(cli, command)
    assert done.exception.exit_code == 66
    assert not (tmp_path / "l").exists()


COMMAND = """
import sys
from daemon import cli
cli.COMMANDS.setdefault("record", "daemon.commands.record:record")
code = cli.run_command(["record", "direction", "x", "--session", "s", "--log", sys.argv[1]])
"""


def test_recording_loads_nothing_heavy(tmp_path):
    """What a start costs is what it imports: seconds would measure the machine."""
    loaded = loaded_by(COMMAND.replace("sys.argv[1]", repr(str(tmp_path / "l"))))
    assert loaded.isdisjoint({"torch", "sqlalchemy", "networkx", "numpy", "rich", "mcp", "transformers"})


def test_a_full_disk_is_told_in_one_line(path, monkeypatch):
    def full(descriptor, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(recording.os, "write", full)
    with pytest.raises(FullError, match="No space left on device; make room"):
        EventLog(path).direction("s", "x")
