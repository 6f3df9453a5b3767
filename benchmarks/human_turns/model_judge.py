"""What a model adds as second stage: `python benchmarks/human_turns/model_judge.py --model FOLDER TRANSCRIPTS`.

The same labelled turns and the same candidates of the first stage, checked by rules (`check_candidate`) and by the
model (`daemon.pipeline.judge`), side by side. The first stage's weights never saw the session.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from fit_weights import held_out, labelled, written
from measure import show, staged

from daemon.child import ModelProcess
from daemon.pipeline.judge import checked
from daemon.protocol import ChooseReport, ChooseRequest
from graph.schema import Outcome
from graph.turns.judge import TurnVerdict, fitted, probabilities, verdict_of
from graph.turns.prompt import ANSWERS, judge_prompt

NAMED = {Outcome.ACCEPTED: "accept", Outcome.NEUTRAL: "neutral"}


def named(verdict: TurnVerdict) -> tuple[str, float]:
    """The class as the labels call it, and the probability."""
    if verdict.signal == "failure_report":
        return "failure_report", verdict.probability
    return NAMED.get(verdict.polarity, "negative"), verdict.probability


def main() -> None:
    """Judge, check both ways, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the folder of Claude Code transcripts that labels.jsonl speaks of")
    parser.add_argument("--model", type=Path, required=True, help="a model folder")
    parser.add_argument("--limit", type=int, help="only the first so many turns: a small model takes seconds for each")
    arguments = parser.parse_args()
    every = held_out(labelled(arguments.folder), written())
    pairs = [(e, replace(w, temperature=fitted().temperature)) for e, w in every[: arguments.limit]]
    first = [verdict_of(probabilities(e.found, w), e.found, w) for e, w in pairs]
    asked = [n for n, verdict in enumerate(first) if verdict.polarity is not Outcome.NEUTRAL]
    prompts = (judge_prompt("", ""), *(judge_prompt(pairs[n][0].words, pairs[n][0].before) for n in asked))
    with ModelProcess(Path("model-judge.log")) as process:
        request = ChooseRequest(model=arguments.model, prompts=prompts, choices=ANSWERS)
        report = process.ask("choose", request, ChooseReport)
    about_nothing, *answers = report.logprobs
    by_model = list(first)
    for n, said in zip(asked, answers, strict=True):
        by_model[n] = checked(first[n], [here - there for here, there in zip(said, about_nothing, strict=True)])
    told = f"{len(pairs)} turns, {len(asked)} candidates, {report.seconds:.0f} s with {arguments.model.name}"
    print(told, file=sys.stderr)
    show("first stage", [(e, *named(v)) for (e, _), v in zip(pairs, first, strict=True)])
    show("checked by rules", [(e, *staged(e, w, check=True)) for e, w in pairs])
    show("checked by the model", [(e, *named(v)) for (e, _), v in zip(pairs, by_model, strict=True)])


if __name__ == "__main__":
    main()
