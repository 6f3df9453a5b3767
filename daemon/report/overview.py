"""The page of everything: behaviours, what waits for a person, the queue, what happened last, what is not well."""

from collections.abc import Mapping, Sequence
from typing import Any

from daemon.report.blocks import effect_bar, mark, nothing, section, state_mark, table
from daemon.report.data import Overview
from daemon.report.markup import Markup, element
from daemon.report.numbers import count, number
from daemon.report.page import document

Row = Mapping[str, Any]


def overview_page(found: Overview) -> str:
    """The whole HTML document."""
    return document(
        "overview",
        _head(found),
        _for_you(found.for_you),
        _behaviours(found.behaviours),
        _queue(found.queue),
        _waiting(found.waiting),
        _history(found.history),
        _health(found.health),
    )


def _head(found: Overview) -> Markup:
    wrong = sum(row["n"] for row in found.health)
    well = (
        mark("all is well", "good") if not wrong else mark(count(wrong, "thing is", "things are") + " not well", "bad")
    )
    model = f"for {found.model}" if found.model else "no model yet: `reflexd model add smollm2` provides one"
    served = sum(str(row["served"] or "").startswith("on") for row in found.behaviours)
    told = f"{count(len(found.behaviours), 'behaviour')}, {number(served)} switched on, {model}."
    return element(
        "header", element("div", element("h1", "reflexd"), well, class_="top"), element("p", told, class_="verdict")
    )


def _for_you(rows: Sequence[Row]) -> Markup | None:
    if not rows:
        return None
    told = [(row["what"], element("code", row["how"])) for row in rows]
    return section("Waits for you", None, table(("what", "how"), told, "Waits for you"))


def _behaviours(rows: Sequence[Row]) -> Markup:
    if not rows:
        return section("Behaviours", None, nothing("None yet; `reflexd source add` and `reflexd once` find them."))
    most = max((row["effect_high"] or row["effect"] or 0.0 for row in rows), default=1.0) or 1.0
    told = [
        (
            row["behaviour"],
            effect_bar(row["effect"], row["effect_low"], row["effect_high"], most),
            _state(row),
            row["served"],
            number(row["pairs"]),
            number(row["sessions"]),
            row["vector"],
            row["in_weights"],
        )
        for row in rows
    ]
    heads = (
        "behaviour",
        "effect on its test pairs",
        "state",
        "served",
        "pairs",
        "sessions",
        "newest",
        "in the weights",
    )
    return section(
        "Behaviours",
        "Pairs and sessions that are in use now; the newest version of each.",
        table(heads, told, "Behaviours"),
    )


def _state(row: Row) -> Markup | None:
    if not row["state"]:
        return None
    return element("span", state_mark(row["state"]), " ", mark("stale", "bad") if row["stale"] else None)


def _queue(rows: Sequence[Row]) -> Markup:
    if not rows:
        return section("Training queue", None, nothing("Empty."))
    told = [
        (f"job {row['job']}", row["vector"], state_mark(row["state"]), row["attempt"], row["since"], row["error"])
        for row in rows
    ]
    return section(
        "Training queue", None, table(("job", "vector", "state", "attempt", "since", "error"), told, "Queue")
    )


def _waiting(rows: Sequence[Row]) -> Markup | None:
    if not rows:
        return None
    told = [
        (
            row["behaviour"],
            row["since"],
            number(row["new_training"]),
            number(row["gone_training"]),
            number(row["held_out_changed"]),
        )
        for row in rows
    ]
    heads = ("behaviour", "since", "new training pairs", "gone", "held-out changed")
    return section(
        "New evidence", "What came and went since the newest version of each.", table(heads, told, "New evidence")
    )


def _history(rows: Sequence[Row]) -> Markup:
    if not rows:
        return section("Lately", None, nothing("Nothing has happened yet."))
    told = [(str(row["at"])[:16], row["subject"], row["what"], _moved(row), row["actor"]) for row in rows]
    lead = f"The last {count(len(rows), 'event')}, newest first; `reflexd history` has all."
    return section("Lately", lead, table(("at", "of", "what", "", "by"), told, "History"))


def _moved(row: Row) -> str:
    return f"{row['was']} → {row['now']}" if row["was"] else str(row["now"])


def _health(rows: Sequence[Row]) -> Markup:
    told = [
        (row["what"], number(row["n"]), mark("well", "good") if not row["n"] else mark("look", "bad")) for row in rows
    ]
    return section(
        "Health", "Each should say 0; `reflexd doctor` says what to do.", table(("what", "n", ""), told, "Health")
    )
