"""LangGraph's store, where agents (and langmem) keep what they remember across threads: (prefix, key, value JSON).

Rows of a namespace for rules (`preferences`, `instructions`), or whose words say what somebody wants, are preferences;
the others are notes. All rows are one unit, told whole: a memory that the agent deleted is gone.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from graph.records import Problem, plain
from graph.sources.base import Batch, Cursor
from graph.sources.preferences import is_rule_name, states_wish
from graph.sources.telling import Telling, bounded

STORE_UNIT = "#store"
"""What follows the name of a database in the name of its store's unit."""

MAX_ROWS = 20_000

_TEXT_KEYS = (
    "content",
    "text",
    "memory",
    "value",
    "rule",
    "preference",
    "instructions",
    "fact",
    "observation",
    "summary",
)
_MAX_DEPTH = 6

Query = Callable[..., list[tuple[Any, ...]]]


def read_store(
    query: Query, file: Path, unit: str, scope: str, cursor: Cursor | None, max_bytes: int, max_rows: int = MAX_ROWS
) -> Iterator[Batch]:
    """The rows as one whole batch, nothing if they are as `cursor` saw them. Of too many the latest are kept."""
    look = query("SELECT count(*), max(rowid), max(updated_at), total(length(value)) FROM store")[0]
    seen = [plain(one) for one in look]
    if cursor is not None and cursor.get("rows") == seen:
        return
    told, problems, left = Telling(str(file)), [], max_bytes
    below: float | int = math.inf
    rows_left = max_rows
    while rows_left > 0 and left > 0:
        page = query(
            "SELECT rowid, prefix, key, updated_at, substr(value, 1, 1000000) FROM store WHERE rowid < ?"
            " ORDER BY rowid DESC LIMIT ?",
            2**63 - 1 if below == math.inf else below,
            min(rows_left, 500),
        )
        if not page:
            break
        for rowid, prefix, key, updated, value in page:
            below, rows_left = rowid, rows_left - 1
            left -= len(value or "")
            problem = _tell_item(told, plain(prefix), plain(key), updated, value)
            problems += [Problem(f"{file}: store {prefix}/{key}"[:300], problem)] if problem else []
    if rows_left <= 0 or left <= 0:
        kept = max_rows - rows_left
        problems.append(Problem(str(file), f"store: {look[0]:,} rows, of which the latest {kept:,} are read"))
    nodes = tuple(told.nodes.values())
    yield Batch(unit + STORE_UNIT, scope, {"rows": seen}, nodes, tuple(told.edges), True, tuple(problems))


def _tell_item(told: Telling, prefix: str, key: str, updated: object, value: bytes | str | None) -> str:
    """One row; gives what is wrong with it, or ""."""
    try:
        content = orjson.loads(value or "null")
    except orjson.JSONDecodeError:
        return "its value is no JSON; left out"
    text = _text_of(content, 0)
    if not text:
        return ""
    node, kind = f"item:{prefix}/{key}", _kind_of(content)
    ts = updated if isinstance(updated, str | int | float) else None
    if is_rule_name(prefix) or is_rule_name(key) or is_rule_name(kind) or states_wish(text, of_person=True):
        told.preference(node, text, ts, None, native_id=f"{prefix}/{key}", namespace=prefix)
    else:
        told.note(node, text, ts, None, native_id=f"{prefix}/{key}", namespace=prefix)
    return ""


def _kind_of(content: Any) -> str:
    found = content.get("kind", content.get("type")) if isinstance(content, Mapping) else None
    return plain(found) if isinstance(found, str) else ""


def _text_of(content: Any, depth: int) -> str:
    """What a value says: its text, or that of the field which holds one (langmem: {"kind", "content": {"content"}})."""
    if isinstance(content, str):
        return plain(content).strip()
    if isinstance(content, Mapping) and depth < _MAX_DEPTH:
        for key in _TEXT_KEYS:
            if content.get(key) and (text := _text_of(content[key], depth + 1)):
                return text
    if isinstance(content, Mapping | list) and content and depth == 0:
        return bounded(orjson.dumps(content, option=orjson.OPT_SORT_KEYS).decode())
    return ""
