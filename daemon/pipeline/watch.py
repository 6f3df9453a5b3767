"""watch: read what changed in each memory source; a unit's cursor commits with the rows that it produced."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from daemon.pipeline.context import Context
from daemon.pipeline.intake import take_in
from daemon.pipeline.rejudge import rejudge
from daemon.protocol import Progress
from graph.errors import GraphError
from graph.sources import get_source
from graph.sources.base import Batch
from store.evidence import Change
from store.sources import Source, list_sources, save_read, unit_cursors

_GROUP_NODES = 1_000
_MAX_GROUP = 200
"""About how many nodes and at most how many batches share a transaction: a first look is not a thousand fsyncs."""


def watch(ctx: Context) -> bool:
    """Read every source once, after a better judge has judged again. True if anything was read anew."""
    judged = rejudge(ctx)
    with ctx.store.read() as conn:
        sources = list_sources(conn)
    changed = [_watch_one(ctx, source) for source in sources]  # each one, whatever came of the others
    return judged or any(changed)


def _watch_one(ctx: Context, source: Source) -> bool:
    """One source; a source that cannot be read stops itself and keeps what it had."""
    with ctx.store.read() as conn:
        seen = unit_cursors(conn, source.id)
    total = Change(0, 0, 0)
    problems = batches = 0
    error = None
    try:
        batch_source = get_source(source.kind, max_bytes=ctx.settings.sources.max_bytes)
        for group in _grouped(batch_source.read(Path(source.path), seen)):
            with ctx.store.write() as conn:
                change, faults = take_in(conn, source, group, ctx.now())
            total += change
            problems += len(faults)
            batches += len(group)
            ctx.on_progress(Progress(stage=f"reading {source.kind}", done=batches, total=0, note=group[-1].unit[-40:]))
            ctx.beat()
    except (GraphError, OSError) as failure:
        error = str(failure)
        ctx.say(f"source {source.kind} {source.path}: {error}")
    if batches or error != source.last_error:
        with ctx.store.write() as conn:
            save_read(conn, source.id, ctx.now(), error)
    if batches:
        _tell(ctx, source, total, problems)
    return batches > 0  # a label or a weight may have changed where no episode came or went


def _grouped(batches: Iterable[Batch]) -> Iterator[list[Batch]]:
    """Batches that are committed together."""
    group: list[Batch] = []
    for batch in batches:
        group.append(batch)
        if sum(len(each.nodes) for each in group) >= _GROUP_NODES or len(group) >= _MAX_GROUP:
            yield group
            group = []
    if group:
        yield group


def _tell(ctx: Context, source: Source, change: Change, problems: int) -> None:
    skipped = f", {problems} problems skipped" if problems else ""
    ctx.say(f"{Path(source.path).name}: {change.added} new episodes, {change.gone} gone, {change.kept} kept{skipped}")
