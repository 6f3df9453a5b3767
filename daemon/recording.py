"""The event log that an agent appends to: whole lines, from many processes at once, none lost.

    lock the file (flock) ─▶ end a torn line with a newline ─▶ one write() of whole lines ─▶ unlock ─▶ fsync

A reader never waits for a writer, and a writer never for the store. Light to import (pydantic and orjson), so that an
agent may do it in its own process:

    log = EventLog(Path("events.jsonl"))
    asked = log.direction("billing-3", "Use the vendored parser.")
    said = log.response("billing-3", "Right, pulling it in.", asked)
    log.outcome(said, "accepted", words="good")
"""
# ruff: noqa: A002 - `id` is the key's name in the log

import errno
import fcntl
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Literal
from uuid import uuid4

from daemon.durable import fsync, make_folder, storage_faults
from daemon.errors import DataError, UnavailableError
from graph.events import Event, PatternEvent, event_line, parse_event
from store.clock import Clock, SystemClock

Polarity = Literal["accepted", "rejected", "corrected", "neutral"]
Pole = Literal["positive", "negative"]

_PATIENCE_S = 10.0


@dataclass(frozen=True)
class EventLog:
    """A log at `path`, made (mode 0600) when first written to. One may be used by many threads.

    Each method appends one event and gives the id by which later events refer to it: `id` if given, else a new one.
    `ts` is ISO 8601 text or UTC milliseconds; left out, it is the present. With `fsync` off a power cut may lose the
    last few events; what another process reads is the same.

    Raises:
        EventError: A value is unusable, or the line longer than 1 MiB; nothing was written. The message names the key.
        DataError: `path` is no regular file.
        FullError: It could not be written.
        UnavailableError: Another process has held the log for ten seconds.
    """

    path: Path
    fsync: bool = True
    clock: Clock = field(default_factory=SystemClock)

    def direction(
        self, session: str, text: str, *, follows: str | None = None, id: str | None = None, ts: int | str | None = None
    ) -> str:
        """What the human asked for; `follows` is the response that they had before them."""
        return self.record("direction", session=session, text=text, follows=follows, id=id, ts=ts)

    def response(
        self,
        session: str,
        text: str,
        direction: str,
        *,
        proposal: str | None = None,
        id: str | None = None,
        ts: int | str | None = None,
    ) -> str:
        """What the agent said to `direction`, and the plan or tool call that it proposed."""
        fields = {"session": session, "text": text, "direction": direction, "proposal": proposal}
        return self.record("response", **fields, id=id, ts=ts)

    def outcome(
        self,
        response: str,
        polarity: Polarity,
        *,
        words: str | None = None,
        correction: str | None = None,
        signal: str = "recorded",
        weight: float | None = None,
        id: str | None = None,
        ts: int | str | None = None,
    ) -> str:
        """How the human took `response`, in their `words`; `correction` is what they want instead."""
        said = {"words": words, "correction": correction, "signal": signal, "weight": weight}
        return self.record("outcome", response=response, polarity=polarity, **said, id=id, ts=ts)

    def preference(
        self,
        text: str,
        *,
        prefers: str | None = None,
        avoids: str | None = None,
        id: str | None = None,
        ts: int | str | None = None,
    ) -> str:
        """A lasting wish of the human, for or against a behaviour if it is about one."""
        return self.record("preference", text=text, prefers=prefers, avoids=avoids, id=id, ts=ts)

    def pattern(
        self,
        name: str,
        *,
        description: str | None = None,
        positive: str | None = None,
        negative: str | None = None,
        positive_cues: Sequence[str] = (),
        negative_cues: Sequence[str] = (),
        ts: int | str | None = None,
    ) -> str:
        """A behaviour of your own; gives its name."""
        poles = {"description": description, "positive": positive, "negative": negative}
        cues = {"positive_cues": tuple(positive_cues), "negative_cues": tuple(negative_cues)}
        return self.record("pattern", name=name, **poles, **cues, ts=ts)

    def label(
        self, response: str, behaviour: str, pole: Pole, *, weight: float | None = None, ts: int | str | None = None
    ) -> str:
        """Which pole of `behaviour` the response shows; a label has no id, so this gives the response's."""
        return self.record("label", response=response, behaviour=behaviour, pole=pole, weight=weight, ts=ts)

    def record(self, event: str, **fields: Any) -> str:
        """Any event, by its name and keys; gives its id."""
        return reference(self.append([self.complete({"event": event, **fields})])[0])

    def complete(self, raw: object) -> Event:
        """The event that `raw`, a decoded JSON value, is, with an id and a time if it has none. Nothing is written.

        Raises:
            EventError: It is none; the message names event and key.
        """
        event = parse_event(raw)
        missing: dict[str, object] = {}
        if "id" in type(event).model_fields and getattr(event, "id", None) is None:
            missing["id"] = str(uuid4())
        if event.ts is None:
            missing["ts"] = self.clock.wall_ms()
        return event.model_copy(update=missing)

    def append(self, events: Sequence[Event]) -> Sequence[Event]:
        """Append the events as they are, all or, where one is too long, none; gives them back."""
        lines = [event_line(event) for event in events]
        with storage_faults(self.path):
            _write(self.path, b"".join(line + b"\n" for line in lines), self.fsync)
        return events


