"""From text to tokens: the prompt by the chat template, the reply as it would follow it, neutral text as it stands.

Prompt and reply are tokenised apart and joined, as they are when a model generates: a reply never changes the tokens
of its prompt.
"""

from collections.abc import Sequence
from typing import Any

from daemon.errors import DataError
from daemon.protocol import NeutralText
from daemon.steering.trees import Tree, chain, tree
from graph.schema import Pair, Prompt

Ids = list[int]


def prompt_ids(tokenizer: Any, prompt: Prompt) -> Ids:
    """Chat messages through the template, ready for a reply; plain text as it is, with the tokenizer's own specials.

    Raises:
        DataError: The tokenizer has no chat template, or the prompt has no tokens.
    """
    if isinstance(prompt, str):
        ids: Ids = tokenizer(prompt).input_ids
    else:
        ids = _chat_ids(tokenizer, [message.model_dump() for message in prompt], add_generation_prompt=True)
    if not ids:
        raise DataError(f"prompt {str(prompt)[:40]!r}: no tokens in it; give a prompt with text")
    return ids


def reply_ids(tokenizer: Any, reply: str) -> Ids:
    """The reply's own tokens, nothing before and nothing after.

    Raises:
        DataError: It has none.
    """
    ids: Ids = tokenizer(reply, add_special_tokens=False).input_ids
    if not ids:
        raise DataError(f"reply {reply[:40]!r}: no tokens in it; give a reply with text")
    return ids


def pair_tree(tokenizer: Any, pair: Pair) -> Tree:
    """The prompt once, with the positive reply (0) and the negative one (1) on it."""
    replies = [reply_ids(tokenizer, pair.positive), reply_ids(tokenizer, pair.negative)]
    return tree(prompt_ids(tokenizer, pair.prompt), replies)


def neutral_chain(tokenizer: Any, neutral: NeutralText) -> Tree:
    """Every token of a plain text but the first is scored; of a chat, all that follows its system prefix."""
    if neutral.text is not None:
        ids: Ids = tokenizer(neutral.text).input_ids
        return chain(ids, range(1, len(ids)))
    messages: Sequence[dict[str, str]] = neutral.messages or ()
    ids = _chat_ids(tokenizer, list(messages), add_generation_prompt=False)
    return chain(ids, range(max(1, _system_prefix(tokenizer, list(messages), ids)), len(ids)))


def _chat_ids(tokenizer: Any, messages: list[dict[str, str]], *, add_generation_prompt: bool) -> Ids:
    if not getattr(tokenizer, "chat_template", None):
        raise DataError("this model's tokenizer has no chat template; give prompts as plain text")
    rendered = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=add_generation_prompt)
    ids: Ids = tokenizer(rendered, add_special_tokens=False).input_ids
    return ids


def _system_prefix(tokenizer: Any, messages: list[dict[str, str]], ids: Ids) -> int:
    """How many tokens the template puts before the user's own: those shared with another user's message."""
    other = _chat_ids(tokenizer, [{"role": "user", "content": "\u00b6"}], add_generation_prompt=False)
    shared = 0
    while shared < min(len(ids), len(other)) and ids[shared] == other[shared]:
        shared += 1
    return shared if messages and messages[0]["role"] == "user" else 1
