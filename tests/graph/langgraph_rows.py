"""A LangGraph database, row by row as its checkpointer writes it."""

import sqlite3
import uuid
from pathlib import Path

import pytest

ormsgpack = pytest.importorskip("ormsgpack")

NULL_TASK = "00000000-0000-0000-0000-000000000000"
OPTIONS = ormsgpack.OPT_NON_STR_KEYS

TABLES = """
CREATE TABLE checkpoints (thread_id TEXT NOT NULL, checkpoint_ns TEXT NOT NULL DEFAULT '', checkpoint_id TEXT NOT NULL,
  parent_checkpoint_id TEXT, type TEXT, checkpoint BLOB, metadata BLOB,
  PRIMARY KEY (thread_id, checkpoint_ns, checkpoint_id));
CREATE TABLE writes (thread_id TEXT NOT NULL, checkpoint_ns TEXT NOT NULL DEFAULT '', checkpoint_id TEXT NOT NULL,
  task_id TEXT NOT NULL, {path} idx INTEGER NOT NULL, channel TEXT NOT NULL, type TEXT, value BLOB,
  PRIMARY KEY (thread_id, checkpoint_ns, checkpoint_id, task_id, idx));
"""
STORE = """
CREATE TABLE store (prefix text NOT NULL, key text NOT NULL, value text NOT NULL, created_at TIMESTAMP,
  updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, expires_at TIMESTAMP, ttl_minutes REAL, PRIMARY KEY (prefix, key));
"""


def constructed(module: str, name: str, payload: dict) -> object:
    """A pydantic object as LangGraph's serializer writes it: ext 5, (module, class, fields, method)."""
    return ormsgpack.Ext(5, ormsgpack.packb([module, name, payload, "model_validate_json"], option=OPTIONS))


def ai(own: str | None, text: str, *calls: dict) -> object:
    fields = {
        "content": text,
        "additional_kwargs": {},
        "type": "ai",
        "name": None,
        "id": own,
        "tool_calls": list(calls),
    }
    return constructed("langchain_core.messages.ai", "AIMessage", fields)


def human(own: str | None, text: object, name: str | None = None) -> object:
    return constructed(
        "langchain_core.messages.human", "HumanMessage", {"content": text, "type": "human", "name": name, "id": own}
    )


def tool(text: str) -> object:
    return constructed(
        "langchain_core.messages.tool", "ToolMessage", {"content": text, "type": "tool", "id": "t", "tool_call_id": "c"}
    )


def call(name: str, **arguments: object) -> dict:
    return {"name": name, "args": arguments, "id": f"call_{name}", "type": "tool_call"}


def interrupt(value: object) -> list:
    """The value of an `__interrupt__` write: a dataclass, ext 2."""
    return [
        ormsgpack.Ext(2, ormsgpack.packb(["langgraph.types", "Interrupt", {"value": value, "id": "i"}], option=OPTIONS))
    ]


def asks(action: str, **arguments: object) -> list:
    return [
        {
            "action_request": {"action": action, "args": arguments},
            "config": {"allow_accept": True},
            "description": "review",
        }
    ]


class Database:
    """Writes what a checkpointer would; a statement is a transaction."""

    def __init__(self, path: Path, path_column: bool = True, wal: bool = True) -> None:
        self.path, self.path_column, self._ms, self.tip = path, path_column, 1_767_225_600_000, {}
        self.connection = sqlite3.connect(path, isolation_level=None, timeout=0)
        self.connection.execute("PRAGMA synchronous=OFF")
        if wal:
            self.connection.execute("PRAGMA journal_mode=WAL")
        self.connection.executescript(TABLES.format(path="task_path TEXT NOT NULL DEFAULT ''," if path_column else ""))

    def checkpoint(self, thread: str, parent: str | None = None, state: object = None, ns: str = "") -> str:
        self._ms += 1000
        ticks = self._ms * 10_000 + 0x01B21DD213814000
        digits = f"{ticks:015x}"
        own = str(uuid.UUID(f"{digits[:12]}6{digits[12:]}8001{len(self.tip):012x}"))
        blob = b"\xc1 not to be opened" if state is None else ormsgpack.packb(state, option=OPTIONS)
        parent = parent or self.tip.get((thread, ns))
        self.connection.execute(
            "INSERT OR REPLACE INTO checkpoints VALUES (?, ?, ?, ?, 'msgpack', ?, '{}')",
            (thread, ns, own, parent, blob),
        )
        self.tip[thread, ns] = own
        return own

    def write(
        self,
        thread: str,
        channel: str,
        value: object,
        *,
        task: str = "task",
        index: int = 0,
        path: str = "~__pregel_pull, model",
        kind: str = "msgpack",
        raw: bytes | None = None,
        ns: str = "",
        ignore: bool = False,
    ) -> None:
        blob = ormsgpack.packb(value, option=OPTIONS) if raw is None else raw
        row = [
            thread,
            ns,
            self.tip[thread, ns],
            task,
            *([path] if self.path_column else []),
            index,
            channel,
            kind,
            blob,
        ]
        verb = "IGNORE" if ignore else "REPLACE"
        self.connection.execute(f"INSERT OR {verb} INTO writes VALUES ({', '.join('?' * len(row))})", row)

    def says(self, thread: str, text: object, ns: str = "") -> None:
        """The human's input: a step of its own."""
        self.checkpoint(thread, ns=ns)
        self.write(thread, "messages", [text], path="~__pregel_pull, __start__", task="start", ns=ns)

    def does(self, thread: str, *messages: object, **more: object) -> None:
        """A node's step."""
        self.checkpoint(thread)
        self.write(thread, "messages", list(messages), **more)

    def reviewed(self, thread: str, question: object, answer: object, then: object = None) -> None:
        """A node that asks the human, is answered, and goes on: in rows and order as LangGraph 1 writes them."""
        self.checkpoint(thread)
        self.write(thread, "__interrupt__", interrupt(question), task="review", index=-3)
        self.answered(thread, answer, then)

    def answered(self, thread: str, answer: object, then: object = None) -> None:
        self.write(thread, "__resume__", answer, task=NULL_TASK, index=-4, path="")
        self.write(thread, "__resume__", [answer], task="review", index=-4, ignore=True)
        if then is not None:
            self.write(thread, "messages", [then], task="review", index=1)


def conversation(database: Database, thread: str = "t1") -> None:
    database.says(thread, ["user", "Clean up the build folder"])
    database.does(thread, ai(f"{thread}-1", "I will look what is there first.", call("ls", path="build")))
    database.does(thread, tool("a b c"))
    database.does(thread, ai(f"{thread}-2", "", call("shell", command="rm -rf build")))
    database.reviewed(
        thread,
        asks("shell", command="rm -rf build"),
        [{"type": "edit", "args": {"action": "shell", "args": {"command": "rm -rf build/tmp"}}}],
        tool("done"),
    )
    database.does(thread, ai(f"{thread}-3", "Only build/tmp is gone now."))
    database.does(thread, ai(f"{thread}-4", "Anything else?"))
    database.says(thread, {"role": "user", "content": [{"type": "text", "text": "No, thanks"}]})
    database.does(thread, ai(f"{thread}-5", "Good."))
