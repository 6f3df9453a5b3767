"""Memory formats, one module each, behind one protocol (`graph.sources.base.MemorySource`)."""

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import cast

from graph.errors import GraphError
from graph.sources.base import DEFAULT_MAX_BYTES, MemorySource

KINDS: Mapping[str, str] = MappingProxyType(
    {
        "claude-code": "claude_code:ClaudeCodeSource",
        "codex": "codex:CodexSource",
        "aider": "aider:AiderSource",
        "events": "events:EventsSource",
        "node-link": "node_link:NodeLinkSource",
        "graphml": "graphml:GraphMLSource",
        "mcp-memory": "mcp_memory:McpMemorySource",
        "basic-memory": "basic_memory:BasicMemorySource",
        "langgraph": "langgraph:LangGraphSource",
    }
)
"""What a person calls each format, and where it is read; a module is imported when it is asked for."""


def get_source(kind: str, max_bytes: int = DEFAULT_MAX_BYTES) -> MemorySource:
    """The source of a kind, which refuses whole files larger than `max_bytes`.

    Raises:
        GraphError: No such kind; the message lists those there are.
    """
    if kind not in KINDS:
        raise GraphError(f"{kind[:40]}: unknown kind of source; known are {', '.join(sorted(KINDS))}")
    module, _, name = KINDS[kind].partition(":")
    return cast("MemorySource", getattr(import_module(f"graph.sources.{module}"), name)(max_bytes))
