"""The command `reflexd`: a table of names, each loaded when it is called, so that `reflexd status` stays quick."""

import errno
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import click

from daemon import __version__

COMMANDS = {
    "init": "daemon.commands.setup:init",
    "model": "daemon.commands.setup:model",
    "source": "daemon.commands.setup:source",
    "once": "daemon.commands.work:once",
    "run": "daemon.commands.work:run",
    "mine": "daemon.commands.offline:mine",
    "extract": "daemon.commands.offline:extract",
    "evaluate": "daemon.commands.offline:evaluate",
    "behaviours": "daemon.commands.behaviours:behaviours",
    "pairs": "daemon.commands.look:pairs",
    "pair": "daemon.commands.pair:pair",
    "vectors": "daemon.commands.look:vectors",
    "show": "daemon.commands.look:show",
    "why": "daemon.commands.why:why",
    "diff": "daemon.commands.diff:diff",
    "report": "daemon.commands.report:report",
    "compare": "daemon.commands.compare:compare",
    "history": "daemon.commands.look:history",
    "queue": "daemon.commands.look:queue",
    "active": "daemon.commands.look:active",
    "status": "daemon.commands.status:status",
    "approve": "daemon.commands.act:approve",
    "cancel": "daemon.commands.act:cancel",
    "retry": "daemon.commands.act:retry",
    "on": "daemon.commands.act:on",
    "off": "daemon.commands.act:off",
    "dose": "daemon.commands.act:dose",
    "combine": "daemon.commands.combine:combine",
    "export": "daemon.commands.tools:export",
    "record": "daemon.commands.record:record",
    "mcp": "daemon.commands.record:mcp",
    "doctor": "daemon.commands.doctor:doctor",
    "sql": "daemon.commands.tools:sql",
    "install-service": "daemon.commands.tools:install_service",
}


class LazyGroup(click.Group):
    """A group whose commands are imported when asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """In the order of the table: the order in which a newcomer meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command of that name, or None."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command


_HELP = """Learn from what an agent's human accepted and rejected: pairs, vectors, proof, serving, weights.

\b
First:   reflexd init --demo && reflexd once
Watch:   reflexd source add claude-code ~/.claude/projects
Look:    reflexd status | report | behaviours | pairs B | why B@N | queue | history | sql "SELECT * FROM queue"
Decide:  reflexd approve JOB | on B | off B | dose B X | combine | pair drop ID
"""


@click.group(
    cls=LazyGroup, help=_HELP, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.option("--config", type=click.Path(path_type=Path), help="The configuration file (default: ./reflexd.toml).")
@click.version_option(__version__, prog_name="reflexd")
@click.pass_context
def cli(ctx: click.Context, config: Path | None) -> None:
    """The command `reflexd`."""
    ctx.obj = config


def run_command(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; an error is one line on standard error."""
    try:
        result = cli.main(args=arguments, prog_name="reflexd", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("reflexd: stopped; `reflexd once` goes on from here", err=True)
        return 130
    except BrokenPipeError:
        return 0
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        click.echo(f"reflexd: {where}{error.strerror or error}{_advice(error.errno)}", err=True)
        return 74
    except Exception as error:
        code = getattr(error, "exit_code", None)
        if code is None:
            raise
        click.echo(f"reflexd: {error}", err=True)
        return int(code)


def _advice(number: int | None) -> str:
    return {
        errno.ENOSPC: "; the disk is full: make room and run the command again, nothing was lost",
        errno.EROFS: "; the folder is on a read-only file system",
        errno.EACCES: "; check the permissions of the folder",
    }.get(number or 0, "")


def main() -> None:
    """Entry point of the `reflexd` script."""
    sys.exit(run_command())