def reference(event: Event) -> str:
    """The id by which later events refer to this one: a pattern's name, a label's response."""
    if isinstance(event, PatternEvent):
        return event.name
    return str(getattr(event, "id", None) or getattr(event, "response", ""))


def watch_log(database: Path, log: Path) -> str:
    """Have the store watch `log` as a source of kind `events`; gives what to tell the person, "" if nothing.

    A log that a person stopped watching stays so, and one whose folder is watched is read there. Never raises for the
    store's sake: an event is recorded whether or not anybody watches yet.
    """
    if not database.is_file():
        return ""
    from store.errors import StoreError

    path = log.absolute()
    try:
        if _is_known(database, path):
            return ""
        _watch(database, path)
    except StoreError as error:
        return f"recorded; not watched yet: {error} (`reflexd source add events {path}` tries again)"
    return f"now watching {path}; `reflexd source remove events {path}` stops that"


def _is_known(database: Path, path: Path) -> bool:
    from store.reader import open_reader

    with open_reader(database) as reader:
        sources = reader.rows("SELECT path, removed_at FROM source WHERE kind = 'events'")
    return any(
        source["path"] == str(path) or (source["removed_at"] is None and path.is_relative_to(source["path"]))
        for source in sources
    )


def _watch(database: Path, path: Path) -> None:
    from store.engine import Store
    from store.sources import add_source

    with Store.open(database, upgrade=False) as store, store.write() as conn:
        add_source(conn, "events", str(path), store.clock.wall_ms())


def _write(path: Path, data: bytes, durable: bool) -> None:
    """Append `data`, whole lines. What the kernel takes only in part stays torn: the next writer ends that line."""
    with _locked(path) as descriptor:
        size = os.fstat(descriptor).st_size
        if size > 0 and os.pread(descriptor, 1, size - 1) != b"\n":
            data = b"\n" + data
        if os.write(descriptor, data) != len(data):
            raise OSError(errno.ENOSPC, "only a part was written")
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        if durable:
            os.fsync(descriptor)
    if durable and size == 0:
        fsync(path.parent)


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    """The log open for appending and locked, and still the file of that name: it may have been rotated meanwhile."""
    deadline = monotonic() + _PATIENCE_S
    while True:
        descriptor = _opened(path)
        try:
            _lock(descriptor, path, deadline)
            if _is_still(path, descriptor):
                yield descriptor
                return
        finally:
            os.close(descriptor)  # and with it the lock


def _opened(path: Path) -> int:
    make_folder(path.parent)
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        descriptor = os.open(path, flags, 0o600)
    except IsADirectoryError:
        raise DataError(f"{path}: a folder; name a file, for example {path / 'events.jsonl'}") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise DataError(f"{path}: not a regular file; name another log")
    return descriptor


def _lock(descriptor: int, path: Path, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if monotonic() > deadline:
                raise UnavailableError(f"{path}: locked by another process for {_PATIENCE_S:.0f} s; end it") from None
            sleep(0.002)
        else:
            return


def _is_still(path: Path, descriptor: int) -> bool:
    mine = os.fstat(descriptor)
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)
