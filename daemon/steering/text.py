"""From text to tokens: the prompt by the chat template, the reply as it would follow it, neutral text as it stands.

Prompt and reply are tokenised apart and joined, as they are when a model generates: a reply never changes the tokens
of its prompt.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from daemon.errors import DataError
from daemon.protocol import NeutralText
from graph.schema import Pair, Prompt

Ids = tuple[int, ...]


@dataclass(frozen=True)
class EncodedReply:
    """Token ids of what is given, at least one, and of what is scored after it, at least one."""

    prompt_ids: Ids
    reply_ids: Ids

    @property
    def ids(self) -> Ids:
        """Both, in order."""
        return self.prompt_ids + self.reply_ids


def encode(tokenizer: Any, prompt: Prompt, reply: str) -> EncodedReply:
    """Chat messages by the template, ready for a reply; a plain prompt with the tokenizer's own special tokens.

    Raises:
        DataError: There is no chat template for a chat, or prompt or reply has no tokens.
    """
    return EncodedReply(encode_prompt(tokenizer, prompt), _reply_ids(tokenizer, reply))


def encode_pairs(tokenizer: Any, pairs: Iterable[Pair]) -> list[EncodedReply]:
    """Positive and negative reply of each pair in turn: reply r of pair i is item 2 i + r."""
    items = []
    for pair in pairs:
        given = encode_prompt(tokenizer, pair.prompt)
        items += [EncodedReply(given, _reply_ids(tokenizer, reply)) for reply in (pair.positive, pair.negative)]
    return items


def encode_prompt(tokenizer: Any, prompt: Prompt) -> Ids:
    """What a reply follows: a chat by the template, with its generation prompt, or a plain prompt.

    Raises:
        DataError: There is no chat template for a chat, or no token in the prompt.
    """
    if isinstance(prompt, str):
        return _some(tuple(tokenizer(prompt).input_ids), "prompt", prompt)
    messages = [message.model_dump() for message in prompt]
    return _some(_chat_ids(tokenizer, messages, add_generation_prompt=True), "prompt", prompt)


def _reply_ids(tokenizer: Any, reply: str) -> Ids:
    return _some(tuple(tokenizer(reply, add_special_tokens=False).input_ids), "reply", reply)


def _some(ids: Ids, what: str, text: Prompt) -> Ids:
    if not ids:
        raise DataError(f"{what} {str(text)[:40]!r}: no tokens in it; give a {what} with text")
    return ids


def encode_neutral(tokenizer: Any, neutral: NeutralText) -> EncodedReply:
    """All of a plain text but its first token is scored; of a chat, all that follows its system prefix.

    A tokenizer without a chat template reads a chat as plain text.

    Raises:
        DataError: Fewer than two tokens.
    """
    messages = list(neutral.messages or ())
    if neutral.text is None and getattr(tokenizer, "chat_template", None):
        ids = _chat_ids(tokenizer, messages, add_generation_prompt=False)
        given = min(_system_prefix(tokenizer, messages, ids), len(ids) - 1)
    else:
        text = neutral.text if neutral.text is not None else "\n".join(message["content"] for message in messages)
        ids, given = tuple(tokenizer(text).input_ids), 1
    if len(ids) < 2:
        raise DataError(f"neutral text {str(neutral.text)[:40]!r}: fewer than two tokens; give a longer one")
    return EncodedReply(ids[:given], ids[given:])


def _chat_ids(tokenizer: Any, messages: list[dict[str, str]], *, add_generation_prompt: bool) -> Ids:
    if not getattr(tokenizer, "chat_template", None):
        raise DataError("this model's tokenizer has no chat template; give prompts as plain text")
    rendered = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=add_generation_prompt)
    return tuple(tokenizer(rendered, add_special_tokens=False).input_ids)


def _system_prefix(tokenizer: Any, messages: list[dict[str, str]], ids: Ids) -> int:
    """How many tokens stand before the first user's own words: those that other words would leave as they are."""
    first = next((i for i, message in enumerate(messages) if message["role"] == "user"), 0)
    shared = []
    for words in ("¶", "Zq"):
        other = [*messages[:first], messages[first] | {"content": words}]
        shared.append(_common_prefix(ids, _chat_ids(tokenizer, other, add_generation_prompt=False)))
    return max(1, min(shared))


def _common_prefix(one: Ids, two: Ids) -> int:
    return next((i for i, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two)))
