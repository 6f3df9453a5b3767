"""The words of a memory, as frozen models: directions, responses, outcomes, episodes, pairs, behaviours.

direction ── responds_to ── response ── accepted_by | rejected_by ── outcome
    └────────────────── episode ──────────────────┘
two episodes of one direction that show both poles of one behaviour ──▶ pair
"""

import hashlib
from enum import StrEnum
from typing import Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, field_validator

Pole = Literal["positive", "negative"]
Split = Literal["train", "validation", "test"]


class NodeKind(StrEnum):
    """What a node of the memory graph stands for."""

    DIRECTION = "direction"
    PROPOSAL = "proposal"
    RESPONSE = "response"
    OUTCOME = "outcome"
    CORRECTION = "correction"
    PREFERENCE = "preference"
    PATTERN = "pattern"
    SESSION = "session"
    SOURCE = "source"
    NOTE = "note"


class EdgeKind(StrEnum):
    """How two nodes are related."""

    RESPONDS_TO = "responds_to"
    PROPOSES = "proposes"
    ACCEPTED_BY = "accepted_by"
    REJECTED_BY = "rejected_by"
    INTERRUPTED_BY = "interrupted_by"
    ANSWERED_BY = "answered_by"
    CORRECTS = "corrects"
    SUPERSEDES = "supersedes"
    INSTANCE_OF = "instance_of"
    PREFERS = "prefers"
    AVOIDS = "avoids"
    EVIDENCE_FOR = "evidence_for"
    FOLLOWS = "follows"
    PART_OF = "part_of"
    MENTIONS = "mentions"


class Outcome(StrEnum):
    """How the human took a response."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    CORRECTED = "corrected"
    NEUTRAL = "neutral"


class Frozen(BaseModel):
    """Base of every record: immutable, and unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ChatMessage(Frozen):
    """One message of a chat prompt."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str


Prompt = str | tuple[ChatMessage, ...]


class Label(Frozen):
    """A pole of a behaviour that an episode's response shows, and how that is known."""

    behaviour: str
    pole: Pole
    method: Literal["marker", "rule", "model"]
    method_version: str
    weight: float = Field(default=1.0, ge=0, le=1)


class Episode(Frozen):
    """direction → response → outcome, with where it stands in its source.

    `id` is the sha256 of source, native ids and texts, so the same evidence read twice is one episode. `ts` is UTC
    milliseconds. `pairable` is false for evidence that must never make a pair (a question, a denial by a hook, ...).
    """

    id: str
    session: str
    direction_id: str
    direction: str
    response: str
    outcome: Outcome
    signal: str
    weight: float = Field(ge=0, le=1)
    pairable: bool
    source_ref: str
    ts: int
    words: str = ""
    labels: tuple[Label, ...] = ()
    node: str = Field(default="", description="the response's node in the graph that the episode was derived from")


class Pair(Frozen):
    """One positive and one negative response to the same direction. A line of a pairs file, plus its provenance.

    `group` is the session: pairs of one group lie on one side of a split. `episodes` are (positive id, negative id),
    empty for a pair that came from a pairs file.
    """

    behaviour: str = Field(min_length=1)
    prompt: Prompt
    positive: str = Field(min_length=1)
    negative: str = Field(min_length=1)
    group: str = Field(min_length=1)
    weight: float = Field(default=1.0, gt=0, le=1)
    episodes: tuple[str, ...] = ()

    @field_validator("prompt")
    @classmethod
    def _prompt_says_something(cls, prompt: Prompt) -> Prompt:
        if not prompt:
            raise ValueError("prompt is empty")
        return prompt

    @property
    def id(self) -> str:
        """Content address: sha256 of behaviour, prompt, positive and negative (canonical JSON)."""
        content = self.model_dump(mode="json", include={"behaviour", "prompt", "positive", "negative"})
        return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()


class Behaviour(Frozen):
    """A named pattern over episodes with two poles; cues are regular expressions over the response, any case."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    description: str = ""
    positive: str = ""
    negative: str = ""
    positive_cues: tuple[str, ...] = ()
    negative_cues: tuple[str, ...] = ()
    version: str = "1"


def pairs_digest(pairs: "list[Pair] | tuple[Pair, ...]") -> str:
    """sha256 over the sorted ids of `pairs`: the same evidence in any order has one digest."""
    return hashlib.sha256("\n".join(sorted(pair.id for pair in pairs)).encode()).hexdigest()
