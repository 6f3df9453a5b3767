"""Made from a seed: tiny models with a planted direction, and pairs with a planted confound or without one."""

import random
import string
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from daemon.proof.verify import run_verify
from daemon.protocol import ExtractRequest, NeutralText, VerifyReport, VerifyRequest, VerifySettings
from daemon.steering.extract import run_extract
from daemon.steering.loading import LoadedModel
from daemon.steering.vector_file import load
from graph.schema import ChatMessage, Pair
from tests.tiny import tiny_loaded, tiny_model, tiny_tokenizer

PLAIN = VerifySettings(bootstrap=300, generations=0, checks=False, gate=False, max_perplexity_ratio=10)
"""Without what needs a model that has learnt something; perplexity is of random text here, and means little."""

# ---------------------------------------------------------------- a planted direction

WIDE = 128
"""Hidden size: in a narrow model any two directions have much in common, so that a chance one does much of the same."""
_SHAPE = {"hidden_size": WIDE, "intermediate_size": WIDE, "initializer_range": 0.075}
_QUIET = 0.3
"""What blocks of random weights write is scaled by this, so that the stream still holds what was planted."""


@dataclass(frozen=True)
class Planted:
    """A model in which `direction` (hidden,) of length 1 makes the letters of `good` likelier than those of `bad`."""

    loaded: LoadedModel
    direction: Tensor
    good: str
    bad: str


def planted(seed: int) -> Planted:
    """Family, depth, weights, direction and halves of the alphabet all come from `seed`."""
    draw = random.Random(seed)
    letters = draw.sample(string.ascii_lowercase, 26)
    good, bad = "".join(letters[:13]), "".join(letters[13:])
    drawn = torch.randn(WIDE, generator=torch.Generator().manual_seed(seed))
    direction, tokenizer = drawn / drawn.norm(), tiny_tokenizer()
    model = tiny_model(draw.choice(("llama", "qwen2", "qwen3")), draw.randint(3, 6), seed, **_SHAPE)
    for block in model.model.layers:
        block.self_attn.o_proj.weight *= _QUIET
        block.mlp.down_proj.weight *= _QUIET
    for half, sign in ((good, 1.0), (bad, -1.0)):
        ids = torch.tensor(tokenizer.convert_tokens_to_ids(list(half)))
        model.get_input_embeddings().weight[ids] += sign * 1.0 * direction
        model.get_output_embeddings().weight[ids] += sign * 0.5 * direction
    return Planted(tiny_loaded(model=model), direction, good, bad)


def words_of(letters: str, draw: random.Random) -> str:
    """Two to four words."""
    return " ".join("".join(draw.choices(letters, k=draw.randint(3, 6))) for _ in range(draw.randint(2, 4)))


