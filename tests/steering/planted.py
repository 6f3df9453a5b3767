"""A tiny model in which one direction is known to make one half of the alphabet likelier than the other."""

import random
from typing import Any

import torch
from torch import Tensor

from daemon.protocol import NeutralText, VerifyRequest, VerifySettings
from daemon.steering.loading import LoadedModel
from graph.schema import ChatMessage, Pair
from tests.tiny import HIDDEN, tiny_loaded, tiny_model, tiny_tokenizer

FIRST_HALF, SECOND_HALF = "abcdefghijklm", "nopqrstuvwxyz"
LAYER = 2


def planted_direction() -> Tensor:
    drawn = torch.randn(HIDDEN, generator=torch.Generator().manual_seed(7))
    return drawn / drawn.norm()


def planted_model() -> Any:
    """Tokens of the first half carry the direction and are made likelier by it; the second half the opposite."""
    model, tokenizer, direction = tiny_model("llama"), tiny_tokenizer(), planted_direction()
    for letters, sign in ((FIRST_HALF, 1.0), (SECOND_HALF, -1.0)):
        ids = torch.tensor(tokenizer.convert_tokens_to_ids(list(letters)))
        model.get_input_embeddings().weight[ids] += sign * 1.0 * direction
        model.get_output_embeddings().weight[ids] += sign * 0.5 * direction
    return model


def planted() -> LoadedModel:
    return tiny_loaded(model=planted_model())


def words(letters: str, draw: random.Random) -> str:
    return " ".join("".join(draw.choices(letters, k=draw.randint(3, 6))) for _ in range(draw.randint(2, 4)))


def make_pairs(count: int, seed: int = 0, groups: int = 6, swap: bool = False) -> tuple[Pair, ...]:
    """Positive replies of the first half of the alphabet, negative ones of the second; `swap` turns every other."""
    draw = random.Random(seed)
    pairs = []
    for i in range(count):
        good, bad = words(FIRST_HALF, draw), words(SECOND_HALF, draw)
        if swap and i % 2:
            good, bad = bad, good
        prompt = (ChatMessage(role="user", content=words(FIRST_HALF + SECOND_HALF, draw)),)
        pairs.append(
            Pair(behaviour="planted", prompt=prompt, positive=good, negative=bad, group=f"g{seed}-{i % groups}")
        )
    return tuple(pairs)


def neutral(count: int = 4, seed: int = 50) -> tuple[NeutralText, ...]:
    draw = random.Random(seed)
    plain = [NeutralText(kind="prose", text=words("0123456789 .,;" + FIRST_HALF, draw)) for _ in range(count)]
    chat = NeutralText(
        kind="chat", messages=({"role": "user", "content": "1 2 3?"}, {"role": "assistant", "content": "4 5 6."})
    )
    return (*plain, chat)


SETTINGS = VerifySettings(bootstrap=300, generations=0, checks=False, gate=False)
"""Without what needs a model that has learnt something."""


def verify_request(vector: Any, **changes: Any) -> VerifyRequest:
    given = {
        "model": "unused",
        "vector": vector,
        "train": make_pairs(24, seed=1),
        "validation": make_pairs(8, seed=2),
        "test": make_pairs(12, seed=3),
        "neutral_validation": neutral(seed=51),
        "neutral_test": neutral(seed=52),
        "settings": SETTINGS,
    }
    return VerifyRequest.model_validate(given | changes)
