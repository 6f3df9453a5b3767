"""Claude Code transcripts of small invented sessions, for what happens between a file and the store."""

import json
import random

OPENINGS = (
    "Right, doing it the way you describe: the lease moves into the queue table.",
    "Actually, I'd suggest we keep the lease in Redis, that would be simpler.",
    "I'll read the worker first and then change the retry.",
    "Let me look at the failing test before I touch anything.",
)
TURNS = (
    "Move the lease of a task into the queue table.",
    "no, I said the queue table. put it there and drop the Redis client",
    "perfect, commit it",
    "now write the migration",
    "that's wrong, the column should be nullable",
    "yes, go ahead",
    "why did you pick an index there?",
    "mail ada@example.org when it is done, the report lies in /home/ada/reports/lease.txt",
)
REJECTED = (
    "The user doesn't want to proceed with this tool use. The tool use was rejected (eg. if it was a file edit, the "
    "new_string was NOT written to the file). To tell you how to proceed, the user said:\n"
)


def session(name, turns=6, seed=0):
    """The lines of one session, each with its newline."""
    rng = random.Random(f"{name} {seed}")
    lines, count = [], 0

    def add(kind, message, **more):
        nonlocal count
        count += 1
        stamp = f"2026-04-{1 + seed % 28:02d}T{count // 60:02d}:{count % 60:02d}:00.000Z"
        record = {"type": kind, "sessionId": name, "isSidechain": False, "message": message, **more}
        lines.append(json.dumps(record | {"uuid": f"{name}-{count}", "timestamp": stamp}).encode() + b"\n")

    for turn in range(turns):
        add("user", {"role": "user", "content": rng.choice(TURNS)})
        said = {"type": "text", "text": rng.choice(OPENINGS)}
        call = {"type": "tool_use", "id": f"t-{name}-{turn}", "name": "Edit", "input": {"file_path": "queue.py"}}
        add("assistant", {"id": f"m-{name}-{turn}", "role": "assistant", "content": [said]})
        add("assistant", {"id": f"m-{name}-{turn}", "role": "assistant", "content": [call]})
        refused = rng.random() < 0.4
        result = {"type": "tool_result", "tool_use_id": call["id"], "content": "done"}
        if refused:
            result |= {"is_error": True, "content": REJECTED + "use the table that is there"}
        more = {"toolUseResult": "User rejected tool use"} if refused else {"toolUseResult": {"ok": True}}
        add("user", {"role": "user", "content": [result]}, **more)
        closing = {"type": "text", "text": f"{rng.choice(OPENINGS)} That was step {turn}."}
        add("assistant", {"id": f"n-{name}-{turn}", "role": "assistant", "content": [closing]})
        if rng.random() < 0.2:
            lines.append(b'{"type":"a-type-of-tomorrow","sessionId":"x"}\n')
    return lines


def tree(folder, sessions=5, turns=6):
    """A project folder of some sessions; the files' lines by path."""
    folder.mkdir(parents=True, exist_ok=True)
    return {folder / f"s{n}.jsonl": session(f"s{n}", turns, n) for n in range(sessions)}
