"""Claude Code transcripts of small invented sessions, and what reading them tells."""

import json
import os
from collections import Counter

import orjson

from graph.sources.claude_code import ClaudeCodeSource

MUTATIONS = 2000 * int(os.environ.get("REFLEXD_FUZZ", "1"))


"""How many mutated lines the last test tries."""


WROTE = "The tool use was rejected (eg. if it was a file edit, the new_string was NOT written to the file)."
REJECTED = f"The user doesn't want to proceed with this tool use. {WROTE}"
STOP = f"{REJECTED} STOP what you are doing and wait for the user to tell you how to proceed."
NOTE = (
    "\n\nNote: The user's next message may contain a correction or preference. Pay close attention — if they explain "
    "what went wrong or how they'd prefer you to work, consider saving that to memory for future sessions."
)


CLARIFY = (
    "The user wants to clarify these questions.\n    This means they may have additional information, context or"
    ' questions for you.\n\n    Questions asked:\n- "Which port?"\n  (No answer provided)'
)


PLAN_NO = (
    "The agent proposed a plan that was rejected by the user. The user chose to stay in plan mode rather than proceed "
    "with implementation.\n\nRejected plan:\nDrop the table. As the user said:\nnothing"
)


PLAN_YES = "User has approved your plan. You can now start coding. Start with updating your todo list if applicable"
INTERRUPT, INTERRUPT_TOOL = "[Request interrupted by user]", "[Request interrupted by user for tool use]"


def because(reason):
    return f"{REJECTED} To tell you how to proceed, the user said:\n{reason}"


class Log(list):
    """Records of one session, written in the order of keys that the harness uses."""

    def __init__(self, session="s1", side=False):
        super().__init__()
        self.session, self.side, self.minute = session, side, 0

    def record(self, kind, uuid, body, **more):
        self.minute += 1
        stamp = f"2026-02-03T{self.minute // 60:02d}:{self.minute % 60:02d}:00.000Z"
        head = {"parentUuid": None, "isSidechain": self.side, "cwd": "/src/queue", "sessionId": self.session}
        tail = {"uuid": uuid, "timestamp": stamp, **more}
        first = {"type": kind, **body} if kind != "assistant" else {**body, "requestId": "r", "type": kind}
        self.append({**head, **first, **tail})
        return self

    def user(self, uuid, content, **more):
        return self.record("user", uuid, {"message": {"role": "user", "content": content}}, **more)

    def result(self, uuid, call, content, error=None, **more):
        block = {"tool_use_id": call, "type": "tool_result", "content": content}
        return self.user(uuid, [block | ({} if error is None else {"is_error": error})], **more)

    def no(self, uuid, call, content, **more):
        return self.result(uuid, call, content, True, **{"toolUseResult": "User rejected tool use", **more})

    def agent(self, uuid, message, *blocks, model="claude", **more):
        blocks = [{"type": "text", "text": block} if isinstance(block, str) else block for block in blocks]
        body = {"model": model, "id": message, "type": "message", "role": "assistant", "content": blocks, "usage": {}}
        return self.record("assistant", uuid, {"message": body}, **more)

    def quiet(self, kind="progress", **body):
        return self.record(kind, f"q{len(self)}", body)


def call(name, tool="Edit", **arguments):
    return {
        "type": "tool_use",
        "id": name,
        "name": tool,
        "input": arguments or ({"file_path": "queue.go"} if tool == "Edit" else {}),
    }


def lines_of(log, pretty=False):
    """One JSON text a line; `pretty` has spaces after its separators, as other writers put them."""
    return [(json.dumps(record) if pretty else orjson.dumps(record).decode()).encode() + b"\n" for record in log]


def write(path, log, pretty=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(lines_of(log, pretty)))
    return path


class Told:
    """What batches said, taken together."""

    def __init__(self, batches):
        self.batches = batches
        self.nodes = {node["id"]: node for batch in batches for node in batch.nodes}
        self.edges = {(e["source"], e["kind"].value, e["target"]) for batch in batches for e in batch.edges}
        self.unknown = sum((Counter(batch.unknown) for batch in batches), Counter())
        self.problems = [problem for batch in batches for problem in batch.problems]

    def kind(self, kind):
        return {key: node for key, node in self.nodes.items() if node["kind"] == kind}

    def text(self, kind):
        return {key: node["text"] for key, node in self.kind(kind).items()}

    def signals(self):
        return {(node["native_id"], node["signal"]) for node in self.kind("outcome").values()}

    def links(self, kind):
        return {(source, target) for source, edge, target in self.edges if edge == kind}


def read(path, seen=None):
    """Read and keep the cursors in `seen`, as the store would, through JSON."""
    batches = []
    for batch in ClaudeCodeSource().read(path, dict(seen or {})):
        batches.append(batch)
        if seen is not None:
            if batch.cursor is None:
                seen.pop(batch.unit, None)
            else:
                seen[batch.unit] = orjson.loads(orjson.dumps(batch.cursor))
    return Told(batches)


def work():
    """One rejected edit, with a reason, taken up; then thanks."""
    log = Log()
    log.user("h1", "Renew the lease in the worker, not in the store.")
    log.agent("a1", "m1", {"type": "thinking", "thinking": "secret thought", "signature": "x"})
    log.agent("a2", "m1", "I'll add it to the store.")
    log.agent("a3", "m1", call("t1", file_path="store.go", new_string="func Renew"))
    log.quiet("progress", data={"type": "hook_progress"})
    log.no("u1", "t1", because("in the worker, please" + NOTE), toolDenialKind="user-rejected")
    log.agent("a4", "m2", "Right: in the worker.")
    log.agent("a5", "m2", call("t2", file_path="worker.go"))
    log.result("u2", "t2", "updated", toolUseResult={"type": "text", "file": {}})
    log.agent("a6", "m3", "Running the tests.", call("t3", "Bash", command="go test"))
    log.result("u3", "t3", "ok")
    log.agent("a7", "m4", "Done, all tests pass.")
    log.user("h2", "Great, thanks.")
    return log
