"""Neutral text: what steering and training should leave alone. No torch."""

from functools import lru_cache
from importlib.resources import files
from typing import Literal

import orjson

from daemon.protocol import NeutralText


@lru_cache(maxsize=3)
def load_neutral(split: Literal["train", "validation", "test"]) -> tuple[NeutralText, ...]:
    """The passages of one side; their subjects are disjoint between sides."""
    text = (files("daemon") / "neutral" / f"{split}.jsonl").read_text(encoding="utf-8")
    return tuple(NeutralText.model_validate(orjson.loads(line)) for line in text.splitlines() if line.strip())
