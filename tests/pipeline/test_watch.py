"""From a transcript on disk to evidence in the store: whatever happens in between, the evidence is the same."""

import os
import random
import signal
import subprocess

import pytest

from daemon.child import ModelProcess
from daemon.home import Home
from daemon.pipeline import Context, mine, watch
from daemon.pipeline import intake as intake_module
from daemon.pipeline import rejudge as rejudge_module
from daemon.recording import EventLog
from daemon.settings import Settings
from graph import judging
from graph.judging import outdated
from graph.schema import Outcome
from graph.turns.judge import TurnVerdict
from store.engine import Store
from store.graph import node_id
from store.sources import add_source
from tests.pipeline.conftest import Place, environment
from tests.pipeline.transcripts import session, tree


class Watcher:
    """A store that watches one source, and what it holds."""

    def __init__(self, folder, kind, path):
        self.home = Home(folder / "reflexd.toml", folder / "state")
        self.said = []
        self.store = Store.open(self.home.database)
        with self.store.write() as conn:
            add_source(conn, kind, str(path), 0)

    def look(self):
        process = ModelProcess(self.home.log)
        return watch(Context(Settings(), self.home, self.store, process, say=self.said.append))

    def mine(self):
        return mine(Context(Settings(), self.home, self.store, ModelProcess(self.home.log)))

    def rows(self, sql):
        with self.store.read() as conn:
            return [tuple(row) for row in conn.exec_driver_sql(sql)]

    def evidence(self):
        return evidence(self.rows)


def evidence(rows):
    """Everything that was learnt, without clock times."""
    return {
        "node": rows("SELECT id, kind, native_id, text, ts, attributes, gone_at FROM node ORDER BY id"),
        "edge": rows("SELECT src, dst, kind, method, method_version, weight, ts FROM edge WHERE gone_at IS NULL"),
        "episode": rows(
            "SELECT id, outcome, signal, weight, pairable, source_ref, ts, words, response_node FROM episode "
            "WHERE gone_at IS NULL ORDER BY id"
        ),
        "label": rows("SELECT l.* FROM episode_label l ORDER BY episode_id, behaviour"),
        "unknown": rows("SELECT unit, unknown FROM source_unit ORDER BY unit"),
    }


@pytest.fixture
def watcher(tmp_path):
    made = []

    def make(name, kind, path):
        made.append(Watcher(tmp_path / name, kind, path))
        return made[-1]

    yield make
    for each in made:
        each.store.close()


def written(files):
    for path, lines in files.items():
        path.write_bytes(b"".join(lines))


def test_a_transcript_becomes_nodes_edges_and_episodes(tmp_path, watcher):
    written(tree(tmp_path / "p"))
    found = watcher("h", "claude-code", tmp_path / "p")
    assert found.look()
    kinds = dict(found.rows("SELECT kind, count(*) FROM node GROUP BY kind"))
    assert (kinds["session"], kinds["direction"]) == (5, 30)
    assert {row[0] for row in found.rows("SELECT DISTINCT outcome FROM episode")} >= {"accepted", "corrected"}
    assert not found.look()
    assert found.said[0].startswith("p: ")
    named = found.rows("SELECT id, scope, native_key FROM node")
    assert {scope for _, scope, _ in named} == {"claude-code", "judge"}
    assert all(row_id == node_id(scope, key) for row_id, scope, key in named)


def test_read_in_steps_it_is_the_same_as_read_at_once(tmp_path, watcher):
    files = tree(tmp_path / "p")
    at_once, in_steps = (watcher(name, "claude-code", tmp_path / "p") for name in ("one", "many"))
    rng = random.Random(4)
    whole = {path: b"".join(lines) for path, lines in files.items()}
    cuts = {path: sorted(rng.sample(range(len(data)), 12)) for path, data in whole.items()}
    for step in range(12):
        for path, data in whole.items():
            path.write_bytes(data[: cuts[path][step]])
        in_steps.look()
    written(files)
    in_steps.look()
    at_once.look()
    assert in_steps.evidence() == at_once.evidence()


class Crash(BaseException):
    """The process dies here: nothing after it runs."""


