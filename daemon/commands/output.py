"""How commands speak: a table for people, JSON for programs, the same rows in both."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

Row = Mapping[str, object]

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    import orjson

    click.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS).decode())


def print_rows(rows: Sequence[Row], as_json: bool, *, empty: str) -> None:
    """The rows as a table or as a JSON array; `empty` is said when there are none."""
    if as_json:
        print_json([dict(row) for row in rows])
        return
    if not rows:
        click.echo(empty)
        return
    _console().print(_table(rows))


def print_fields(fields: Row, as_json: bool) -> None:
    """One thing: a name and a value on each line."""
    if as_json:
        print_json(dict(fields))
        return
    width = max(map(len, fields), default=0)
    for name, value in fields.items():
        click.echo(f"{name:<{width}}  {_text(value)}")


def in_a_line(value: object, characters: int = 100) -> str:
    """A text that may be long, as one short line."""
    text = " ".join(str(value).split())
    return text if len(text) <= characters else f"{text[: characters - 1]}…"


def _console() -> Any:
    import shutil
    import sys

    from rich.console import Console

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 200
    return Console(width=width, highlight=False, soft_wrap=False)


def _table(rows: Sequence[Row]) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in rows[0]:
        numeric = all(isinstance(row[name], int | float | None) for row in rows)
        table.add_column(name.replace("_", " "), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_escape(_text(value)) for value in row.values()))
    return table


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _text(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 1000 else f"{value:.0f}"
    return str(value)
