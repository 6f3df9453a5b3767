"""reflexd as tools of an agent, over MCP on standard input and output: it records, and sees what is served.

The tools' schemas are those of the event log (`graph.events`), their descriptions are prompts: when to call, what to
pass. Nothing listens on the network, and nothing but the protocol is written on standard output.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import click

from daemon import __version__
from daemon.errors import ReflexdError, UnavailableError, UsageError
from daemon.recording import EventLog, reference, watch_log
from graph.errors import GraphError
from graph.events import event_schema
from store.errors import StoreError

if TYPE_CHECKING:
    from mcp.server import Server

INSTRUCTIONS = """\
reflexd learns, on this machine, which of your habits your human wants and which they do not, from what really happened.
Record as you go; each tool gives an id that the next one needs.
1. The human says something: record_direction, their words unchanged; `follows` is the id of your response before it.
2. You have answered: record_response, your words unchanged, with the id of the direction.
3. Something outside the conversation says how it was taken (a tool call was refused, a change undone, a plan approved):
   record_outcome. What the human merely says next is read from the direction of step 1.
4. The human states a lasting wish: record_preference.
Record rejections of yourself as faithfully as praise. Never record secrets, and never invent words.
"""


@dataclass(frozen=True)
class _Tool:
    """What an agent is offered. `event` is the kind that it records, `sql` what it looks up; one of the two is ""."""

    name: str
    description: str
    event: str = ""
    sql: str = ""


_TOOLS = (
    _Tool(
        "record_direction",
        "Record what the human has just asked for or told you, word for word. Call it once at the start of each of "
        "their turns, also when they only correct or praise you. Pass `follows`, the id that record_response gave you "
        "for your previous response: how the human took it is learnt from it. Gives the id to pass as `direction`.",
        event="direction",
    ),
    _Tool(
        "record_response",
        "Record what you answered, word for word, when you have answered. `direction` is the id that record_direction "
        "gave you; after a correction, the id of the direction that you got wrong at first. Pass a plan or tool call "
        "that you proposed as `proposal`. Gives the id to pass as `follows` or `response`.",
        event="response",
    ),
    _Tool(
        "record_outcome",
        "Record how a response of yours ended, when something other than the human's next words shows it: a tool call "
        "was refused (signal tool_rejected, with a reason tool_rejected_with_reason), a change was undone (undo) or "
        "edited (edited), a plan approved (plan_approved). `response` is the id that record_response gave you. Do not "
        "guess: no call is better than a wrong one.",
        event="outcome",
    ),
    _Tool(
        "record_preference",
        "Record a lasting wish of the human, one that holds beyond this conversation, in their words. Not for what "
        "they want done now: that is a direction.",
        event="preference",
    ),
    _Tool(
        "active_behaviours",
        "Which learnt behaviours are switched on in the model that you run on right now, and how strongly. Takes no "
        "arguments and changes nothing. Call it when the human asks why you behave as you do, or what was learnt.",
        sql="SELECT behaviour, vector, enabled, dose, state, since FROM serving",
    ),
    _Tool(
        "behaviour_status",
        "For every behaviour that reflexd knows: how much evidence there is, its newest vector, and, where it is not "
        "served, the reason why not. Takes no arguments and changes nothing. Call it when the human asks what is being "
        "learnt, or why something was not.",
        sql="SELECT b.behaviour, b.description, b.pairs, b.sessions, b.vector, b.state, v.reason, b.effect, b.served, "
        "b.in_weights FROM behaviours b LEFT JOIN vectors v ON v.vector = b.vector",
    ),
)
_BY_NAME = {tool.name: tool for tool in _TOOLS}
_SITTING = ("direction", "response")


@dataclass
class Desk:
    """What the tools do, without the protocol. `database` is None where there is no configuration.

    `session` stands for this connection: what an agent records without naming a session belongs to it.
    """

    log: EventLog
    database: Path | None = None
    session: str = field(default_factory=lambda: str(uuid4()))
    _watched: bool = False

    def call(self, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The result of a tool.

        Raises:
            ReflexdError: There is no such tool or argument, or the log cannot be written.
            GraphError: An argument is unknown or unusable; the message names it.
            StoreError: There is no store, or it cannot be read.
        """
        tool = _BY_NAME.get(name)
        if tool is None:
            raise UsageError(f"{name[:60]}: no such tool; there are {', '.join(_BY_NAME)}")
        return self._record(tool.event, arguments) if tool.event else self._look(tool.sql, arguments)

    def _record(self, event: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        if "event" in arguments:
            raise UsageError(f"{event}: event: unknown key; the tool says what is recorded")
        said = dict(arguments)
        if event in _SITTING and said.get("session") is None:
            said["session"] = self.session
        (recorded,) = self.log.append([self.log.complete(said | {"event": event})])
        self._watch()
        session = {"session": said["session"]} if event in _SITTING else {}
        return {"id": reference(recorded), "recorded": event, **session}

    def _watch(self) -> None:
        if self._watched or self.database is None:
            return
        self._watched = True
        hint = watch_log(self.database, self.log.path)
        if hint:
            click.echo(f"reflexd: {hint}", err=True)

    def _look(self, sql: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        from store.reader import open_reader

        if arguments:
            raise UsageError(f"{next(iter(arguments))[:60]}: unknown argument; this tool takes none")
        if self.database is None:
            raise UnavailableError("no configuration, so there is no store to look into; `reflexd init` makes one")
        with open_reader(self.database) as reader:
            return {"behaviours": reader.rows(sql)}


def tools() -> list[dict[str, Any]]:
    """Name, description, input schema and hints of each tool, as MCP lists them."""
    return [
        {
            "name": tool.name,
            "description": tool.description,
            "inputSchema": _arguments(tool.event) if tool.event else _NO_ARGUMENTS,
            "annotations": {"readOnlyHint": not tool.event, "destructiveHint": False, "openWorldHint": False},
        }
        for tool in _TOOLS
    ]


_NO_ARGUMENTS = {"type": "object", "properties": {}, "additionalProperties": False}


def _arguments(event: str) -> dict[str, Any]:
    """The event's schema without `event` itself, in the plain keywords that every client understands."""
    schema = event_schema(event)
    properties = {key: _plain(value) for key, value in schema["properties"].items() if key != "event"}
    required = [key for key in schema["required"] if key != "event"]
    if event in _SITTING:
        required.remove("session")
        properties["session"]["description"] += " Leave it out for the present conversation."
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    """`X or null` as X: an argument that has nothing to say is left out."""
    said = {key: value for key, value in schema.items() if key not in {"anyOf", "default"}}
    choices = [choice for choice in schema.get("anyOf", ()) if choice != {"type": "null"}]
    return said | (choices[0] if len(choices) == 1 else {"anyOf": choices} if choices else {})


def make_server(desk: Desk) -> "Server[Any]":
    """The MCP server of a desk.

    Raises:
        UnavailableError: The MCP SDK is not installed, or is older than version 2.
    """
    try:
        import mcp_types as types
        from anyio.to_thread import run_sync
        from mcp.server import Server
    except ImportError:
        raise UnavailableError("the MCP SDK (2 or newer) is not installed; `pip install 'reflexd[mcp]'`") from None
    offered = [types.Tool.model_validate(tool) for tool in tools()]

    async def list_tools(_context: object, _params: object) -> types.ListToolsResult:
        return types.ListToolsResult(tools=offered)

    async def call_tool(_context: object, params: types.CallToolRequestParams) -> types.CallToolResult:
        text, result = await run_sync(_answer, desk, params.name, params.arguments or {})
        content: list[types.ContentBlock] = [types.TextContent(type="text", text=text)]
        return types.CallToolResult(content=content, structured_content=result, is_error=result is None)

    return Server(
        "reflexd", version=__version__, instructions=INSTRUCTIONS, on_list_tools=list_tools, on_call_tool=call_tool
    )


def _answer(desk: Desk, name: str, arguments: Mapping[str, Any]) -> tuple[str, dict[str, Any] | None]:
    """The result as text and as data; what went wrong is told to the agent, which may try again: then only text."""
    import orjson

    try:
        result = desk.call(name, arguments)
    except (ReflexdError, GraphError, StoreError) as error:
        return str(error), None
    return orjson.dumps(result).decode(), result


def serve(log: Path, database: Path | None) -> None:
    """Serve one agent until it closes standard input.

    Raises:
        UnavailableError: The MCP SDK is not installed.
    """
    server = make_server(Desk(EventLog(log), database))
    import anyio
    from mcp.server.stdio import stdio_server

    async def until_closed() -> None:
        async with stdio_server() as (read, write):
            await server.run(read, write, server.create_initialization_options())

    anyio.run(until_closed)
