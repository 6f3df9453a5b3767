"""judge: the agent's own model checks what the rules took for an acceptance or an objection. Off unless asked for.

    rules' candidate ─▶ the model, asked with the published taxonomy (`graph.turns.prompt`) ─▶ confirmed, or neutral

The answer is the choice that the question makes likelier than the same question about nothing does: without that, a
model mostly answers what it would answer anyway (contextual calibration, arXiv:2102.09690). The rules' own word stays
in the graph; the model's counts for more.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from daemon.pipeline.context import Context
from daemon.pipeline.intake import HUBS, Rows, memory_of, rows_of, save_judged
from daemon.protocol import ChooseReport, ChooseRequest
from graph.judging import BY_MODEL, Turn, told, turns_of
from graph.schema import EdgeKind, Outcome
from graph.turns.judge import TURNS_VERSION, TurnVerdict, judge_turn
from graph.turns.prompt import ANSWERS, judge_prompt
from store.graph import neighbourhood, unjudged

_AT_A_TIME = 64
_CONTEXT = 4
_SAYS = {
    Outcome.ACCEPTED: {"UR5"},
    Outcome.REJECTED: {"UR1", "UR2", "UR3", "FAILS"},
    Outcome.CORRECTED: {"UR1", "UR2", "UR3", "FAILS"},
}


def judge(ctx: Context) -> bool:
    """Let the current model check some candidates that it has not checked yet. False when none is left, or off."""
    if ctx.settings.judging.by != "model":
        return False
    model = ctx.model()
    with ctx.store.read() as conn:
        waiting = unjudged(conn, EdgeKind.FOLLOWS, BY_MODEL, TURNS_VERSION, model.digest, _AT_A_TIME)
        nodes, edges = neighbourhood(conn, {end for edge in waiting for end in (edge.src, edge.dst)}, _CONTEXT, HUBS)
    if not waiting:
        return False
    memory = memory_of(Rows(tuple(nodes), tuple(edges)))
    turns = [turn for turn in turns_of(memory) if turn.id in {edge.src for edge in waiting}]
    verdicts = _verdicts(ctx, turns, str(model.path))
    how = {"method": BY_MODEL, "method_version": TURNS_VERSION, "model": model.digest, "at": ctx.now()}
    rows = rows_of(told(memory, zip(turns, verdicts, strict=True), how))
    with ctx.store.write() as conn:
        save_judged(conn, rows, [turn.id for turn in turns], ctx.now())
    return True


def _verdicts(ctx: Context, turns: Sequence[Turn], model: str) -> list[TurnVerdict]:
    """The rules' first stage, and for its candidates the model's word on them."""
    first = [judge_turn(turn.words, turn.before) for turn in turns]
    asked = [n for n, verdict in enumerate(first) if verdict.polarity is not Outcome.NEUTRAL]
    if not asked:
        return first
    prompts = [judge_prompt("", ""), *(judge_prompt(turns[n].words, turns[n].before) for n in asked)]
    request = ChooseRequest.model_validate(
        {"model": model, "prompts": prompts, "choices": ANSWERS, "threads": ctx.settings.process.threads}
    )
    report = ctx.ask("choose", request, ChooseReport)
    about_nothing, *answers = report.logprobs
    for n, logprobs in zip(asked, answers, strict=True):
        first[n] = checked(first[n], [here - there for here, there in zip(logprobs, about_nothing, strict=True)])
    confirmed = sum(first[n].polarity is not Outcome.NEUTRAL for n in asked)
    ctx.say(f"judge: {len(turns)} human turns, {len(asked)} candidates, {confirmed} of them confirmed by the model")
    return first


def checked(verdict: TurnVerdict, scores: Sequence[float]) -> TurnVerdict:
    """The candidate, confirmed or not by the model's `scores` (calibrated log-probabilities of `ANSWERS`)."""
    highest = max(scores)
    shares = [math.exp(score - highest) for score in scores]
    answer = ANSWERS[scores.index(highest)]
    probability = max(shares) / sum(shares)
    if answer in _SAYS[verdict.polarity]:
        return replace(verdict, because=(*verdict.because, f"model: {answer}"))
    return TurnVerdict(Outcome.NEUTRAL, "human_turn", probability, (f"model: {answer}",))
