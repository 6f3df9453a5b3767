"""What reading a LangGraph database tells."""

import os
from pathlib import Path

from graph.sources.base import Batch
from graph.sources.langgraph import LangGraphSource

LATER = 10**19
LOOPS = 300 * int(os.environ.get("REFLEXD_FUZZ", "1"))


def read(path: Path, seen: dict | None = None, now: int = LATER) -> list[Batch]:
    return list(LangGraphSource(now=lambda: now).read(path, seen or {}))


def union(batches: list[Batch]) -> tuple[dict, set]:
    nodes = {(batch.scope, node["id"]): node for batch in batches for node in batch.nodes}
    edges = {(batch.scope, edge["source"], edge["kind"], edge["target"]) for batch in batches for edge in batch.edges}
    return nodes, edges


def told(batches: list[Batch], kind: str) -> list[str]:
    return [node["text"] for node in union(batches)[0].values() if node["kind"] == kind]


def links(batches: list[Batch], kind: str) -> set[tuple[str, str]]:
    """Edges of a kind as (text, text), outcomes by their signal."""
    nodes, edges = union(batches)
    names = {key: node.get("signal") or node["text"] or node.get("native_id") for key, node in nodes.items()}
    return {(names[scope, begin], names.get((scope, end), end)) for scope, begin, what, end in edges if what == kind}
