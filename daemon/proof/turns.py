"""A direction in its context, and what may stand before it: examples of the behaviour, other talk. No torch."""

from collections.abc import Sequence

from daemon.protocol import NeutralText
from graph.schema import ChatMessage, Pair, Prompt

Turns = tuple[ChatMessage, ...]


def direction_of(prompt: Prompt) -> str:
    """What the human asked last."""
    if isinstance(prompt, str):
        return prompt
    asked = [message.content for message in prompt if message.role == "user"]
    return asked[-1] if asked else prompt[-1].content


def continued(prompt: Prompt, earlier: Turns) -> Prompt:
    """The prompt after earlier turns; its system message stays first. Before a plain text, they are paragraphs."""
    if isinstance(prompt, str):
        return "".join(f"{message.content}\n\n" for message in earlier) + prompt
    lead = prompt[:1] if prompt[0].role == "system" else ()
    return (*lead, *earlier, *prompt[len(lead) :])


def as_example(pair: Pair) -> Turns:
    """A pair's direction and its positive reply, as turns that went before; a system message is left out."""
    if isinstance(pair.prompt, str):
        asked: Turns = (ChatMessage(role="user", content=pair.prompt),)
    else:
        asked = tuple(message for message in pair.prompt if message.role in ("user", "assistant"))
    return (*asked, ChatMessage(role="assistant", content=pair.positive))


def as_conversation(chats: Sequence[NeutralText]) -> list[Turns]:
    """Each chat as one exchange; a system message is left out, and so is a passage that is no chat."""
    told = [tuple(ChatMessage.model_validate(each) for each in chat.messages or ()) for chat in chats]
    return [tuple(m for m in turns if m.role in ("user", "assistant")) for turns in told if turns]
