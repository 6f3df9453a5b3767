"""compare: the same behaviour from the context, from a vector, and from the weights, on the same held-out pairs."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from daemon.commands.opened import home_of, working
from daemon.commands.output import json_option, print_json, print_rows
from daemon.errors import UsageError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from daemon.pipeline.context import Context
    from daemon.protocol.compare import CompareReport, CompareRequest, CompareRow, Effect, Timing
    from store.vectors import VectorRow


@click.command()
@click.argument("behaviour")
@json_option
@click.pass_context
def compare(ctx: click.Context, behaviour: str, as_json: bool) -> None:
    """Measure BEHAVIOUR from examples in the context, from its newest proved vector, and from trained weights.

    The same held-out pairs each time: what it does, what is left of it after other talk and after the context was
    compacted, and what it costs.
    """
    from daemon.progress import display
    from daemon.protocol.compare import CompareReport

    home = home_of(ctx)
    with display(quiet=as_json) as shown, working(home, shown.on_progress, shown.say) as context:
        vector, request, why_not = _request(context, behaviour)
        report = context.ask("compare", request, CompareReport)
    told = {"vector": vector.name, "no_weights": why_not}
    if as_json:
        print_json(told | report.model_dump(mode="json"))
        return
    print_rows([_for_people(row) for row in report.rows], False, empty="")
    for line in _remarks(vector.name, why_not, report):
        click.echo(line)


def _request(context: "Context", behaviour: str) -> "tuple[VectorRow, CompareRequest, str]":
    """The newest proved version, what to measure of it, and why there are no trained weights, if there are none."""
    import orjson

    from daemon.pipeline.extract import split_pairs
    from daemon.pipeline.verify import vector_path
    from daemon.protocol import Placement
    from daemon.protocol.compare import CompareRequest
    from daemon.steering.neutral import load_neutral
    from store.models import get_model
    from store.vectors import vector_pairs, verification

    with context.store.read() as conn:
        vector = _newest_proved(conn, behaviour)
        sides = split_pairs(vector_pairs(conn, vector.id))
        model = get_model(conn, vector.model_digest)
        proof = orjson.loads(verification(conn, vector.id) or "{}")
        weights, why_not = _weights(conn, vector)
    assert (vector.layer, vector.dose, vector.coefficient) != (None, None, None)
    one = {"layer": vector.layer, "dose": vector.dose, "coefficient": vector.coefficient}
    request = CompareRequest(
        model=Path(model.path),
        vector=vector_path(context, vector),
        placements=tuple(Placement.model_validate(each) for each in proof.get("placements") or [one]),
        weights=weights,
        train=sides["train"],
        test=sides["test"],
        filler=tuple(each for each in load_neutral("train") if each.kind == "chat"),
        neutral_test=load_neutral("test"),
        bootstrap=context.settings.verification.bootstrap,
        seed=context.settings.verification.seed,
        threads=context.settings.process.threads,
    )
    return vector, request, why_not


def _newest_proved(conn: "Connection", behaviour: str) -> "VectorRow":
    from store.vectors import in_state

    proved = [row for row in in_state(conn, "verified", "promoted", "retired") if row.behaviour == behaviour]
    if not proved:
        raise UsageError(f"{behaviour}: no proved version; `reflexd vectors {behaviour}` lists what there is")
    return proved[-1]


def _weights(conn: "Connection", vector: "VectorRow") -> tuple[Path | None, str]:
    """The folder of the weights that the vector was trained into, or why there is none."""
    from store.jobs import list_jobs
    from store.models import get_model

    trained = [job for job in list_jobs(conn) if job.vector_id == vector.id and job.state == "trained"]
    if not trained:
        return None, f"{vector.name} was not trained into weights"
    digest = trained[-1].weights_digest
    assert digest is not None
    folder = Path(get_model(conn, digest).path)
    return (folder, "") if folder.is_dir() else (None, f"{folder}: the trained weights are not there any more")


def _for_people(row: "CompareRow") -> dict[str, object]:
    return {
        "way": _name(row),
        "gap": row.gap,
        "effect": _effect(row.fresh),
        "after other talk": _effect(row.filled),
        "after compaction": _effect(row.compacted),
        "tokens added": round(row.tokens_added),
        "first token, ms": _timing(row.first_ms),
        "each after, ms": _timing(row.token_ms),
        "neutral KL": row.kl_mean,
        "KL p95": row.kl_p95,
    }


def _name(row: "CompareRow") -> str:
    if row.way == "examples":
        return f"{row.examples} example{'' if row.examples == 1 else 's'} in the context"
    return {"vector": "the vector", "weights": "trained weights"}.get(row.way, "untouched")


def _effect(effect: "Effect") -> str:
    return f"{effect.value:+.2f} [{effect.interval[0]:.2f}, {effect.interval[1]:.2f}]"


def _timing(timing: "Timing | None") -> str | None:
    return f"{timing.median:.0f} ({timing.least:.0f}–{timing.most:.0f})" if timing else None


def _remarks(name: str, why_not: str, report: "CompareReport") -> list[str]:
    """What the numbers are of."""
    said = [
        f"\n{name}: {report.n_test} test pairs of {report.n_groups} sessions; gap and effects in nats a token",
        "effects are against the untouched model in the same context, with 95 % intervals",
        f"examples: training pairs as earlier turns, mean of {report.draws} drawings",
        f"other talk: {report.filler_turns} exchanges, {report.filler_tokens} tokens; a compaction leaves the last one",
        f"times: median of {report.rounds} rounds (least–most) on {report.device}",
        f"neutral KL: nats, over {report.n_neutral} positions",
    ]
    said += [f"neutral KL of examples: none, for {row.kl_why_not}" for row in report.rows if row.kl_why_not][:1]
    return said + ([f"no row for trained weights: {why_not}"] if why_not else [])
