"""Recording: an agent, or a script beside it, says what was asked, what it said, and how the human took it.

record direction TEXT ─▶ id d,  record response TEXT --direction d ─▶ id r,  record outcome r accepted
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from daemon.commands.opened import home_of
from daemon.commands.output import print_json
from daemon.errors import DataError, NoInputError
from daemon.home import Home

_POLARITIES = click.Choice(["accepted", "rejected", "corrected", "neutral"])

_log_option = click.option(
    "--log", type=click.Path(path_type=Path), help="The event log (default: events.jsonl in the state folder)."
)
_json_option = click.option("--json", "as_json", is_flag=True, help="Print what was recorded, and where, as JSON.")
_fsync_option = click.option(
    "--no-fsync", is_flag=True, help="Do not wait for the disk: a power cut may lose the last events."
)
_id_option = click.option("--id", "own_id", help="Its id, by which later events refer to it (default: a new one).")
_weight_option = click.option("--weight", type=float, help="How sure it is, 0 to 1 (default: 1).")


def _appends(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that every recording has."""
    for option in (
        _json_option,
        _fsync_option,
        _log_option,
        click.option("--ts", help="When: ISO 8601, or UTC milliseconds (default: now)."),
    ):
        command = option(command)
    return click.pass_context(command)


@click.group()
def record() -> None:
    """Record directions, responses and outcomes in a log that reflexd reads; prints the id of what was recorded.

    A TEXT of - is read from standard input.
    """


@record.command("direction")
@click.argument("text")
@click.option("--session", required=True, help="The sitting it belongs to.")
@click.option("--follows", help="Id of the response that the human had before.")
@_id_option
@_appends
def direction(ctx: click.Context, text: str, **options: Any) -> None:
    """Record what the human asked for: TEXT, in their own words."""
    _record(ctx, "direction", options, text=_text(text))


@record.command("response")
@click.argument("text")
@click.option("--session", required=True, help="The sitting it belongs to.")
@click.option("--direction", required=True, help="Id of the direction that it answers.")
@click.option("--proposal", help="The plan or tool call that it proposes.")
@_id_option
@_appends
def response(ctx: click.Context, text: str, **options: Any) -> None:
    """Record what the agent said: TEXT, unchanged."""
    _record(ctx, "response", options, text=_text(text))


@record.command("outcome")
@click.argument("response")
@click.argument("polarity", type=_POLARITIES)
@click.argument("words", required=False)
@click.option("--correction", help="What the human wants instead, in their words.")
@click.option("--signal", help="How it is known, for example human_turn or tool_rejected (default: recorded).")
@_weight_option
@_id_option
@_appends
def outcome(ctx: click.Context, words: str | None, **options: Any) -> None:
    """Record how the human took RESPONSE (an id), and their WORDS if they said something."""
    _record(ctx, "outcome", options, words=None if words is None else _text(words))


@record.command("preference")
@click.argument("text")
@click.option("--prefers", help="Name of a behaviour that the human wants.")
@click.option("--avoids", help="Name of a behaviour that the human does not want.")
@_id_option
@_appends
def preference(ctx: click.Context, text: str, **options: Any) -> None:
    """Record a lasting wish of the human: TEXT."""
    _record(ctx, "preference", options, text=_text(text))


@record.command("pattern")
@click.argument("name")
@click.option("--description", help="Both poles in a line.")
@click.option("--positive", help="The pole that is wanted.")
@click.option("--negative", help="The pole that is not.")
@click.option("--positive-cue", "positive_cues", multiple=True, help="A regular expression of the wanted pole.")
@click.option("--negative-cue", "negative_cues", multiple=True, help="A regular expression of the other pole.")
@_appends
def pattern(ctx: click.Context, **options: Any) -> None:
    """Record a behaviour of your own, NAME, with its two poles."""
    _record(ctx, "pattern", options)


@record.command("label")
@click.argument("response")
@click.argument("behaviour")
@click.argument("pole", type=click.Choice(["positive", "negative"]))
@_weight_option
@_appends
def label(ctx: click.Context, **options: Any) -> None:
    """Record which POLE of BEHAVIOUR a RESPONSE (an id) shows."""
    _record(ctx, "label", options)


@record.command("event")
@click.argument("lines", nargs=-1, required=True)
@_log_option
@_fsync_option
@_json_option
@click.pass_context
def event(ctx: click.Context, lines: tuple[str, ...], log: Path | None, no_fsync: bool, as_json: bool) -> None:
    """Record events given as JSON LINES, or - for standard input: all of them, or none if one is wrong."""
    import orjson

    texts = [line for text in lines for line in _text(text).split("\n") if line.strip()]
    try:
        raws = [orjson.loads(line) for line in texts]
    except orjson.JSONDecodeError as error:
        raise DataError(f"event: not JSON ({error.msg}): {error.doc[:60]!r}") from None
    _append(ctx, raws, log, not no_fsync, as_json)


def _record(ctx: click.Context, kind: str, options: dict[str, Any], **fields: object) -> None:
    log, no_fsync, as_json = (options.pop(name) for name in ("log", "no_fsync", "as_json"))
    ts, own_id = options.pop("ts"), options.pop("own_id", None)
    fields |= {"ts": int(ts) if ts is not None and ts.isdecimal() else ts, "id": own_id}
    said = {key: value for key, value in (options | fields).items() if value is not None}
    _append(ctx, [{"event": kind, **said}], log, not no_fsync, as_json)


def _append(ctx: click.Context, raws: list[Any], named: Path | None, fsync: bool, as_json: bool) -> None:
    import orjson

    from daemon.recording import EventLog, reference, watch_log
    from graph.events import event_line

    path, home = log_of(ctx, named)
    log = EventLog(path, fsync=fsync)
    for recorded in log.append([log.complete(raw) for raw in raws]):
        if as_json:
            print_json({"id": reference(recorded), "log": str(path), **orjson.loads(event_line(recorded))})
        else:
            click.echo(reference(recorded))
    hint = watch_log(home.database, path) if home is not None else ""
    if hint:
        click.echo(f"reflexd: {hint}", err=True)


def log_of(ctx: click.Context, named: Path | None) -> tuple[Path, Home | None]:
    """The log that is meant, and the home if there is one: with `--log` none is needed."""
    try:
        home = home_of(ctx)
    except NoInputError:
        if named is None or ctx.find_root().obj is not None:
            raise
        return named.absolute(), None
    return (home.state / "events.jsonl" if named is None else named.absolute()), home


def _text(value: str) -> str:
    if value != "-":
        return value
    try:
        return sys.stdin.buffer.read().decode().rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise DataError(f"standard input: not UTF-8 (byte {error.start}); give the text as UTF-8") from None


@click.command()
@_log_option
@click.pass_context
def mcp(ctx: click.Context, log: Path | None) -> None:
    """Serve one agent over MCP on standard input and output: tools to record, and to see what is served."""
    from daemon.mcp_server import serve

    path, home = log_of(ctx, log)
    serve(path, None if home is None else home.database)