@pytest.mark.parametrize("step", ["save_graph", "save_unit", "save_episodes", "save_labels"])
def test_a_crash_between_any_two_writes_loses_and_doubles_nothing(tmp_path, watcher, monkeypatch, step):
    written(tree(tmp_path / "p"))
    calm, stormy = (watcher(name, "claude-code", tmp_path / "p") for name in ("calm", "stormy"))
    calm.look()
    real = getattr(intake_module, step)

    def dying(*args, **kwargs):
        real(*args, **kwargs)
        raise Crash

    monkeypatch.setattr(intake_module, step, dying)
    with pytest.raises(Crash):
        stormy.look()
    assert not any(stormy.evidence().values())
    monkeypatch.setattr(intake_module, step, real)
    stormy.look()
    assert stormy.evidence() == calm.evidence()


def test_a_file_told_twice_adds_nothing(tmp_path, watcher):
    """As in a store of checkpoints, which repeats what a session said before."""
    lines = session("s0")
    (tmp_path / "p").mkdir()
    written({tmp_path / "p" / "a.jsonl": lines})
    found = watcher("h", "claude-code", tmp_path / "p")
    found.look()
    before = found.rows("SELECT count(*) FROM node"), found.rows("SELECT id FROM episode ORDER BY id")
    (tmp_path / "p" / "copy.jsonl").write_bytes(b"".join(lines))
    found.look()
    assert (found.rows("SELECT count(*) FROM node"), found.rows("SELECT id FROM episode ORDER BY id")) == before


def test_a_log_that_vanishes_keeps_its_evidence(tmp_path, watcher):
    files = tree(tmp_path / "p", sessions=2)
    written(files)
    found = watcher("h", "claude-code", tmp_path / "p")
    found.look()
    before = found.evidence()
    min(files).unlink()
    found.look()
    after = found.evidence()
    assert {k: before[k] for k in ("node", "edge", "episode")} == {k: after[k] for k in ("node", "edge", "episode")}
    assert found.rows("SELECT unit FROM source_unit") == [("s1.jsonl",)]


def test_a_source_that_cannot_be_read_stops_itself_only(tmp_path, watcher):
    found = watcher("h", "claude-code", tmp_path / "gone")
    written(tree(tmp_path / "p", sessions=1))
    with found.store.write() as conn:
        add_source(conn, "claude-code", str(tmp_path / "p"), 0)
    assert found.look()
    ((error,),) = found.rows("SELECT last_error FROM source WHERE path LIKE '%gone'")
    assert "gone: not there" in error
    assert found.rows("SELECT count(*) > 0 FROM episode") == [(1,)]


def test_secrets_and_homes_never_reach_the_store(tmp_path, watcher):
    key = "sk-" + "ant-api03-" + "Zx9" * 20
    lines = session("s0", turns=2)
    lines[0] = lines[0].replace(b'"content": "', b'"content": "use ' + key.encode() + b" from /home/grace/keys. ")
    written({tmp_path / "a.jsonl": lines})
    found = watcher("h", "claude-code", tmp_path / "a.jsonl")
    found.look()
    found.store.close()
    kept = b"".join(path.read_bytes() for path in found.home.state.iterdir() if path.is_file())
    assert b"Zx9Zx9" not in kept
    assert b"/home/grace" not in kept
    assert b"[redacted" in kept


def test_what_is_not_understood_is_counted_once(tmp_path, watcher):
    files = tree(tmp_path / "p")
    written(files)
    found = watcher("h", "claude-code", tmp_path / "p")
    found.look()
    odd = b'{"type":"a-type-of-tomorrow","sessionId":"x"}\n'
    more = [line for line in session("more", 2) if line != odd]
    more.insert(2, odd)  # within the first of the two turns
    for n in range(1, len(more) + 1):  # the open turn is read again and again, and must not be counted again
        for path, lines in files.items():
            path.write_bytes(b"".join([*lines, *more[:n]]))
        found.look()
    wanted = sum(lines.count(odd) + 1 for lines in files.values())
    assert found.rows("SELECT type, sum(n) FROM unknown_records GROUP BY type") == [("a-type-of-tomorrow", wanted)]


