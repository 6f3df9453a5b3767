"""A better judge of human turns judges again what is known; what the earlier one said stays in the graph."""

from collections.abc import Sequence

from sqlalchemy import Connection

from daemon.pipeline.context import Context
from daemon.pipeline.intake import HUBS, Rows, judged_rows, memory_of, save_judged
from daemon.protocol import Progress
from graph.schema import EdgeKind
from graph.turns.judge import TURNS_VERSION
from store.evidence import classifier_version, save_classifier
from store.graph import EdgeRow, edges_of_kind, neighbourhood

CLASSIFIER = "human-turns"
_PAGE = 1000
_CONTEXT = 4  # turn → response → correction → proposal → response


def rejudge(ctx: Context) -> bool:
    """Judge every human turn again if this version's judge has not yet. True if there were any.

    One transaction a page. Killed on the way it begins anew, and what is judged already is not written again.
    """
    with ctx.store.read() as conn:
        before = classifier_version(conn, CLASSIFIER)
    if before == TURNS_VERSION:
        return False
    done, after = 0, None
    while True:
        with ctx.store.write() as conn:
            page = edges_of_kind(conn, EdgeKind.FOLLOWS, after, _PAGE)
            if not page:
                save_classifier(conn, CLASSIFIER, TURNS_VERSION, ctx.now())
                break
            _judge_page(conn, page, ctx.now())
        after = page[-1].key
        done += len(page)
        ctx.on_progress(Progress(stage="judging again", done=done, total=0))
        ctx.beat()
    if before is not None:
        ctx.say(f"human turns: judged again by {TURNS_VERSION}, {done} looked at; {before} judged them before")
    return done > 0


def _judge_page(conn: Connection, page: Sequence[EdgeRow], now: int) -> None:
    """Judge the turns of a page, and bring the episodes of what they follow up to date."""
    turns = {edge.src for edge in page}
    nodes, edges = neighbourhood(conn, turns | {edge.dst for edge in page}, _CONTEXT, HUBS)
    judged = judged_rows(memory_of(Rows(tuple(nodes), tuple(edges))), turns)
    save_judged(conn, judged, turns, now)
