"""Pairs to extract from, as plain records that every system's environment can read; nothing of the product in here.

A pairs file here is JSON lines: {"prompt": [{"role", "content"}, …], "positive", "negative"}. Generated ones follow
from their seed alone.
"""

import json
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

Message = dict[str, str]

SUBJECTS = ("The parser", "The release script", "Our billing service", "The test suite", "The login page", "The index")
VERBS = ("reads", "rejects", "repeats", "rewrites", "skips", "reports")
OBJECTS = ("every second record", "the empty lines", "what was cached before", "the oldest entries", "too many retries")
WHENS = ("on Mondays", "after the migration", "under load", "since last week", "in the nightly run", "on small disks")
WISHES = ("Fix it without touching the tests", "Explain it first", "Keep the change small", "Write it up for the team")
PLEASED = ("Done: one line changed, and the tests pass as they are", "Here is why it happens, before I change anything")
DISPLEASED = ("I rewrote the module and deleted the failing tests", "I changed several other files while I was there")


@dataclass(frozen=True)
class PairRecord:
    """A chat, and two replies to it."""

    prompt: list[Message]
    positive: str
    negative: str


@dataclass(frozen=True)
class Rendered:
    """The prompt by the model's chat template, and the two replies that follow it."""

    prompt: str
    positive: str
    negative: str


def write(path: Path, pairs: list[PairRecord]) -> Path:
    """The pairs as a file; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(asdict(pair)) + "\n" for pair in pairs))
    return path


def read(path: Path) -> list[PairRecord]:
    """The pairs of a file that `write` wrote."""
    return [PairRecord(**json.loads(line)) for line in path.read_text().splitlines()]


def rendered(tokenizer: Any, pairs: list[PairRecord]) -> list[Rendered]:
    """What a user of a peer writes by hand: prompts with the template around them, ready for a reply."""
    return [
        Rendered(
            tokenizer.apply_chat_template(pair.prompt, tokenize=False, add_generation_prompt=True),
            pair.positive,
            pair.negative,
        )
        for pair in pairs
    ]


def caa(path: Path, n: int) -> list[PairRecord]:
    """The first `n` of a CAA `generate_dataset.json`; the replies end with the letter, which is what CAA reads."""
    items = json.loads(path.read_text())
    if len(items) < n:
        raise ValueError(f"{path}: {len(items)} items, {n} wanted")
    return [
        PairRecord(
            [{"role": "user", "content": item["question"]}],
            item["answer_matching_behavior"].strip().removesuffix(")"),
            item["answer_not_matching_behavior"].strip().removesuffix(")"),
        )
        for item in items[:n]
    ]


def chats(conversations: int, pairs_each: int, words: int = 280, seed: int = 11) -> list[PairRecord]:
    """Pairs as they are mined from chats: several of one conversation of about `words` words, each with its last turn.

    280 words are about 500 tokens of SmolLM2 with the template.
    """
    chance = random.Random(seed)
    found = []
    for _ in range(conversations):
        history = _history(chance, words)
        for _ in range(pairs_each):
            last = {"role": "user", "content": f"{_sentence(chance)} {chance.choice(WISHES)}, please."}
            found.append(PairRecord([*history, last], _reply(chance, PLEASED), _reply(chance, DISPLEASED)))
    return found


def short(n: int, seed: int = 12) -> list[PairRecord]:
    """Pairs of one short sentence and two short replies, all prompts different."""
    chance = random.Random(seed)
    return [
        PairRecord(
            [{"role": "user", "content": f"{number}: {_sentence(chance)}"}],
            f"{chance.choice(PLEASED)}.",
            f"{chance.choice(DISPLEASED)}.",
        )
        for number in range(n)
    ]


def _history(chance: random.Random, words: int) -> list[Message]:
    messages: list[Message] = []
    while sum(len(message["content"].split()) for message in messages) < words:
        asked = f"{_sentence(chance)} {chance.choice(WISHES)}."
        messages.append({"role": "user", "content": asked})
        messages.append({"role": "assistant", "content": " ".join(_sentences(chance, 3))})
    return messages


def _sentences(chance: random.Random, n: int) -> Iterator[str]:
    return (_sentence(chance) for _ in range(n))


def _sentence(chance: random.Random) -> str:
    parts = (SUBJECTS, VERBS, OBJECTS, WHENS)
    return " ".join(chance.choice(part) for part in parts) + "."


def _reply(chance: random.Random, starts: tuple[str, ...]) -> str:
    return f"{chance.choice(starts)}. {_sentence(chance)}"