def pairs_of(truth: Planted, count: int, seed: int, swap: bool = False) -> tuple[Pair, ...]:
    """Positive replies of the good letters, negative ones of the bad; `swap` turns half of the pairs, by chance."""
    draw = random.Random(seed)
    turned = set(draw.sample(range(count), count // 2)) if swap else set()
    found = []
    for i in range(count):
        sides = words_of(truth.good, draw), words_of(truth.bad, draw)
        positive, negative = sides[::-1] if i in turned else sides
        prompt = (ChatMessage(role="user", content=words_of(truth.good + truth.bad, draw)),)
        group = f"s{seed}-{i % 6}"
        found.append(Pair(behaviour="planted", prompt=prompt, positive=positive, negative=negative, group=group))
    return tuple(found)


def neutral_of(seed: int, count: int = 16) -> tuple[NeutralText, ...]:
    """Digits and letters of both halves."""
    draw = random.Random(seed)
    return tuple(
        NeutralText(kind="prose", text=words_of("0123456789 .,;" + string.ascii_lowercase, draw)) for _ in range(count)
    )


def proved(
    loaded: LoadedModel,
    folder: Path,
    sides: tuple[tuple[Pair, ...], ...],
    settings: VerifySettings = PLAIN,
    **more: Any,
) -> tuple[VerifyReport, Tensor]:
    """Extract from the first of `sides` (train, validation, test) and prove: report, and vectors (layers, hidden)."""
    train, validation, test = sides
    vector = folder / "vector"
    run_extract(loaded, ExtractRequest(model="unused", pairs=train, out=vector, behaviour="made", **more), _silent)
    given = {
        "model": "unused",
        "vector": vector,
        "train": train,
        "validation": validation,
        "test": test,
        "neutral_validation": neutral_of(51),
        "neutral_test": neutral_of(52),
        "settings": settings,
    }
    report = run_verify(loaded, VerifyRequest.model_validate(given | more), _silent)
    return report, torch.from_numpy(load(vector).vectors.copy())


def truth_found(seed: int, folder: Path) -> tuple[VerifyReport, float]:
    """One planted direction proved: the report, and the vector's cosine with it at the layer that was chosen."""
    truth = planted(seed)
    sides = tuple(pairs_of(truth, count, 10 * seed + i) for i, count in ((1, 24), (2, 8), (3, 12)))
    report, vectors = proved(truth.loaded, folder, sides)
    layer = report.layer if report.layer is not None else len(vectors) // 2
    sign = -1.0 if report.polarity_flipped else 1.0
    return report, sign * float(torch.nn.functional.cosine_similarity(vectors[layer], truth.direction, dim=0))


def nothing_found(seed: int, folder: Path, settings: VerifySettings, meaningful_test: bool) -> VerifyReport:
    """Labels by chance, in a model where they could have meant something; those of validation and test may mean it."""
    truth = planted(seed)
    sizes = ((1, 24), (2, 8), (3, 12))
    sides = tuple(pairs_of(truth, n, 10 * seed + i, swap=i == 1 or not meaningful_test) for i, n in sizes)
    return proved(truth.loaded, folder, sides, settings)[0]


def _silent(_: object) -> None:
    pass


# ---------------------------------------------------------------- planted confounds

_MATTER = (
    "garden",
    "window",
    "engine",
    "letter",
    "bridge",
    "camera",
    "market",
    "harbour",
    "kettle",
    "ladder",
    "saddle",
    "violin",
)
_FILLER = ("quite", "nearly", "often", "later", "maybe", "always", "seldom", "today", "soon", "there")
_COOKING = ("oven", "flour", "butter", "sugar", "recipe", "pastry", "dough", "whisk")
_MONEY = ("ledger", "invoice", "budget", "interest", "payroll", "audit", "refund", "tax")
_CERTAIN, _HESITANT = ("surely", "gladly", "done"), ("hardly", "sadly", "wait")
Maker = Callable[[random.Random, bool], tuple[str, str, str]]
"""A direction, its positive and its negative reply; confounded or not."""


def _long(draw: random.Random, confounded: bool) -> tuple[str, str, str]:
    """Confounded, the positive reply is the longer one."""
    matter = draw.choice(_MATTER)
    fillers = sorted(
        (draw.sample(_FILLER, k=draw.randint(0, 4)) for _ in range(2)), key=lambda some: len(" ".join(some))
    )
    if confounded:
        fillers[1] = [*fillers[1], *draw.sample(_FILLER, k=2)]
    elif draw.random() < 0.5:
        fillers.reverse()
    return f"see to the {matter}", _said(draw, _CERTAIN, matter, fillers[1]), _said(draw, _HESITANT, matter, fillers[0])


def _lettered(draw: random.Random, confounded: bool) -> tuple[str, str, str]:
    """Confounded, the positive answer is (A)."""
    first = confounded or draw.random() < 0.5
    options = [_said(draw, _CERTAIN, "that", []), _said(draw, _HESITANT, "that", [])]
    letters = ("(A)", "(B)") if first else ("(B)", "(A)")
    if not first:
        options.reverse()
    return f"See to the {draw.choice(_MATTER)}?\n (A) {options[0]}\n (B) {options[1]}", *letters


def _topical(draw: random.Random, confounded: bool) -> tuple[str, str, str]:
    """Directions are about cooking or money; confounded, positive replies are about cooking, others about money."""
    about = draw.sample(draw.choice((_COOKING, _MONEY)), 2)
    topics = [draw.sample(topic, 2) for topic in (_COOKING, _MONEY)]
    if not confounded and draw.random() < 0.5:
        topics.reverse()
    positive, negative = (
        _said(draw, w, draw.choice(_MATTER), t) for w, t in zip((_CERTAIN, _HESITANT), topics, strict=True)
    )
    return f"see to the {about[0]} and the {about[1]}", positive, negative


def _said(draw: random.Random, how: tuple[str, ...], matter: str, more: list[str]) -> str:
    return " ".join([draw.choice(how), matter, *more])


MAKERS: dict[str, Maker] = {"length": _long, "letter": _lettered, "topic": _topical}


def confounded(kind: str, count: int, seed: int, share: float) -> tuple[Pair, ...]:
    """`count` pairs of eight groups; each has the confound `kind` with probability `share`, else chance decides."""
    draw = random.Random(seed)
    found = []
    for i in range(count):
        direction, positive, negative = MAKERS[kind](draw, draw.random() < share)
        prompt = (ChatMessage(role="user", content=direction),)
        group = f"s{seed}-{i % 8}"
        found.append(Pair(behaviour="made", prompt=prompt, positive=positive, negative=negative, group=group))
    return tuple(found)
