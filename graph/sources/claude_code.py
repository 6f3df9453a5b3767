"""Claude Code transcripts: a `<session>.jsonl`, a project's folder, or the whole `projects` tree with its subagents.

    bytes ─▶ lines ─▶ says nothing? ─▶ parse ─▶ Said | Typed ─▶ Turns ─▶ batches, each ending where a prompt begins

Most bytes of a transcript are tool results, progress and file snapshots: `says_nothing` knows those by a few searches
for keys, and only the rest is parsed. See `graph.sources.claude_records` for what a record says and
`graph.sources.claude_turns` for what is told of it. Scope `claude-code`: the ids are the records' own and unique
everywhere, so that what lies in two files (a fork, a checkpoint that repeats an earlier one) is told once.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from graph.records import plain
from graph.sources.appended import Appended, open_appended
from graph.sources.base import BATCH_NODES, DEFAULT_MAX_BYTES, Batch, Cursor, Problem
from graph.sources.claude_records import SAID_NOTHING, parse, said, typed
from graph.sources.claude_turns import Before, Turns
from graph.sources.log_tree import read_tree

SCOPE = "claude-code"

_MAX_NAME = 60
_MAX_NAMES = 50
_MAX_PROBLEMS = 100
_QUIET = frozenset(name.encode() for name in SAID_NOTHING)
_NEAR = 2_000  # bytes within which the envelope of a record names its type


def says_nothing(line: bytes) -> bool:
    """Whether a record is of a kind of which nothing is ever told, so that parsing it can be spared. When in doubt: no.

    Inside a JSON string a quote is escaped, so `"type":` with bare quotes is a key; it is the record's own if no brace
    opens before it. Of records that are passed over in this way a torn one is passed over too.
    """
    if not (line.startswith(b"{") and line.endswith(b"}")):
        return False
    side = _own_key(line, b'"isSidechain":', 1)
    is_side = side > 0 and _follows(line, side, b"t")
    at = _own_key(line, b'"type":', 1)
    if at < 0:
        return is_side and (b'"type":"assistant"' in line or b'"type": "assistant"' in line)
    begin = line.find(b'"', at, at + 2) + 1
    kind = line[begin : line.find(b'"', begin, at + _MAX_NAME)]
    return kind in _QUIET or (kind == b"user" and (is_side or _only_results(line, at)))


def _own_key(line: bytes, key: bytes, begin: int) -> int:
    """Where the value of `key` begins, if no object begins between `begin` and the key; else -1."""
    at = line.find(key, begin, begin + _NEAR)
    return -1 if at < 0 or line.find(b"{", begin, at) >= 0 else at + len(key)


def _follows(line: bytes, at: int, first: bytes) -> bool:
    """Whether the value at `at` begins with `first`; after the colon there may be a space."""
    return line.startswith(first, at) or line.startswith(b" " + first, at)


def _only_results(line: bytes, at: int) -> bool:
    """Whether a user record holds tool results and nothing else, none of them an error or the approval of a plan."""
    message = _own_key(line, b'"message":', at)
    content = _own_key(line, b'"content":', message + 2) if message > 0 and _follows(line, message, b"{") else -1
    if content < 0 or not _follows(line, content, b"["):
        return False
    end = line.find(b'"toolUseResult":', content)
    end = len(line) if end < 0 else end
    error = line.find(b'"is_error":', content, end)
    while error >= 0:
        if not _follows(line, error + 11, b"false"):
            return False
        error = line.find(b'"is_error":', error + 11, end)
    return (
        line.find(b'"tool_result"', content, end) >= 0
        and line.find(b'"text"', content, end) < 0
        and line.find(b"User has approved", content, end) < 0
    )


@dataclass(frozen=True)
class ClaudeCodeSource:
    """Transcripts of Claude Code; a line of more than `max_bytes` is left out."""

    max_bytes: int = DEFAULT_MAX_BYTES
    kind: str = "claude-code"

    def read(self, path: Path, seen: Mapping[str, Cursor]) -> Iterator[Batch]:
        """What was appended to the transcripts in `path`; see `MemorySource.read`."""
        yield from read_tree(path, seen, SCOPE, lambda name: name.endswith(".jsonl"), self._read_log)

    def _read_log(self, path: Path, folder: Path, unit: str, cursor: Cursor | None) -> Iterator[Batch]:
        log = open_appended(path, folder, cursor, self.max_bytes)
        if log is None:
            return
        before = cursor.get("before") if cursor and log.start else None
        try:
            yield from _Reading(log, unit, Before(*before) if before else None).batches()
        finally:
            log.close()


@dataclass
class _Left:
    """What was left out: record types that are not known, and lines that cannot be read."""

    unknown: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)
    more: int = 0

    def count(self, name: str, number: int = 1) -> None:
        name = name[:_MAX_NAME]
        self.unknown[name if name in self.unknown or len(self.unknown) < _MAX_NAMES - 1 else "other"] += number

    def tell(self, problem: Problem) -> None:
        if len(self.problems) < _MAX_PROBLEMS:
            self.problems.append(problem)
        else:
            self.more += 1

    def add(self, other: "_Left") -> None:
        for name, number in other.unknown.items():
            self.count(name, number)
        for problem in other.problems:
            self.tell(problem)
        self.more += other.more


class _Reading:
    """One read of one file. What was left out counts once the cursor has passed it: `_left`, until then `_open`."""

    def __init__(self, log: Appended, unit: str, before: Before | None) -> None:
        self._log = log
        self._unit = unit
        self._turns = Turns(str(log.path), log.start, before)
        self._left = _Left()
        self._open = _Left()

    def batches(self) -> Iterator[Batch]:
        """One batch for every `BATCH_NODES` nodes, and one for the end."""
        end, turns, opened = self._log.start, self._turns, False
        for offset, data in self._log.lines():
            end = offset + len(data) + 1
            if says_nothing(data):
                continue
            begins = self._take(data, offset)
            if not opened and turns.is_open:
                opened = True
                turns.safe = (offset, turns.before)
                self._settle()
            if begins:
                self._settle()
                if turns.size >= BATCH_NODES:
                    yield self._batch(*turns.safe)
        if not opened:
            self._settle()
            turns.safe = (end, turns.before)
        yield self._batch(*turns.safe)

    def _take(self, data: bytes, offset: int) -> bool:
        """Tell one record; whether a segment begins with it."""
        try:
            record = parse(data)
        except ValueError:
            return self._leave(offset, "not JSON") if data.strip() else False
        if not isinstance(record, dict):
            return self._leave(offset, "not an object")
        kind = record.get("type")
        if kind not in ("assistant", "user"):
            name = plain(kind) if isinstance(kind, str) and kind else "(no type)"
            if name not in SAID_NOTHING:
                self._open.count(name)
            return False
        uuid = record.get("uuid")
        if not isinstance(uuid, str) or not uuid:
            return self._leave(offset, f"{kind} record without uuid")
        return self._converse(record, kind, uuid, offset)

    def _converse(self, record: Mapping[str, Any], kind: str, uuid: str, offset: int) -> bool:
        if not isinstance(record.get("message"), dict):
            self._open.count(f"{kind} without message")
            return False
        session = record.get("sessionId")
        session = session if isinstance(session, str) and session else self._log.path.stem
        if kind == "assistant":
            if spoken := said(record, uuid):
                self._turns.say(record, spoken, uuid, offset, session)
            return False
        heard = typed(record)
        return heard is not None and self._turns.hear(record, heard, uuid, offset, session)

    def _leave(self, offset: int, what: str) -> bool:
        self._open.tell(Problem(f"{self._log.path}:{offset}", f"{what}; left out"))
        return False

    def _settle(self) -> None:
        for problem in self._log.problems:
            self._open.tell(problem)
        self._log.problems.clear()
        self._left.add(self._open)
        self._open = _Left()

    def _batch(self, offset: int, before: Before | None) -> Batch:
        cursor = {**self._log.entry(offset), "before": list(before) if before else None}
        told, left = self._turns.take(), self._left
        self._left = _Left()
        if left.more:
            left.problems.append(Problem(str(self._log.path), f"{left.more:,} more lines; left out"))
        nodes, edges = tuple(told.nodes.values()), tuple(told.edges)
        return Batch(self._unit, SCOPE, cursor, nodes, edges, problems=tuple(left.problems), unknown=dict(left.unknown))
