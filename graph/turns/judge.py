"""Human turns judged: did the human's next words accept, correct or reject what the agent had just said, or neither?

    words, before ─▶ features ─▶ judge_turn: a candidate (finds most) ─▶ check_candidate: firm counter-evidence drops it
                                                                  └────▶ judge_prompt: or a model is asked

Runs without any model: general cues and single words, weights fitted by multinomial logistic regression on labelled
turns (docs/human-turns.md: the labels, what was measured, the command that fits again). The same words give the same
verdict on every machine, and `because` names what spoke.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources import files

import orjson

from graph.schema import Outcome
from graph.turns.features import features, leaves_it_there
from graph.turns.prompt import judge_prompt
from graph.turns.prose import own_prose

__all__ = ["TURNS_VERSION", "TurnVerdict", "check_candidate", "judge_prompt", "judge_turn"]

TURNS_VERSION = "human-turns 3"

NEGATIVE, ACCEPT, NEUTRAL, FAILURE = range(4)
"""Places of the four classes in every list of probabilities."""

_BECAUSE = 5
_SPOKE = 0.15

# Features that say what to do or how it is, so that a rejection is a correction.
TELLS = frozenset(
    {
        *("denies", "edits", "instead", "meant", "not_first", "objects", "replaces_first", "reviews"),
        *("should_be", "stays", "undoes", "dislikes", "forbids", "asked_for"),
    }
)
# Words of disagreement. What has none of them is no objection, however likely: a plain statement after "done" may be a
# correction, but is as often the next order, with a verb that no list knows.
FIRM = frozenset(
    {
        *("no_first", "stop_first", "not_first", "but_first", "doubt_first", "actually_first"),
        *("wrong", "taste", "too_much", "instead", "undoes", "meant", "blames", "objects", "edits", "stays"),
        *("fails", "reviews", "declines", "dislikes", "forbids", "faults", "asked_for", "turns", "no_such"),
        *("still_so", "misbehaves", "errs", "looks_off", "again_so", "pasted_trouble", "observes"),
    }
)


@dataclass(frozen=True)
class TurnVerdict:
    """What a human turn says about the agent's text before it.

    Attributes:
        polarity: ACCEPTED, CORRECTED (the words say what to do instead, or how it is), REJECTED (they only refuse or
            complain) or NEUTRAL (a new task, a question, information).
        signal: `failure_report` where something does not work (a REJECTED turn that says nothing about listening), else
            `human_turn`.
        probability: That the turn is what `polarity` says: accepts, objects in either way, or neither; 0..1.
        because: The features that spoke for it, the loudest first; a dropped candidate names why it was dropped.
    """

    polarity: Outcome
    signal: str
    probability: float
    because: tuple[str, ...]


@dataclass(frozen=True)
class Weights:
    """Fitted weights: one number a class for each feature. `candidate` and `bar` are thresholds for (objects, accepts).

    From `candidate` on a turn is a candidate, below `bar` the second stage drops it.
    """

    bias: tuple[float, ...]
    features: Mapping[str, tuple[float, ...]]
    temperature: float
    candidate: tuple[float, float]
    bar: tuple[float, float]


@lru_cache(maxsize=1)
def fitted() -> Weights:
    """The weights of this version, from `graph/turns/weights.json`."""
    raw = orjson.loads(files("graph.turns").joinpath("weights.json").read_bytes())
    return Weights(
        bias=tuple(raw["bias"]),
        features={name: tuple(values) for name, values in raw["features"].items()},
        temperature=raw["temperature"],
        candidate=tuple(raw["candidate"]),
        bar=tuple(raw["bar"]),
    )


def judge_turn(words: str, before: str) -> TurnVerdict:
    """First stage: a candidate for every turn that may accept or object, found with high recall.

    `words` is the human turn, `before` the agent's last text before it ("" when there is none: nothing to judge).
    """
    if not words.strip() or not before.strip():
        return TurnVerdict(Outcome.NEUTRAL, "human_turn", 1.0, ("nothing to judge",))
    found = _seen(words, before)
    return verdict_of(probabilities(found, fitted()), found, fitted())


@lru_cache(maxsize=4)
def _seen(words: str, before: str) -> Mapping[str, float]:
    """The features of the turn that both stages look at, one after the other."""
    return features(words, before)


def probabilities(found: Mapping[str, float], weights: Weights) -> tuple[float, ...]:
    """P(negative), P(accept), P(neutral), P(failure report): softmax(bias + Σ weight · feature), over a temperature."""
    scores = list(weights.bias)
    for name, value in found.items():
        for place, weight in enumerate(weights.features.get(name, ())):
            scores[place] += weight * value
    highest = max(scores)
    raised = [math.exp((score - highest) / weights.temperature) for score in scores]
    total = sum(raised)
    return tuple(value / total for value in raised)


def verdict_of(chances: tuple[float, ...], found: Mapping[str, float], weights: Weights) -> TurnVerdict:
    """The first stage's verdict on given probabilities: to object is to complain or to report a failure."""
    objects, accepts = chances[NEGATIVE] + chances[FAILURE], chances[ACCEPT]
    if accepts >= weights.candidate[1] and accepts >= objects:
        return TurnVerdict(Outcome.ACCEPTED, "human_turn", accepts, _because(found, ACCEPT, weights))
    if objects < weights.candidate[0]:
        return TurnVerdict(Outcome.NEUTRAL, "human_turn", chances[NEUTRAL], _because(found, NEUTRAL, weights))
    if chances[FAILURE] > chances[NEGATIVE]:
        return TurnVerdict(Outcome.REJECTED, "failure_report", objects, _because(found, FAILURE, weights))
    polarity = Outcome.CORRECTED if _tells(found) else Outcome.REJECTED
    return TurnVerdict(polarity, "human_turn", objects, _because(found, NEGATIVE, weights))


