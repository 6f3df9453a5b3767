"""What several requests share: neutral text, how far a step is, and names that are chosen from."""

from typing import Literal

from graph.schema import Frozen

Aggregator = Literal["mean_difference", "pca", "logistic"]
OptimizerName = Literal["apollo", "apollo-mini", "adamw"]
TargetSet = Literal["writers", "query"]
NumberType = Literal["float32", "bfloat16"]

WAITING = "waiting"
"""The stage of a progress report whose note says why work waits; an empty note says that it goes on."""


class NeutralText(Frozen):
    """Text that steering should leave alone: a chat or a plain passage."""

    kind: str
    messages: tuple[dict[str, str], ...] | None = None
    text: str | None = None


class Progress(Frozen):
    """How far a long step is; `total` 0 means unknown."""

    stage: str
    done: int
    total: int
    note: str = ""
