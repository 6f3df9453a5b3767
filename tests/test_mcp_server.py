"""reflexd as an agent's tools: what is offered, what is recorded, what is answered."""

import builtins
import os
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from daemon.commands.record import mcp as mcp_command
from daemon.errors import UnavailableError
from daemon.mcp_server import Desk, make_server, serve, tools
from daemon.recording import EventLog
from graph.events import EVENTS
from graph.sources.events import EventsSource
from store.engine import Store
from store.evidence import BehaviourRow, save_behaviours
from store.reader import open_reader

ROOT = Path(__file__).parent.parent
RECORDERS = ("record_direction", "record_response", "record_outcome", "record_preference")
LOOKS = ("active_behaviours", "behaviour_status")


@pytest.fixture
def desk(tmp_path):
    return Desk(EventLog(tmp_path / "events.jsonl"))


@pytest.fixture
def database(tmp_path):
    lecturing = BehaviourRow("lecturing", "answers / lectures", "", "", (), (), "1", "graph")
    with Store.open(tmp_path / "reflexd.db") as store, store.write() as conn:
        save_behaviours(conn, [lecturing], 1)
    return tmp_path / "reflexd.db"


def nodes(path):
    (batch,) = EventsSource().read(path, {})
    assert batch.problems == ()
    assert batch.unknown == {}
    return {node["id"]: node for node in batch.nodes}, batch.edges


def test_every_tool_says_when_to_call_it_and_what_each_argument_is():
    offered = {tool["name"]: tool for tool in tools()}
    assert tuple(offered) == (*RECORDERS, *LOOKS)
    for name, tool in offered.items():
        assert len(tool["description"]) > 80
        assert tool["annotations"]["readOnlyHint"] is (name in LOOKS)
        assert tool["inputSchema"]["additionalProperties"] is False
        for argument, schema in tool["inputSchema"]["properties"].items():
            assert schema["description"], (name, argument)
            assert "null" not in str(schema)
    for name in RECORDERS:
        known = EVENTS[name.removeprefix("record_")].model_fields.keys() - {"event"}
        assert offered[name]["inputSchema"]["properties"].keys() == known


def test_an_agent_need_not_name_its_session(desk):
    required = {tool["name"]: tool["inputSchema"].get("required") for tool in tools()}
    assert required["record_direction"] == ["text"]
    assert required["record_response"] == ["text", "direction"]
    asked = desk.call("record_direction", {"text": "Look first."})
    said = desk.call("record_response", {"text": "Looking.", "direction": asked["id"], "session": None})
    assert asked["session"] == said["session"] == desk.session
    assert desk.call("record_direction", {"text": "x", "session": "own"})["session"] == "own"
    assert Desk(desk.log).session != desk.session


def test_the_first_record_has_its_log_watched(desk, database, capsys):
    desk.database = database
    for _ in range(2):
        desk.call("record_preference", {"text": "No essays."})
    with open_reader(database) as reader:
        assert [row["path"] for row in reader.rows("SELECT path FROM source")] == [str(desk.log.path)]
    told = capsys.readouterr()
    assert (told.out, told.err.count("now watching")) == ("", 1)


def test_the_sdk_is_asked_for_by_name_when_it_is_missing(desk, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.partition(".")[0] in {"mcp", "mcp_types"}:
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UnavailableError, match=r"pip install 'reflexd\[mcp\]'") as missing:
        make_server(desk)
    assert missing.value.exit_code == 69
    with pytest.raises(UnavailableError):
        serve(desk.log.path, None)


def test_the_command_helps():
    assert mcp_command.help.endswith("what is served.")


# ---------------------------------------------------------------- over the protocol


def session(server, act, mode="auto"):
    """Runs `act(client)` with the SDK's client connected to a server, or to the process that parameters start."""
    anyio = pytest.importorskip("anyio")
    client_class = pytest.importorskip("mcp").Client

    async def run():
        async with client_class(server, mode=mode) as client:
            return await act(client)

    return anyio.run(run)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_a_conversation_over_mcp_is_read_back(desk, mode):
    pytest.importorskip("mcp")

    async def talk(client):
        listed = await client.list_tools()
        asked = await client.call_tool("record_direction", {"text": "Use the vendored parser."})
        said = await client.call_tool(
            "record_response",
            {"text": "I'd write our own.", "direction": asked.structured_content["id"], "proposal": "parser.py"},
        )
        ended = await client.call_tool(
            "record_outcome",
            {"response": said.structured_content["id"], "polarity": "rejected", "signal": "tool_rejected"},
        )
        wish = await client.call_tool("record_preference", {"text": "Use what is there.", "prefers": "listening"})
        return listed.tools, [result.structured_content for result in (asked, said, ended, wish)]

    offered, (asked, said, ended, wish) = session(make_server(desk), talk, mode)
    assert [tool.name for tool in offered] == [*RECORDERS, *LOOKS]
    found, edges = nodes(desk.log.path)
    assert found[f"direction:{asked['id']}"]["text"] == "Use the vendored parser."
    assert found[f"proposal:{said['id']}"]["text"] == "parser.py"
    assert found[f"outcome:{ended['id']}"]["signal"] == "tool_rejected"
    assert f"session:{asked['session']}" in found
    kinds = {(edge["source"].partition(":")[0], edge["kind"]) for edge in edges}
    assert {("response", "responds_to"), ("response", "rejected_by"), ("preference", "prefers")} <= kinds
    assert wish["recorded"] == "preference"


