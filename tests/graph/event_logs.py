"""Events as an agent appends them, and what reading them tells."""

import os
from pathlib import Path

import orjson

from graph.memory import MemoryGraph
from graph.sources.events import EventsSource

ROOT = Path(__file__).parent.parent.parent
MUTATIONS = 400 * int(os.environ.get("REFLEXD_FUZZ", "1"))
TALK = (
    {"event": "direction", "id": "d1", "session": "s1", "text": "Use the vendored parser.", "ts": 1_772_438_400_000},
    {
        "event": "response",
        "id": "r1",
        "session": "s1",
        "direction": "d1",
        "text": "I'd suggest we write our own instead; it would be cleaner.",
        "proposal": "Create billing/parser.py",
        "ts": 1_772_438_401_000,
    },
    {
        "event": "outcome",
        "id": "o1",
        "response": "r1",
        "polarity": "corrected",
        "words": "No.",
        "correction": "The vendored one, please.",
        "signal": "tool_rejected_with_reason",
        "ts": "2026-03-02T08:00:02Z",
    },
    {
        "event": "response",
        "id": "r2",
        "session": "s1",
        "direction": "d1",
        "text": "Right, pulling in the vendored one.",
        "ts": 1_772_438_403_000,
    },
    {"event": "outcome", "id": "o2", "response": "r2", "polarity": "accepted", "words": "good", "weight": 0.5},
    {"event": "direction", "id": "d2", "session": "s1", "text": "Thanks. Now the invoices.", "follows": "r2"},
    {"event": "preference", "id": "p1", "text": "Small commits.", "prefers": "brevity", "avoids": "lecturing"},
    {
        "event": "pattern",
        "name": "brevity",
        "description": "answers in a line / lectures",
        "positive_cues": [r"^(yes|done)\b"],
        "negative_cues": [r"\bin general\b"],
    },
    {"event": "label", "response": "r1", "behaviour": "brevity", "pole": "negative", "weight": 0.8},
)


def lines(*events):
    return b"".join(orjson.dumps(event) + b"\n" for event in events)


def read(path, seen=None):
    return list(EventsSource().read(path, seen or {}))


def memory(*batches):
    nodes = {node["id"]: node for batch in batches for node in batch.nodes}
    return MemoryGraph.from_records(nodes.values(), [edge for batch in batches for edge in batch.edges])


def cursors(batches):
    return {batch.unit: batch.cursor for batch in batches if batch.cursor is not None}


def said(batches):
    """Everything that batches say, in one order."""
    nodes = {node["id"]: dict(node) for batch in batches for node in batch.nodes}
    edges = {orjson.dumps(edge, option=orjson.OPT_SORT_KEYS) for batch in batches for edge in batch.edges}
    unknown = {}
    for batch in batches:
        for name, count in batch.unknown.items():
            unknown[name] = unknown.get(name, 0) + count
    problems = sorted((problem.where, problem.what) for batch in batches for problem in batch.problems)
    return nodes, edges, unknown, problems
