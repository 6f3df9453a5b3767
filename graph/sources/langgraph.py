"""LangGraph's SQLite databases: writes, checkpoints, and the store. Read-only; a checkpoint is hardly ever opened.

    writes        what each node wrote in each step: the conversation
    checkpoints   the whole state after each step, every message again: opened only for a thread without writes
    store         what agents remember across threads; a unit of its own, DATABASE#store

    cursor        {"file", "schema", "writes": [rowid, key], "checkpoints": [rowid, key], "open": {...} between batches}

Every insertion gets a higher rowid, also one that replaces a row. So what is new lies above the cursor's rowids; the
threads that it belongs to are told again from their beginning, which adds only what is new. If the row at the cursor is
another one now (threads were deleted, the file was vacuumed or exchanged), everything is read again. No lock outlives
one query: an agent that writes is never kept waiting.
"""

import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from graph.errors import GraphError
from graph.records import Problem, plain
from graph.sources.base import BATCH_NODES, DEFAULT_MAX_BYTES, Batch, Cursor
from graph.sources.langgraph_steps import CHANNELS, Counts, Write, count, tell_state, tell_step
from graph.sources.langgraph_store import STORE_UNIT, read_store
from graph.sources.langgraph_thread import Thread, distinct, forked_in, time_of
from graph.sources.langgraph_values import Decoder, UnknownValueError, msgpack_library
from graph.sources.log_tree import read_tree
from graph.sources.snapshot import inside
from graph.sources.telling import Telling

_SUFFIXES = (".sqlite", ".sqlite3", ".db")
_TABLES = {
    "writes": {"thread_id", "checkpoint_ns", "checkpoint_id", "task_id", "idx", "channel", "type", "value"},
    "checkpoints": {"thread_id", "checkpoint_ns", "checkpoint_id", "parent_checkpoint_id", "type", "checkpoint"},
    "store": {"prefix", "key", "value", "updated_at"},
}
_KEYS = {"writes": "thread_id, checkpoint_id, task_id, idx", "checkpoints": "thread_id, checkpoint_id"}
_SETTLED_NS = 2_000_000_000
_CHUNK_BYTES = 8 * 2**20


@dataclass(frozen=True)
class LangGraphSource:
    """Databases of langgraph-checkpoint-sqlite. Values over `max_bytes` are left out; `now` gives UTC nanoseconds."""

    max_bytes: int = DEFAULT_MAX_BYTES
    kind: str = "langgraph"
    now: Callable[[], int] = time.time_ns

    def read(self, path: Path, seen: Mapping[str, Cursor]) -> Iterator[Batch]:
        """New messages and decisions, and the store if it changed: of a database, or of *.sqlite, *.sqlite3 and *.db.

        Raises:
            SourceMissingError: There is nothing at `path`.
            GraphError: `path` is a file that cannot be read, or the extra `langgraph` is not installed.
        """
        msgpack_library()
        root = Path(os.path.abspath(path))  # noqa: PTH100 - a scope must not depend on `..`, nor on where links lead
        known = {unit: cursor for unit, cursor in seen.items() if not unit.endswith(STORE_UNIT)}

        def read_database(file: Path, folder: Path, unit: str, cursor: Cursor | None) -> Iterator[Batch]:
            real = inside(file, folder)
            stamp = _stamp(real, file, self.now())
            if cursor is None or "open" in cursor or not stamp["settled"] or cursor.get("file") != stamp:
                yield from self._changed(file, real, unit, (cursor, seen.get(unit + STORE_UNIT)), stamp)

        for batch in read_tree(
            root, known, f"{self.kind}:{root}", lambda name: name.endswith(_SUFFIXES), read_database
        ):
            yield batch
            if batch.cursor is None and not batch.problems and batch.unit + STORE_UNIT in seen:
                yield Batch(batch.unit + STORE_UNIT, batch.scope, None)

    def _changed(
        self, file: Path, real: Path, unit: str, cursors: tuple[Cursor | None, Cursor | None], stamp: dict[str, Any]
    ) -> Iterator[Batch]:
        cursor, store_cursor = cursors
        scope = f"{self.kind}:{file}"
        try:
            with closing(sqlite3.connect(f"{real.as_uri()}?mode=ro", uri=True, timeout=1.0)) as connection:
                database = _Database(file, connection)
                if not database.tables:
                    problem = Problem(str(file), "no tables of LangGraph in it; name the database of a SqliteSaver")
                    yield Batch(unit, scope, {"file": stamp}, problems=() if cursor else (problem,))
                    return
                if "store" in database.tables:
                    yield from read_store(database.rows, file, unit, scope, store_cursor, self.max_bytes)
                yield from _Look(database, unit, scope, self.max_bytes, stamp, cursor or {}).batches()
        except (
            sqlite3.Error,
            UnicodeDecodeError,
        ) as error:  # the latter: a damaged schema in the message of the former
            raise GraphError(
                f"{file}: SQLite cannot read it ({error}); a database with a log needs a folder that can be written to"
            ) from None


