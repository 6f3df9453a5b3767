"""What came of it: one row a behaviour, from evidence to weights, read from the store."""

from pathlib import Path
from typing import Any

import orjson

from daemon.home import Home
from store.reader import Reader, open_reader

_QUERY = """
SELECT v.behaviour, v.behaviour || '@' || v.version AS vector, v.state, v.reason, v.layer, v.dose, n.report AS proof,
       j.state AS job, j.result, j.error
FROM vector_version v
LEFT JOIN verification n ON n.vector_id = v.id
LEFT JOIN training_job j ON j.id = (SELECT max(id) FROM training_job WHERE vector_id = v.id)
WHERE v.id IN (SELECT max(id) FROM vector_version GROUP BY behaviour)
ORDER BY v.behaviour
"""


def read_summary(home: Home) -> list[dict[str, Any]]:
    """The newest version of each behaviour with its numbers; effects in nats a token on held-out pairs."""
    with open_reader(home.database) as reader:
        return [_row(found) for found in reader.rows(_QUERY)] or _waiting(reader)


def read_failing_sources(home: Home) -> list[tuple[str, str, str]]:
    """Kind, path and error of each watched source whose last reading failed; what it had said before is kept."""
    sql = "SELECT kind, path, last_error FROM source WHERE removed_at IS NULL AND last_error IS NOT NULL ORDER BY id"
    with open_reader(home.database) as reader:
        return [(str(row["kind"]), str(row["path"]), str(row["last_error"])) for row in reader.rows(sql)]


def _waiting(reader: Reader) -> list[dict[str, Any]]:
    return [
        {"behaviour": row["name"], "vector": None, "state": "no vector yet"}
        for row in reader.rows("SELECT name FROM behaviour")
    ]


def _row(found: dict[str, Any]) -> dict[str, Any]:
    proof = orjson.loads(found.pop("proof") or "{}")
    result = orjson.loads(found.pop("result") or "{}")
    rows = {row["variant"]: row for row in result.get("rows", [])}
    chosen = rows.get(result.get("selected", ""), {})
    hook, control = rows.get("hook", {}), rows.get("control", {})
    side = proof.get("side_effects") or {}
    return found | {
        "before": proof.get("base_gap"),
        "with_vector": proof.get("steered_gap"),
        "effect": proof.get("effect"),
        "effect_interval": proof.get("effect_interval"),
        "strongest_baseline": max((null["effect"] for null in proof.get("nulls", [])), default=None),
        "baselines": len(proof.get("nulls", [])),
        "neutral_kl": side.get("kl_mean"),
        "trained_base": rows.get("base", {}).get("gap"),
        "after_training": chosen.get("gap"),
        "effect_ratio": chosen.get("effect_ratio"),
        "effect_ratio_interval": chosen.get("effect_ratio_interval"),
        "neutral_kl_ratio": _ratio(chosen.get("neutral_kl_mean"), hook.get("neutral_kl_mean")),
        "control_ratio": control.get("effect_ratio"),
        "carried_by": result.get("selected"),
        "gates_missed": [gate["name"] for gate in result.get("gates", []) if gate["passed"] is False],
    }


def _ratio(value: float | None, whole: float | None) -> float | None:
    return value / whole if value is not None and whole else None


def render_summary(summary: list[dict[str, Any]], home: Home) -> str:
    """The table a person sees at the end, and where to look next."""
    lines = ["", "log-probability gap, accepted − rejected, nats a token, on directions never used for extraction:", ""]
    lines += _table(summary)
    for row in summary:
        lines += _remarks(row)
    lines += ["", *_where_next(home, summary)]
    return "\n".join(lines)


_COLUMNS = (
    ("behaviour", "vector", "{}"),
    ("before", "before", "{:+.2f}"),
    ("with vector", "with_vector", "{:+.2f}"),
    ("after training, no vector", "after_training", "{:+.2f}"),
    ("effect kept", "effect_ratio", "{:.2f}"),
    ("dose", "dose", "{:.2f}"),
    ("layer", "layer", "{}"),
    ("state", "state", "{}"),
)


def _table(summary: list[dict[str, Any]]) -> list[str]:
    cells = [[title for title, _, _ in _COLUMNS]]
    for row in summary:
        row = row | {"vector": row["vector"] or row["behaviour"]}
        cells.append([form.format(row[key]) if row.get(key) is not None else "–" for _, key, form in _COLUMNS])
    widths = [max(len(line[i]) for line in cells) for i in range(len(_COLUMNS))]
    texts = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    return [texts[0], "─" * max(map(len, texts)), *texts[1:]]


def _remarks(row: dict[str, Any]) -> list[str]:
    name = row["vector"] or row["behaviour"]
    said = [f"  {name}: {text}" for text in (row.get("reason"), row.get("error")) if text]
    if row.get("effect") is not None and row.get("baselines"):
        low, high = row["effect_interval"]
        said.append(
            f"  {name}: effect {row['effect']:+.2f} [{low:+.2f}, {high:+.2f}], strongest of {row['baselines']} "
            f"baselines {row['strongest_baseline']:+.2f}"
        )
    if row.get("effect_ratio") is not None:
        low, high = row["effect_ratio_interval"]
        control = "not run" if row["control_ratio"] is None else f"{row['control_ratio']:.2f}"
        said.append(
            f"  {name}: weights keep {row['effect_ratio']:.2f} [{low:.2f}, {high:.2f}] of it at "
            f"{row['neutral_kl_ratio']:.2f} of the vector's neutral KL; a random vector trained alike: {control}; "
            f"carried by {row['carried_by']}"
        )
        said.append(f"  {name}: the weights it was trained into stood at {row['trained_base']:+.2f} before")
    if row.get("gates_missed"):
        said.append(f"  {name}: gates missed: {', '.join(row['gates_missed'])}")
    return said


def _where_next(home: Home, summary: list[dict[str, Any]]) -> list[str]:
    reflexd = "reflexd" if home.config.parent == Path.cwd() else f"reflexd --config {_short(home.config)}"
    lines = []
    if any(row.get("job") == "awaiting_approval" for row in summary):
        lines.append(f"waiting for you:    {reflexd} approve --all   then   {reflexd} once")
    lines += [
        f'the queue, in SQL:  {reflexd} sql "SELECT * FROM queue"      (or sqlite3 {_short(home.database)})',
        f'the whole story:    {reflexd} sql "SELECT * FROM history"',
        f"one vector's proof: {reflexd} show {next((r['vector'] for r in summary if r['vector']), 'B@1')}",
        f"what is served:     {reflexd} active      weights to serve: {reflexd} model current",
    ]
    return lines


def _short(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