def test_a_better_judge_judges_again_and_nothing_is_forgotten(tmp_path, watcher, monkeypatch):
    written(tree(tmp_path / "p"))
    found = watcher("h", "claude-code", tmp_path / "p")
    found.look()
    before = found.rows("SELECT * FROM edge WHERE method = 'rule' ORDER BY src, kind, dst")
    accepted = "SELECT count(*) FROM episode WHERE gone_at IS NULL AND outcome = 'accepted' AND signal = 'human_turn'"
    assert found.rows(accepted) != [(0,)]

    def never_content(words, before):
        return TurnVerdict(Outcome.REJECTED, "human_turn", 0.9, ("grumpy",))

    for module in (judging, rejudge_module):
        monkeypatch.setattr(module, "TURNS_VERSION", "human-turns 999")
    monkeypatch.setattr(judging, "judge_turn", never_content)
    monkeypatch.setattr(judging, "check_candidate", lambda verdict, *_: verdict)
    assert found.look()
    assert found.rows(accepted) == [(0,)]
    assert set(before) < set(found.rows("SELECT * FROM edge WHERE method = 'rule'"))
    assert found.rows("SELECT version FROM classifier") == [("human-turns 999",)]
    assert outdated("human-turns 1")
    assert not found.look()


def test_a_memory_that_is_rewritten_forgets_what_it_says_no_more(tmp_path, watcher):
    path = tmp_path / "memory.jsonl"
    entity = '{"type":"entity","name":"Ada","entityType":"person","observations":[%s]}'
    path.write_text(entity % '"Always asks before deleting files","Prefers small diffs"')
    found = watcher("h", "mcp-memory", path)
    found.look()
    kept = "SELECT text FROM node WHERE kind = 'preference' AND gone_at IS NULL ORDER BY text"
    assert found.rows(kept) == [("Always asks before deleting files",), ("Prefers small diffs",)]
    path.write_text(entity % '"Prefers small diffs"')
    found.look()
    assert found.rows(kept) == [("Prefers small diffs",)]


def test_an_outcome_that_comes_much_later_finds_its_response(tmp_path, watcher):
    """Its line names a response that an earlier look has read; the last outcome counts."""
    log = EventLog(tmp_path / "events.jsonl")
    direction = log.direction("monday", "Use the vendored parser.")
    response = log.response("monday", "I'd suggest we write our own.", direction)
    found = watcher("h", "events", log.path)
    found.look()
    live = "SELECT outcome, words FROM episode WHERE gone_at IS NULL"
    assert found.rows(live) == []
    log.outcome(response, "accepted", words="fine", ts="2026-03-02T08:00:00Z")
    assert found.look()
    assert found.rows(live) == [("accepted", "fine")]
    said_again = {"id": "o-2", "correction": "the vendored one", "ts": "2026-03-02T09:00:00Z"}
    for words in ("no", "no, as I said"):  # told again in other words: only the outcome's own node changes
        log.outcome(response, "corrected", words=words, **said_again)
        found.look()
        assert found.rows(live) == [("corrected", words)]


@pytest.mark.slow
def test_killed_anywhere_the_evidence_is_that_of_an_undisturbed_run(tmp_path):
    """`reflexd once --until mine`, killed -9 at random moments of a first look, then run to the end."""
    written(tree(tmp_path / "p", sessions=150, turns=12))
    calm, stormy = Place(tmp_path / "calm"), Place(tmp_path / "stormy")
    for place in (calm, stormy):
        place.reflexd("init", "--dir", str(place.folder))
        place.reflexd("source", "add", "claude-code", str(tmp_path / "p"))
    calm.reflexd("once", "--until", "mine")
    rng, killed = random.Random(11), 0
    for _ in range(10):
        process = subprocess.Popen(
            stormy.command("once", "--until", "mine"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment(),
        )
        try:
            process.wait(timeout=rng.uniform(0.6, 2.5))
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            killed += 1
            process.wait()
    stormy.reflexd("once", "--until", "mine")
    assert killed

    def rows_of(place):
        return lambda sql: [tuple(row.values()) for row in place.sql(sql)]

    assert evidence(rows_of(stormy)) == evidence(rows_of(calm))
