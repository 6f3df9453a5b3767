"""One step of a LangGraph thread: what was written at a checkpoint, told in the order in which it was written.

    __interrupt__   what a task asked; a later question of the same task takes its place
    __resume__      of the task "0000…": what the human answered last. Of another task: the answers that it has had
    messages        what a node, or the human's input, added to the conversation

A task that asks twice writes its earlier answers beside the second question, so a task's own row is believed only where
it is the answer to its one question. The row of the task "0000…" is believed where one question stands before it.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from graph.records import Problem
from graph.sources.langgraph_review import Decision, Request, decisions_of, requests_of
from graph.sources.langgraph_thread import Thread, time_of
from graph.sources.langgraph_values import (
    Decoder,
    Message,
    UnknownValueError,
    is_one_tool_message,
    messages_of,
)

CHANNELS = ("messages", "__interrupt__", "__resume__")
_NULL_TASK = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True)
class Write:
    """A row of `writes`. `value` is None where it is larger than may be read; `path` is "" in older databases."""

    checkpoint: str
    rowid: int
    task: str
    index: int
    channel: str
    kind: str | None
    value: bytes | str | None
    size: int
    path: str


@dataclass
class Counts:
    """What of the rows after `since` was not understood. Rows before are read again, but were counted already."""

    since: int
    file: str
    unknown: dict[str, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def decoded(self, write: Write) -> Any:
        """The value of a row, None where there is none that can be read."""
        fresh = write.rowid > self.since
        counted: dict[str, int] = self.unknown if fresh else {}
        if write.value is None and write.size:
            if fresh:
                where = f"{self.file}: row {write.rowid} of writes"
                self.problems.append(Problem(where, f"a value of {write.size:,} bytes, more than max_bytes; left out"))
            return None
        try:
            return Decoder(counted).value(write.kind, write.value)
        except UnknownValueError as error:
            count(counted, str(error))
            return None

    def unknown_of(self, write: Write) -> dict[str, int]:
        """Where to count what is unknown in `write`."""
        return self.unknown if write.rowid > self.since else {}


def count(unknown: dict[str, int], name: str, times: int = 1) -> None:
    """Count a name, cut to 60 characters; the fifty-first different one is `…`."""
    name = name[:60] if name[:60] in unknown or len(unknown) < 50 else "…"
    unknown[name] = unknown.get(name, 0) + times


def tell_step(thread: Thread, writes: list[Write], counts: Counts, first_output: Callable[[Write], int | None]) -> None:
    """Tell the writes of one checkpoint, in the order of their rows.

    `first_output` gives the lowest index of what the task of a write has put out, None if it has not ended yet: that is
    the number of answers that the task had.
    """
    step = _Step(thread, time_of(writes[0].checkpoint), counts)
    answered = any(write.channel == "__resume__" and write.task == _NULL_TASK for write in writes)
    for write in writes:
        if write.kind == "msgpack" and write.channel == "messages" and is_one_tool_message(write.value):
            continue  # most of what a database holds
        value = counts.decoded(write)
        if value is None:
            continue
        if write.channel == "__interrupt__":
            step.question(write, value)
        elif write.channel == "__resume__":
            if write.task == _NULL_TASK:
                step.answer(write, value)
            elif not answered and isinstance(value, list) and len(value) == 1 and first_output(write) == 1:
                step.answer(write, value[0])
        else:
            step.messages(write, value)


@dataclass
class _Step:
    thread: Thread
    ts: int | None
    counts: Counts
    questions: dict[str, tuple[Write, list[Request]]] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)
    told: set[str] = field(default_factory=set)

    def question(self, write: Write, value: Any) -> None:
        requests = requests_of(value)
        if not requests:
            count(self.counts.unknown_of(write), "interrupt that asks about no action")
        self.questions[write.task] = write, requests

    def answer(self, write: Write, value: Any) -> None:
        decisions = decisions_of(value)
        self.words += [value] if isinstance(value, str) else [one.words for one in decisions if one.words]
        asked = self._asked(write)
        if asked is None:
            return
        question, requests = asked
        if requests and len(decisions) != len(requests):
            count(self.counts.unknown_of(write), "answer to an interrupt in another form")
            return
        if requests:
            self._decided(question, requests, decisions)
            del self.questions[question.task]

    def _asked(self, write: Write) -> tuple[Write, list[Request]] | None:
        if write.task in self.questions:
            return self.questions[write.task]
        if write.task == _NULL_TASK and len(self.questions) == 1:
            return next(iter(self.questions.values()))
        if len(self.questions) > 1:
            count(self.counts.unknown_of(write), "one answer to several interrupts")
        return None

    def _decided(self, question: Write, requests: list[Request], decisions: list[Decision]) -> None:
        asked = "\0".join(request.call.text for request in requests)
        which = hashlib.sha256(asked.encode("utf-8", "replace")).hexdigest()[:12]
        self.thread.decided(requests, decisions, self.ts, f"{question.checkpoint}/{question.task}/{which}")
        self.told.update(one.words for one in decisions if one.edge is None and one.words)

    def messages(self, write: Write, value: Any) -> None:
        for index, message in enumerate(messages_of(value, self.counts.unknown_of(write))):
            if message.role == "agent" or self._is_from_the_human(message, write):
                self.thread.message(message, self.ts, f"{write.checkpoint}/{write.task}/{write.index}/{index}")
            elif message.id:
                self.thread.recognises(message)

    def _is_from_the_human(self, message: Message, write: Write) -> bool:
        """Programs write human messages too (reflections, hand-overs); the human's are the input, and their answers.

        What a node writes again of earlier input is known by its id, or by its words.
        """
        if message.text in self.told:
            return False
        if not write.path and write.task != _NULL_TASK:
            return not message.name  # older databases do not say which node wrote
        if "__start__" in write.path or write.path.startswith("~__interrupt__") or write.task == _NULL_TASK:
            return True
        return any(words in message.text for words in self.words)


def tell_state(thread: Thread, state: Any, first: int | None, counts: dict[str, int]) -> None:
    """The messages of a whole checkpoint, for a thread that kept nothing else (durability "exit").

    Times are not kept with messages: they follow each other by a millisecond from the first checkpoint of the thread.
    """
    values = state.get("channel_values") if isinstance(state, dict) else None
    messages: Iterator[Message] = messages_of(values.get("messages") if isinstance(values, dict) else None, counts)
    for index, message in enumerate(messages):
        if message.role == "agent" or not message.name:
            thread.message(message, None if first is None else first + index, f"state/{index}")
