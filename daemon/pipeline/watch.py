"""watch: read what changed in each memory source; the cursor commits with the rows it produced."""

from pathlib import Path

from daemon.pipeline.context import Context
from graph.errors import GraphError
from graph.patterns import behaviours_in
from graph.schema import Behaviour, Episode
from graph.sources import get_source
from store.evidence import BehaviourRow, Change, EpisodeRow, LabelRow, replace_episodes, save_behaviours, save_labels
from store.sources import Source, list_sources, save_read


def watch(ctx: Context) -> bool:
    """Read every source once. True if any of them had changed."""
    with ctx.store.read() as conn:
        sources = list_sources(conn)
    changed = [_watch_one(ctx, source) for source in sources]  # each one, whatever came of the others
    return any(changed)


def _watch_one(ctx: Context, source: Source) -> bool:
    """One source; a source that cannot be read stops itself and keeps what it had."""
    try:
        reading = get_source(source.kind, max_bytes=ctx.settings.sources.max_bytes).read(
            Path(source.path), source.cursor
        )
    except (GraphError, OSError) as error:
        ctx.say(f"source {source.kind} {source.path}: {error}")
        with ctx.store.write() as conn:
            save_read(conn, source.id, source.cursor, ctx.now(), str(error))
        return False
    if not reading.changed or reading.graph is None:
        if source.last_error is not None:  # it is readable again, and says what it said before
            with ctx.store.write() as conn:
                save_read(conn, source.id, reading.cursor, ctx.now())
        return False
    episodes = reading.graph.episodes(source.kind)
    with ctx.store.write() as conn:
        change = replace_episodes(conn, source.id, [_episode_row(episode) for episode in episodes], ctx.now())
        save_labels(conn, [row for episode in episodes for row in _label_rows(episode)])
        save_behaviours(conn, [behaviour_row(b, "graph") for b in behaviours_in(reading.graph)], ctx.now())
        save_read(conn, source.id, reading.cursor, ctx.now())
    _tell(ctx, source, change, len(reading.problems))
    return bool(change.added or change.gone)


def _tell(ctx: Context, source: Source, change: Change, problems: int) -> None:
    skipped = f", {problems} problems skipped" if problems else ""
    ctx.say(f"{Path(source.path).name}: {change.added} new episodes, {change.gone} gone, {change.kept} kept{skipped}")


def _episode_row(episode: Episode) -> EpisodeRow:
    return EpisodeRow(**episode.model_dump(mode="json", exclude={"labels"}))


def _label_rows(episode: Episode) -> list[LabelRow]:
    return [LabelRow(episode_id=episode.id, **label.model_dump()) for label in episode.labels]


def behaviour_row(behaviour: Behaviour, origin: str) -> BehaviourRow:
    """The behaviour as the store keeps it."""
    return BehaviourRow(**behaviour.model_dump(), origin=origin)
