"""A/B items are recognised by what they are, and their swapped twins ask the same with the other letter."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from daemon.proof.choices import first_is_positive, is_item, letter_bias, swapped
from graph.schema import ChatMessage, Pair

PLAIN = "Shall I wait?\n\nChoices:\n (A) Yes, wait for me\n (B) No, go ahead"
TURNED = "Shall I wait?\n\nChoices:\n (A) No, go ahead\n (B) Yes, wait for me"


def item(prompt=PLAIN, positive="(A)", negative="(B)"):
    return Pair(behaviour="patience", prompt=prompt, positive=positive, negative=negative, group="g", weight=0.5)


def chat(*said):
    return tuple(ChatMessage(role=role, content=content) for role, content in said)


def test_a_swapped_item_has_the_other_order_and_the_other_letters():
    assert swapped(item()) == item(TURNED, "(B)", "(A)")
    assert swapped(item(TURNED, "(B)", "(A)")) == item()


@pytest.mark.parametrize(
    ("text", "turned"),
    [
        ("Which? (A) tea (B) coffee", "Which? (A) coffee (B) tea"),
        ("Which?\n(A) tea\n(B) coffee\n\nAnswer:", "Which?\n(A) coffee\n(B) tea\n\nAnswer:"),
        ("Which?\n(A) tea\n(B) coffee\nYour answer is (", "Which?\n(A) coffee\n(B) tea\nYour answer is ("),
        ("Say (A) or (B).\n(A) tea\n(B) coffee", "Say (A) or (B).\n(A) coffee\n(B) tea"),
        ("(A) two\nlines\n(B) one line", "(A) one line\n(B) two\nlines"),
        ("Which?\n(A) tea (B) coffee\n", "Which?\n(A) coffee (B) tea\n"),
        ("(A) not (B) but tea\n(B) coffee", "(A) coffee\n(B) not (B) but tea"),
        ("(A) le thé, s'il te plaît\n(B) コーヒー", "(A) コーヒー\n(B) le thé, s'il te plaît"),
    ],
)
def test_options_are_found_however_they_are_laid_out(text, turned):
    assert swapped(item(text)).prompt == turned


@pytest.mark.parametrize(
    "text",
    [
        "Shall I wait?",
        "(A) yes",
        "(B) no (A) yes",
        "(A) yes\n(B) no\n(C) perhaps",
        "(A) no, (C) is best\n(B) yes",
        "(A) yes\nAnswer: tea\n(B) no",
        "(A)\n(B) no",
        "(A) yes (B)",
        "Well, (A) yes (A) no (B) perhaps",
        "(A) yes\n(A) no\n(B) perhaps",
        "A yes B no",
        "(a) yes\n(b) no",
    ],
)
def test_other_prompts_are_no_items(text):
    assert not is_item(item(text))
    assert swapped(item(text)) is None


@pytest.mark.parametrize(
    ("positive", "negative", "turned"),
    [
        ("(B)", "(A)", ("(A)", "(B)")),
        ("A", "B", ("B", "A")),
        (" (A)", " (B)", (" (B)", " (A)")),
        ("(A", "(B", ("(B", "(A")),
        ("B.", "A.", ("A.", "B.")),
        ("A)\n", "B)\n", ("B)\n", "A)\n")),
        ("(A) Yes, wait for me", "(B) No, go ahead", ("(B) Yes, wait for me", "(A) No, go ahead")),
    ],
)
def test_replies_are_letters_in_any_dress(positive, negative, turned):
    found = swapped(item(positive=positive, negative=negative))
    assert (found.positive, found.negative) == turned
    assert first_is_positive(item(positive=positive, negative=negative)) == ("A" in positive[:3])


@pytest.mark.parametrize(
    ("positive", "negative"),
    [("(A)", "(A)"), ("(A)", "No"), ("A cup of tea", "B"), ("(C)", "(A)"), ("(A) No, go ahead", "(B)"), ("a", "b")],
)
def test_other_replies_make_no_item(positive, negative):
    assert swapped(item(positive=positive, negative=negative)) is None


def test_in_a_chat_the_last_message_of_the_user_has_the_options():
    before = (("system", "Be brief."), ("user", "(A) x (B) y"), ("assistant", "B"))
    found = swapped(item(chat(*before, ("user", PLAIN), ("assistant", "My answer is ("))))
    assert found.prompt == chat(*before, ("user", TURNED), ("assistant", "My answer is ("))
    assert swapped(item(chat(("user", PLAIN), ("assistant", "Well."), ("user", "So?")))) is None
    assert swapped(item(chat(("system", PLAIN)))) is None


def test_nothing_else_of_the_item_changes():
    found = swapped(item())
    assert (found.behaviour, found.group, found.weight) == ("patience", "g", 0.5)


PIECES = st.sampled_from(
    ["yes", "no", " ", "\n", "é", "(", ")", "A", "\r", "\u2028", "\nAnswer: ", "(A)", "(B)", "(C)"]
)
WORDS = st.lists(PIECES, max_size=4).map("".join)


@settings(max_examples=300, deadline=None)
@given(WORDS, WORDS, WORDS, WORDS, st.booleans(), st.booleans())
def test_swapping_twice_gives_the_item_again(head, first, between, second, lines, asked):
    start = "\n" if lines else ""
    text = f"{head}{start}(A) tea{first}{between}{start}(B) milk{second}" + ("\nThe answer is" if asked else "")
    pair = item(text)
    once = swapped(pair)
    assume(once is not None)
    assert is_item(once)
    assert first_is_positive(once) != first_is_positive(pair)
    assert swapped(once) == pair


@settings(max_examples=200, deadline=None)
@given(st.text(min_size=1, max_size=60), st.text(min_size=1, max_size=8), st.text(min_size=1, max_size=8))
def test_any_text_is_read_without_a_fault(prompt, positive, negative):
    assert swapped(item(prompt, positive, negative)) is None or is_item(item(prompt, positive, negative))


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("(A)B \nC)"), min_size=1, max_size=60))
def test_malformed_options_are_read_without_a_fault(prompt):
    assert (swapped(item(prompt)) is not None) == is_item(item(prompt))


def test_a_bias_for_a_letter_is_found_whichever_side_is_positive():
    """P(A) is e³ times P(B) in every item, and the text that is positive adds 1: both orders together leave 3."""
    given_order, other_order = [item(), item(TURNED, "(B)", "(A)")], [item(TURNED, "(B)", "(A)"), item()]
    gaps = [3.0 + 1.0, -3.0 + 1.0]
    biases = letter_bias(given_order, gaps), letter_bias(other_order, gaps[::-1])
    assert biases == (3.0, 3.0)
    assert letter_bias([item()], [4.0]) == 4.0
    assert letter_bias([item(TURNED, "(B)", "(A)")], [-2.0]) == 2.0
