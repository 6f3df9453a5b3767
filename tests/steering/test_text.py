"""From text to tokens: the same template in fitting and in use, prompt and reply apart, the right positions scored."""

import pytest

from daemon.errors import DataError
from daemon.protocol import NeutralText
from daemon.steering.text import encode, encode_neutral
from graph.schema import ChatMessage
from tests.tiny import tiny_tokenizer

TOKENIZER = tiny_tokenizer()
ASK = (ChatMessage(role="user", content="Use tabs."),)


def told(ids):
    return TOKENIZER.decode(list(ids))


def test_a_chat_prompt_ends_where_the_assistant_begins_to_speak():
    """Fitting without the generation prompt and serving with it reads the vector at other places than it is added."""
    item = encode(TOKENIZER, ASK, "Tabs it is.")
    served = TOKENIZER.apply_chat_template(
        [{"role": "user", "content": "Use tabs."}], add_generation_prompt=True, tokenize=False
    )
    assert told(item.prompt_ids) == served
    assert told(item.reply_ids) == "Tabs it is."
    assert item.ids == item.prompt_ids + item.reply_ids


def test_the_template_s_special_tokens_are_not_doubled():
    assert list(encode(TOKENIZER, ASK, "x").ids).count(TOKENIZER.bos_token_id) == 3  # system, user, assistant


def test_a_plain_prompt_stays_as_it_is_and_the_reply_never_changes_its_tokens():
    for reply in ("a", " b", "\nc"):
        assert told(encode(TOKENIZER, "Once upon", reply).prompt_ids) == "Once upon"


@pytest.mark.parametrize(("prompt", "reply", "what"), [("", "x", "prompt"), ("x", "", "reply")])
def test_nothing_to_read_is_an_error(prompt, reply, what):
    with pytest.raises(DataError, match=f"{what} .*no tokens"):
        encode(TOKENIZER, prompt, reply)


def test_a_chat_without_a_template_is_an_error_that_says_what_to_do():
    bare = tiny_tokenizer()
    bare.chat_template = None
    with pytest.raises(DataError, match="give prompts as plain text"):
        encode(bare, ASK, "x")
    chat = NeutralText(
        kind="chat", messages=({"role": "user", "content": "ab"}, {"role": "assistant", "content": "cd"})
    )
    assert told(encode_neutral(bare, chat).ids) == "ab\ncd"


def test_of_a_plain_text_every_token_but_the_first_is_scored():
    item = encode_neutral(TOKENIZER, NeutralText(kind="prose", text="Rain."))
    assert (told(item.prompt_ids), told(item.reply_ids)) == ("R", "ain.")


@pytest.mark.parametrize("words", ["Hello", "¶ a sign", "Zq"])
def test_of_a_chat_all_after_the_system_prefix_is_scored(words):
    messages = ({"role": "user", "content": words}, {"role": "assistant", "content": "Yes."})
    item = encode_neutral(TOKENIZER, NeutralText(kind="chat", messages=messages))
    assert told(item.prompt_ids) == "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n"
    assert told(item.reply_ids).endswith("<|im_start|>assistant\nYes.<|im_end|>\n")


def test_a_system_message_of_its_own_is_part_of_the_prefix():
    messages = ({"role": "system", "content": "Speak Latin."}, {"role": "user", "content": "Hello"})
    item = encode_neutral(TOKENIZER, NeutralText(kind="chat", messages=messages))
    assert told(item.prompt_ids).endswith("Speak Latin.<|im_end|>\n<|im_start|>user\n")


def test_a_text_of_one_token_cannot_be_scored():
    with pytest.raises(DataError, match="fewer than two tokens"):
        encode_neutral(TOKENIZER, NeutralText(kind="prose", text="a"))