def _stamp(real: Path, file: Path, now: int) -> dict[str, Any]:
    """What the file and its write-ahead log look like. Not settled: it may yet change within one tick of the clock."""
    try:
        found = real.stat()
    except OSError as error:
        raise GraphError(f"{file}: cannot be read ({error.strerror}); make it readable for this user") from None
    if not stat.S_ISREG(found.st_mode):
        raise GraphError(f"{file}: not a regular file; name a database or a folder of databases")
    try:
        log = Path(f"{real}-wal").stat()
        wal = [log.st_size, log.st_mtime_ns] if log.st_size else []
    except OSError:
        wal = []
    return {
        "size": found.st_size,
        "times": [found.st_mtime_ns, found.st_ctime_ns],
        "inode": [found.st_dev, found.st_ino],
        "wal": wal,
        "settled": now - max([found.st_mtime_ns, *wal[1:]]) > _SETTLED_NS,
    }


class _Database:
    """An open database, never `immutable` (that overlooks the log of a live one), and the tables that are there."""

    def __init__(self, file: Path, connection: sqlite3.Connection) -> None:
        self.file = file
        self._connection = connection
        connection.text_factory = lambda data: data.decode("utf-8", "replace")
        connection.execute("PRAGMA query_only=1")
        columns = {name: {row[1] for row in self.rows(f"PRAGMA table_info({name})")} for name in _TABLES}
        self.tables = {name for name, wanted in _TABLES.items() if wanted <= columns[name]}
        self.path_column = "task_path" if "task_path" in columns["writes"] else "''"
        self.schema = int(self.rows("PRAGMA schema_version")[0][0])

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        return self._connection.execute(query, values).fetchall()

    def some(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Rows of a query until they hold about 8 MiB; the last two columns are a value and its size."""
        found, size = [], 0
        with closing(self._connection.execute(query, values)) as rows:
            for row in rows:
                found.append(row)
                size += row[-1] or 0
                if size > _CHUNK_BYTES:
                    break
        return found

    def mark(self, table: str, rowid: int | None = None) -> list[Any]:
        """[rowid, what identifies its row], of the last row if none is given; [0, ""] if there is none."""
        which = f"rowid = (SELECT max(rowid) FROM {table})" if rowid is None else "rowid = ?"
        found = self.rows(
            f"SELECT rowid, {_KEYS[table]} FROM {table} WHERE {which}", *([] if rowid is None else [rowid])
        )
        return [found[0][0], "/".join(plain(one) for one in found[0][1:])] if found else [0, ""]


Marks = dict[str, list[Any]]
"""Up to which row of each table everything is done: {table: [rowid, key]}."""


@dataclass
class _Look:
    """One look at the conversation of a database that may have changed."""

    database: _Database
    unit: str
    scope: str
    max_bytes: int
    stamp: dict[str, Any]
    cursor: Cursor
    telling: Telling = field(init=False)
    counts: Counts = field(init=False)

    def __post_init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self.telling = Telling(str(self.database.file))
        self.counts = Counts(0, str(self.database.file))

    def batches(self) -> Iterator[Batch]:
        """Batches of about `BATCH_NODES` nodes, then one with the cursor that says that all is done."""
        begin, work = self._where_it_ended()
        if work is not None:
            end = {table: self.database.mark(table, work[table]) for table in begin}
            yield from self._window(begin, end, work.get("after"))
            begin = end
        end = {table: self.database.mark(table) for table in begin}
        yield from self._window(begin, end, None)
        done = {"file": self.stamp, "schema": self.database.schema, **end}
        if done != self.cursor or self.telling.nodes:
            yield self._batch(done)

    def _where_it_ended(self) -> tuple[Marks, Mapping[str, Any] | None]:
        """The marks of the cursor and the work that it left open; or the beginning, if its rows are others now."""
        tables = sorted(self.database.tables & {"writes", "checkpoints"})
        marks = {table: self.cursor.get(table) for table in tables}
        same = self.cursor.get("schema") == self.database.schema and all(
            mark in ([0, ""], self.database.mark(table, mark[0])) if isinstance(mark, list) else False
            for table, mark in marks.items()
        )
        if not same:
            return {table: [0, ""] for table in tables}, None
        work = self.cursor.get("open")
        whole = isinstance(work, Mapping) and all(isinstance(work.get(table), int) for table in tables)
        return {table: list(marks[table] or []) for table in tables}, work if whole else None

    def _window(self, begin: Marks, end: Marks, after: str | None) -> Iterator[Batch]:
        """The threads with rows above `begin` and up to `end`, beginning after the thread `after`."""
        for name in self._threads(begin, end, after):
            cursor = {"file": self.stamp, "schema": self.database.schema, **begin}
            rest = {table: mark[0] for table, mark in end.items()}
            counts = Counts(begin.get("writes", [0])[0], str(self.database.file))
            for _ in self._thread(name, counts):
                yield self._batch({**cursor, "open": {**rest, "after": after}})
            for what, times in counts.unknown.items():
                count(self.counts.unknown, what, times)
            self.counts.problems += counts.problems
            after = name
            if len(self.telling.nodes) >= BATCH_NODES:
                yield self._batch({**cursor, "open": {**rest, "after": after}})

    def _threads(self, begin: Marks, end: Marks, after: str | None) -> list[str]:
        windows = [mark for table in begin for mark in (begin[table][0], end[table][0], after or "", after is None)]
        new = "SELECT thread_id FROM {} WHERE rowid > ? AND rowid <= ? AND checkpoint_ns = '' AND (thread_id > ? OR ?)"
        new += " AND typeof(thread_id) = 'text'"
        return [row[0] for row in self.database.rows(" UNION ".join(new.format(table) for table in begin), *windows)]

    def _batch(self, cursor: Cursor) -> Batch:
        nodes, edges = tuple(self.telling.nodes.values()), distinct(self.telling.edges)
        problems, unknown = tuple(self.counts.problems), self.counts.unknown
        self._clear()
        return Batch(self.unit, self.scope, cursor, nodes, edges, problems=problems, unknown=unknown)

    # ------------------------------------------------------------ a thread

    def _thread(self, name: str, counts: Counts) -> Iterator[None]:
        """Tell a thread; yields where a batch should end."""
        parents = self._checkpoints(name)
        thread = Thread(name, self.telling, forked_in(parents))
        upcoming = iter(parents)
        ahead = next(upcoming, None)
        spoken = False
        for step in self._steps(name):
            checkpoint = step[0].checkpoint
            while ahead is not None and ahead <= checkpoint:
                thread.enter(ahead, parents[ahead])
                ahead = next(upcoming, None)
            tell_step(thread, step, counts, self._first_output)
            spoken = spoken or any(write.channel == "messages" for write in step)
            if len(self.telling.nodes) >= BATCH_NODES and thread.is_between_turns:
                yield
                thread.go_on(self.telling)
        if not spoken and parents:
            self._last_state(thread, next(iter(parents)), counts)

    def _checkpoints(self, thread: str) -> dict[str, str | None]:
        """Parents by checkpoint, in the order of time; "" is the namespace of the graph itself, others of subgraphs."""
        if "checkpoints" not in self.database.tables:
            return {}
        query = "SELECT checkpoint_id, parent_checkpoint_id FROM checkpoints WHERE thread_id = ? AND checkpoint_ns = ''"
        query += " AND typeof(checkpoint_id) = 'text'"
        return dict(self.database.rows(f"{query} ORDER BY checkpoint_id", thread))

    def _steps(self, thread: str) -> Iterator[list[Write]]:
        """What was written at each checkpoint, in the order of time."""
        step: list[Write] = []
        for write in self._writes(thread):
            if step and write.checkpoint != step[0].checkpoint:
                yield step
                step = []
            step.append(write)
        if step:
            yield step

    def _writes(self, thread: str) -> Iterator[Write]:
        if "writes" not in self.database.tables:
            return
        query = (
            f"SELECT checkpoint_id, rowid, task_id, idx, channel, type, {self.database.path_column},"
            " CASE WHEN length(value) <= ? THEN value END, length(value) FROM writes"
            f" WHERE thread_id = ? AND checkpoint_ns = '' AND channel IN {CHANNELS}"
            " AND typeof(checkpoint_id) = 'text' AND typeof(task_id) = 'text' AND typeof(idx) = 'integer'"
            " AND checkpoint_id >= ? AND (checkpoint_id > ? OR rowid > ?) ORDER BY checkpoint_id, rowid LIMIT 1000"
        )
        checkpoint, rowid = "", 0
        while page := self.database.some(query, self.max_bytes, thread, checkpoint, checkpoint, rowid):
            for checkpoint, rowid, task, index, channel, kind, path, value, size in page:
                yield Write(checkpoint, rowid, task, index, channel, kind, value, size or 0, plain(path))

    def _first_output(self, write: Write) -> int | None:
        """The lowest index that the task of `write` has put out at its checkpoint."""
        query = "SELECT min(idx) FROM writes WHERE rowid IN (SELECT o.rowid FROM writes w JOIN writes o USING"
        query += " (thread_id, checkpoint_ns, checkpoint_id, task_id) WHERE w.rowid = ? AND o.idx >= 0)"
        found: int | None = self.database.rows(query, write.rowid)[0][0]
        return found

    def _last_state(self, thread: Thread, first: str, counts: Counts) -> None:
        query = (
            "SELECT type, CASE WHEN length(checkpoint) <= ? THEN checkpoint END, length(checkpoint) FROM checkpoints"
            " WHERE thread_id = ? AND checkpoint_ns = '' ORDER BY checkpoint_id DESC LIMIT 1"
        )
        kind, value, size = self.database.rows(query, self.max_bytes, thread.name)[0]
        if value is None and size:
            what = f"a checkpoint of {size:,} bytes, more than max_bytes; left out"
            counts.problems.append(Problem(f"{self.database.file}: thread {thread.name[:60]}", what))
            return
        try:
            tell_state(thread, Decoder(counts.unknown).value(kind, value), time_of(first), counts.unknown)
        except UnknownValueError as error:
            count(counts.unknown, str(error))