def _tells(found: Mapping[str, float]) -> bool:
    refuses_and_goes_on = bool(found.get("no_first") or found.get("stop_first")) and not found.get("bare")
    return refuses_and_goes_on or bool(found.get("long")) or not found.keys().isdisjoint(TELLS)


def _because(found: Mapping[str, float], place: int, weights: Weights) -> tuple[str, ...]:
    """The features that moved this class up against the mean of the others."""
    moved = []
    for name, value in found.items():
        given = weights.features.get(name)
        if given is not None:
            others = (sum(given) - given[place]) / (len(given) - 1)
            moved.append((value * (given[place] - others), name))
    loud = sorted((pair for pair in moved if pair[0] > _SPOKE), key=lambda pair: (-pair[0], pair[1]))
    return tuple(name for _, name in loud[:_BECAUSE])


def check_candidate(verdict: TurnVerdict, words: str, before: str) -> TurnVerdict:
    """Second stage, no model: the candidate as it is, or NEUTRAL where firm counter-evidence stands against it."""
    if verdict.polarity is Outcome.NEUTRAL:
        return verdict
    against = _against(verdict, words, before)
    if not against:
        return verdict
    return replace(
        verdict,
        polarity=Outcome.NEUTRAL,
        signal="human_turn",
        probability=1.0 - verdict.probability,
        because=(f"dropped: {against}",),
    )


def _against(verdict: TurnVerdict, words: str, before: str) -> str:
    """What stands against a candidate, or ""."""
    if not own_prose(words, before):
        return "no words of the human's own"
    found = _seen(words, before)
    if verdict.polarity is Outcome.ACCEPTED:
        return _against_accept(found, verdict.probability)
    if leaves_it_there(words, before):
        return "answers the agent's question"
    return _against_objection(found, verdict.probability)


def _against_objection(found: Mapping[str, float], probability: float) -> str:
    firm = not found.keys().isdisjoint(FIRM)
    if found.get("asks_plainly") and not firm:
        return "only asks"
    if found.get("own_fault"):
        return "the human's own mistake"
    if (found.get("orders_first") or found.get("requests_first")) and not firm:
        return "a new task"
    if not firm and found.keys().isdisjoint(TELLS):
        return "no word of disagreement"
    return "too weak" if probability < fitted().bar[0] else ""


def _against_accept(found: Mapping[str, float], probability: float) -> str:
    if found.get("but_first") and found.get("denies"):
        return "a yes with an objection"
    if found.get("still_so") and found.get("trouble_after_praise"):
        return "praise, and what is still wrong"
    if found.get("ok_then_asks") and not (found.get("goes_to_question") or found.get("praise_head")):
        return "only asks"
    return "too weak" if probability < fitted().bar[1] else ""
