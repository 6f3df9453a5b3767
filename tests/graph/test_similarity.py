"""Likeness without a model: by words and pieces of words, weighed by how rare they are."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph.mining.similarity import Similarity, content_words, dot, neighbours

TEXTS = [
    "Move the billing service to gRPC",
    "Move the billing service to HTTP",
    "Billing services should be moved to gRPC",
    "Write the minutes of Monday's meeting",
    "Send the minutes to everybody who was there",
    "Rename the flag",
]
MEASURE = Similarity.of(TEXTS)


def test_like_directions_are_nearer_than_others():
    same, near, far = (MEASURE.alike(TEXTS[0], TEXTS[i]) for i in (1, 2, 3))
    assert 1 > same > 0.5
    assert same > 0.3 > far
    assert near > 0.3
    assert MEASURE.alike("deploys the parsers", "deployed a parser") > 0.3


def test_a_rare_word_in_common_says_more_than_a_common_one():
    measure = Similarity.of(["run parser", "run server", "run tests", "run docs", "lint parser"])
    assert measure.alike("run alpha", "run beta") < measure.alike("lint alpha", "lint beta")


@given(st.sampled_from(TEXTS) | st.text(max_size=60), st.sampled_from(TEXTS) | st.text(max_size=60))
def test_it_is_symmetric_and_between_nothing_and_the_same(one, other):
    assert MEASURE.alike(one, other) == MEASURE.alike(other, one)
    assert 0 <= MEASURE.alike(one, other) <= 1
    assert MEASURE.alike(one, one) == pytest.approx(1 if content_words(one) else 0)


def test_the_order_of_the_texts_makes_no_difference():
    assert Similarity.of(reversed(TEXTS)).vector(TEXTS[0]) == MEASURE.vector(TEXTS[0])


def test_words_are_told_apart_in_names_too():
    assert content_words("Don't use getUserName or MAX_SIZE 42 times; it’s the API") == [
        "user", "name", "max", "size", "0", "times", "api",
    ]  # fmt: skip
    assert content_words("parseFile") == ["parse", "file"]


def test_an_oracle_of_ten_lines_gives_the_same_number():
    def weigh(features, holding):
        counts = {f: features.count(f) for f in features}
        raw = {f: (1 + math.log(n)) * math.log(1 + len(TEXTS) / max(holding(f), 1)) for f, n in counts.items()}
        length = math.sqrt(sum(w * w for w in raw.values()))
        return {f: w / length for f, w in raw.items()}

    def pieces(text):
        return [f"^{w}$"[i : i + 4] for w in content_words(text) for i in range(max(1, len(w) - 1))]

    found = 0.0
    for split in (content_words, pieces):
        one, other = (weigh(split(t), lambda f, s=split: sum(f in s(x) for x in TEXTS)) for t in (TEXTS[0], TEXTS[2]))
        found += 0.5 * sum(w * other.get(f, 0) for f, w in one.items())
    assert MEASURE.alike(TEXTS[0], TEXTS[2]) == pytest.approx(found)


def test_neighbours_are_those_that_all_products_would_give():
    rng = random.Random(2)
    words = ["amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heath"]
    vectors = [Similarity.of(words).vector(" ".join(rng.choices(words, k=3))) for _ in range(40)]
    expected = set()
    for i, one in enumerate(vectors):
        scores = sorted(((-round(dot(one, other), 12), j) for j, other in enumerate(vectors) if j != i))
        expected |= {(min(i, j), max(i, j)) for minus, j in scores[:3] if -minus >= 0.4}
    found = neighbours(vectors, 3, 0.4)
    assert {(i, j) for i, j, _ in found} == expected
    assert all(alike == pytest.approx(dot(vectors[i], vectors[j])) for i, j, alike in found)
    assert neighbours([], 3, 0.1) == neighbours([{}, {}], 3, 0.0) == []