@pytest.mark.parametrize(
    ("tool", "arguments", "message"),
    [
        ("record_direction", {"text": "x", "mood": "cross"}, "direction: mood: unknown key"),
        ("record_direction", {}, "direction: text: Field required"),
        ("record_direction", {"text": "x", "event": "outcome"}, "direction: event: unknown key"),
        ("record_outcome", {"response": "r", "polarity": "corrected"}, "outcome: correction: missing"),
        ("record_mood", {"text": "x"}, "record_mood: no such tool; there are record_direction"),
        ("active_behaviours", {}, "no configuration, so there is no store"),
        ("behaviour_status", {"behaviour": "x"}, "behaviour: unknown argument; this tool takes none"),
    ],
)
def test_what_is_wrong_is_told_to_the_agent(desk, tool, arguments, message):
    pytest.importorskip("mcp")

    async def call(client):
        return await client.call_tool(tool, arguments)

    result = session(make_server(desk), call)
    assert result.is_error is True
    assert result.content[0].text.startswith(message)
    assert not desk.log.path.exists()


def test_an_agent_sees_what_is_served_and_why_something_is_not(desk, database):
    pytest.importorskip("mcp")
    desk.database = database

    async def look(client):
        return [(await client.call_tool(name, {})).structured_content for name in LOOKS]

    served, standing = session(make_server(desk), look)
    assert served == {"behaviours": []}
    (row,) = (row for row in standing["behaviours"] if row["behaviour"] == "lecturing")
    assert (row["pairs"], row["vector"], row["reason"], row["served"]) == (0, None, None, None)


START = """
import sys
from daemon import cli
cli.COMMANDS.setdefault("mcp", "daemon.commands.record:mcp")
sys.exit(cli.run_command(["mcp", *sys.argv[1:]]))
"""


def test_a_real_process_serves_the_sdks_client(tmp_path):
    pytest.importorskip("mcp")
    from mcp import StdioServerParameters

    log = tmp_path / "events.jsonl"
    environment = {"XDG_CONFIG_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = ["-c", START, "--log", str(log)]
    process = StdioServerParameters(command=sys.executable, args=command, env=environment, cwd=tmp_path)

    async def talk(client):
        told = await client.call_tool("record_direction", {"text": "Look first.", "id": "d1"})
        wrong = await client.call_tool("record_direction", {"text": ""})
        return client.instructions, told, wrong

    instructions, told, wrong = session(process, talk, "legacy")
    assert "record_direction" in instructions
    assert told.structured_content["id"] == "d1"
    assert wrong.is_error is True
    assert nodes(log)[0]["direction:d1"]["text"] == "Look first."


def test_nothing_but_the_protocol_stands_on_standard_output(tmp_path, database):
    pytest.importorskip("mcp")
    (tmp_path / "reflexd.toml").write_text('state_dir = "."\n')
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    sent = [
        {"id": 1, "method": "initialize", "params": hello},
        {"method": "notifications/initialized"},
        {"id": 2, "method": "tools/call", "params": {"name": "record_preference", "arguments": {"text": "No essays."}}},
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", START], cwd=tmp_path, env=environment, **pipes) as process:
        for message in sent:
            process.stdin.write(orjson.dumps({"jsonrpc": "2.0", **message}) + b"\n")
            process.stdin.flush()
        answers = [orjson.loads(process.stdout.readline()) for message in sent if "id" in message]
        rest, errors = process.communicate(timeout=30)
    assert [answer["id"] for answer in answers] == [1, 2]
    assert answers[1]["result"]["structuredContent"]["recorded"] == "preference"
    assert (rest, process.returncode) == (b"", 0)
    assert b"now watching" in errors
