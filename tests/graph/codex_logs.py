"""Rollouts as Codex CLI writes them, and what reading them tells."""

import json
import os

from hypothesis import HealthCheck, settings
from logs import read_by, write

from graph.memory import MemoryGraph
from graph.schema import EdgeKind
from graph.sources.codex import CodexSource

EXAMPLES = 150 * int(os.environ.get("REFLEXD_FUZZ", "1"))
MUTATED = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
SOURCE = CodexSource()
SESSION = "019c2c24-29ad-72c2-83dd-f3edfa6bf161"
NAME = f"rollout-2026-03-02T08-15-00-{SESSION}.jsonl"
CLOCK = iter(range(10**9))


def record(kind, **payload):
    seconds = next(CLOCK)
    ts = f"2026-03-02T{8 + seconds // 3600 % 12:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.000Z"
    return json.dumps({"timestamp": ts, "type": kind, "payload": payload}, separators=(",", ":")) + "\n"


def meta(session=SESSION, **more):
    return record("session_meta", id=session, cwd="/srv/shop", originator="codex_cli_rs", cli_version="0.98.0", **more)


def event(kind, **more):
    return record("event_msg", type=kind, **more)


def item(role, *texts, **more):
    part = "output_text" if role == "assistant" else "input_text"
    content = [{"type": part, "text": text} for text in texts]
    return record("response_item", type="message", role=role, content=content, **more)


SURROUNDINGS = item(
    "user",
    "# AGENTS.md instructions for /srv/shop\n\n<INSTRUCTIONS>\nUse tabs.\n</INSTRUCTIONS>",
    "<environment_context>\n  <cwd>/srv/shop</cwd>\n</environment_context>",
)


def asked(text):
    return (
        event("task_started", turn_id="t")
        + record("turn_context", cwd="/srv/shop", model="gpt-5.2-codex")
        + item("user", text)
        + event("user_message", message=text, images=[])
    )


def answered(text, done=True):
    return (
        event("agent_message", message=text)
        + item("assistant", text)
        + event("token_count", info=None)
        + (event("task_complete", turn_id="t", last_agent_message=text) if done else "")
    )


def called(command, output="ok"):
    return record("response_item", type="function_call", name="shell", arguments=command, call_id="c") + record(
        "response_item", type="function_call_output", call_id="c", output=output
    )


def rolled_back(turns):
    return event("thread_rolled_back", num_turns=turns)


INTERRUPTED = event("turn_aborted", turn_id="t", reason="interrupted", duration_ms=900)
START = meta() + item("developer", "You are Codex.") + SURROUNDINGS
WORK = (
    START
    + asked("paginate the orders endpoint")
    + answered("I'll look at the handler first.", done=False)
    + called("cat orders.go")
    + answered("It loads everything, so I will add a cursor.", done=False)
    + answered("The endpoint pages by cursor now.")
    + asked("by offset, please")
    + answered("Cursors are better, I kept them.")
    + asked("and a test")
    + answered("A test for cursors.")
    + rolled_back(2)
    + asked("page by offset and limit, no cursor")
    + answered("Offset and limit it is.")
    + asked("document it")
    + answered("I'm rewriting the whole README.", done=False)
    + INTERRUPTED
    + item("user", "<turn_aborted>\n  <turn_id>t</turn_id>\n  <reason>interrupted</reason>\n</turn_aborted>")
    + asked("only the endpoint")
    + answered("One paragraph on the endpoint.")
    + asked("good")
    + answered("Anything else?")
    + record("compacted", message="", replacement_history=[])
    + asked("no")
)


def read(path, seen=None):
    return read_by(SOURCE, path, seen)


def mined(tmp_path, text):
    nodes, edges, _ = read(write(tmp_path / NAME, text))
    return nodes, edges


def texts(nodes, kind):
    return [node["text"] for node in nodes.values() if node["kind"] == kind]


def ends(nodes, edges, kind):
    """(text of the source, text of the target) of all edges of a kind."""
    return {(nodes[s]["text"], nodes[t]["text"]) for s, t, found in edges if found == kind}


def outcomes(nodes, edges):
    """(signal, how, of what text)."""
    return {(nodes[t]["signal"], kind, nodes[s]["text"]) for s, t, kind in edges if nodes[t]["kind"] == "outcome"}


def graph(nodes, edges):
    return MemoryGraph.from_records(
        nodes.values(), [{"source": s, "target": t, "kind": EdgeKind(kind)} for s, t, kind in sorted(edges)]
    )
