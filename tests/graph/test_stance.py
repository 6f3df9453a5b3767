"""The opening stance: what a person would quote of a response to say how it began."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph.mining.stance import (
    LIMIT_WORDS,
    MAX_RATIO,
    SLACK_WORDS,
    Comparable,
    Incomparable,
    comparable,
    opening,
    stance,
)

LONG = "It was moved into the settings, because three other services read it from there already. " * 8


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Right, adding it. The parser gains a flag. Then the tests.", "Right, adding it. The parser gains a flag."),
        ("## Summary\n\nMoved the port. Two files changed.\n\n- a\n- b", "Moved the port. Two files changed."),
        ("Done.\n\n```py\nx = 1. Y\n```\n\nRestart the worker to see it.", "Done. Restart the worker to see it."),
        ("Here is what I would do:\n\n1. Split it.\n2. Test it.\n\nShall I?", "Here is what I would do:"),
        ("| a | b |\n|---|---|\n| 1 | 2 |\n\nThe second is cheaper.", "The second is cheaper."),
        (
            "**Plan**\n\n> quoted words. Many.\n\nI'd **start** with [the rules](https://x.y/z).",
            "I'd start with the rules.",
        ),
        ("★ Insight ─────\n`─────`\n⏺ Read(file.py)\n<note>x</note>\nLet me look first.", "Let me look first."),
        ("See e.g. the parser, i.e. Line two. It is fine.", "See e.g. the parser, i.e. Line two. It is fine."),
        ("The file `a.b.c` holds it.\nIt is read once.", "The file `a.b.c` holds it. It is read once."),
        ("    indented code.\n\nProse then.", "Prose then."),
        ("~~~\n```\nnot prose\n~~~\nProse.", "Prose."),
        ("```\nnever closed\n\nstill code", ""),
        ("- only\n- a list", ""),
        ("", ""),
    ],
)
def test_an_opening_is_the_first_prose(text, expected):
    assert opening(text) == expected


def test_a_long_sentence_ends_with_a_clause_or_with_a_mark():
    clauses = "I moved the port into the settings, where the other services read it, " + "and then some more " * 20
    assert opening(clauses, 16) == "I moved the port into the settings, where the other services read it"
    assert opening("word " * 90, 10) == "word " * 10 + "…"


def test_a_short_plain_response_stays_whole_letter_for_letter():
    for text in ("Right,  gRPC it is.\nAnd TLS. And a port. And more.", "Sure", " ok "):
        assert stance(text) == text
    assert stance(LONG) == opening(LONG)
    assert stance("Done.\n\n- a\n- b") == "Done."


@given(st.text(st.sampled_from("ab .,:;!?\n-*#`>|1é…"), max_size=400))
def test_the_stance_of_a_stance_is_itself(text):
    once = stance(text)
    assert stance(once) == once
    assert len(opening(text).split()) <= LIMIT_WORDS + 1


@given(st.text(st.sampled_from("ab .,:\n-"), max_size=300), st.text(st.sampled_from("ab .,:\n-"), max_size=300))
def test_comparable_sides_have_like_length(one, other):
    sides = comparable(one, other)
    if isinstance(sides, Comparable):
        short, long = sorted(len(side.split()) for side in (sides.positive, sides.negative))
        assert long <= max(int(short * MAX_RATIO), short + SLACK_WORDS)


def test_the_longer_side_is_cut_to_like_length_or_refused():
    clause = "I'd suggest plain HTTP here, since it is what the other nine services speak and what we can trace"
    assert comparable("Right, gRPC.", clause) == Comparable("Right, gRPC.", "I'd suggest plain HTTP here")
    assert comparable("Right, gRPC.", clause.replace(",", "")) is Incomparable.UNLIKE_LENGTH
    assert comparable("Right.", "- a\n- b") is Incomparable.NO_STANCE
    assert comparable("Right.", "Right.") is Incomparable.SAME


def test_a_megabyte_of_one_line_is_no_burden():
    for worst in (
        "a" * 10**6,
        "a. " * 300_000,
        "[" * 10**6,
        "**" * 500_000,
        "`" * 10**6,
        "\n" * 10**6,
        "- a\n" * 250_000,
    ):
        assert len(opening(worst).split()) <= LIMIT_WORDS + 1
