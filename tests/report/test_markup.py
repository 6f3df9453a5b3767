"""Text of other people stays text, wherever it is put."""

from hypothesis import given
from hypothesis import strategies as st

from daemon.report.markup import element, joined, trusted
from tests.report.pages import Seen

EVIL = "</p><script>alert(1)</script>\"'&amp;"


def test_what_is_not_markup_is_escaped():
    assert element("p", EVIL) == ("<p>&lt;/p&gt;&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#x27;&amp;amp;</p>")


def test_markup_is_escaped_once_only():
    assert element("p", element("b", "a < b"), " & c") == "<p><b>a &lt; b</b> &amp; c</p>"


def test_an_attribute_cannot_be_left():
    seen = Seen(element("p", "x", title='" onclick="alert(1)'))
    assert seen.attributes == [("p", "title", '" onclick="alert(1)')]


def test_names_of_attributes_are_those_of_html_and_none_leaves_one_out():
    made = element("p", class_="a b", aria_label="said", id=None)
    assert made == '<p class="a b" aria-label="said"></p>'


def test_none_leaves_nothing_and_a_number_is_text():
    assert joined(None, 3, "", trusted("<i></i>")) == "3<i></i>"


@given(st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"])), st.text(max_size=20))
def test_every_text_comes_back_as_it_was(text, value):
    seen = Seen(element("p", text, title=value))
    assert (seen.tags, seen.torn, "".join(seen.words)) == (["p"], [], text)
    assert seen.attributes == [("p", "title", value)]
