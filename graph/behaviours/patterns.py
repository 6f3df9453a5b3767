"""Which pole of a behaviour a response shows: by what the memory says, else by cues in the response and how it ended.

    cues of        outcome                 label
    negative only  rejected or corrected   negative
    positive only  accepted                positive
    anything else                          none: a rejected "sure" is evidence of something else

A cue alone is weak (0.78 precision on labelled turns); cue and outcome together are what a pair rests on. Cues look at
the stance of a response (`graph.mining.stance`): what page three of it says is content.
"""

import hashlib
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from graph.behaviours.builtin import BUILTIN
from graph.behaviours.cues import cue_fault, cues_of, matches
from graph.errors import GraphError
from graph.mining.stance import stance
from graph.records import plain
from graph.schema import Behaviour, Episode, Label, NodeKind, Outcome, Pole

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graph.memory import MemoryGraph

__all__ = ["BUILTIN", "behaviour_name", "behaviours_in", "classify"]

_POLE_OF: "Mapping[Outcome, Pole]" = {
    Outcome.ACCEPTED: "positive",
    Outcome.REJECTED: "negative",
    Outcome.CORRECTED: "negative",
}


def behaviour_name(value: object) -> str | None:
    """`value` as a behaviour's name (`Suggests-Alternative` is suggests_alternative), or None if it cannot be one."""
    name = re.sub(r"[\s\-.]+", "_", plain(value).strip().lower()).removeprefix("pattern_")
    return name if re.fullmatch(r"[a-z][a-z0-9_]*", name) else None


def classify(episode: Episode, behaviour: Behaviour) -> Label | None:
    """The pole of `behaviour` that the episode's response shows, or None where nothing sure can be said.

    Raises:
        GraphError: A cue of the behaviour is no usable regular expression.
    """
    for label in episode.labels:
        if label.behaviour == behaviour.name and label.method == "marker":
            return label
    _check(behaviour)
    pole = _POLE_OF.get(episode.outcome)
    if pole is None:
        return None
    said = stance(episode.response)
    shown, other = behaviour.positive_cues, behaviour.negative_cues
    if pole == "negative":
        shown, other = other, shown
    if not matches(shown, said, episode.direction) or matches(other, said, episode.direction):
        return None
    return Label(behaviour=behaviour.name, pole=pole, method="rule", method_version=behaviour.version)


@lru_cache(maxsize=256)
def _check(behaviour: Behaviour) -> None:
    for cue in (*behaviour.positive_cues, *behaviour.negative_cues):
        fault = cue_fault(cue)
        if fault:
            raise GraphError(f"behaviour {behaviour.name}: {fault}; correct the cue where the behaviour is defined")


def behaviours_in(graph: "MemoryGraph") -> list[Behaviour]:
    """Behaviours that the memory defines: pattern nodes with cues, by name. One with a bad cue is left out."""
    found: dict[str, Behaviour] = {}
    for node_id in graph.of_kind(NodeKind.PATTERN):
        behaviour = _behaviour_of(graph.node(node_id))
        if behaviour is not None:
            found[behaviour.name] = behaviour
    return [found[name] for name in sorted(found)]


def _behaviour_of(node: "Mapping[str, Any]") -> Behaviour | None:
    name = behaviour_name(node.get("name") or node["native_id"])
    positive, negative = cues_of(node.get("positive_cues")), cues_of(node.get("negative_cues"))
    if name is None or not (positive or negative) or any(cue_fault(cue) for cue in (*positive, *negative)):
        return None
    digest = hashlib.sha256("\n".join((*positive, "", *negative)).encode()).hexdigest()[:8]
    try:
        return Behaviour(
            name=name,
            description=plain(node["text"]),
            positive=plain(node.get("positive")),
            negative=plain(node.get("negative")),
            positive_cues=positive,
            negative_cues=negative,
            version=plain(node.get("version")) or digest,
        )
    except ValidationError:
        return None
