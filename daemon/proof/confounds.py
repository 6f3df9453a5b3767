"""What else than the behaviour could tell the positive replies from the negative ones: their length, letter, topic.

A vector made of such pairs would be of that, and steer it, with a large effect on test pairs that have it too. So the
pairs are examined, and refused, before anything is steered. m is `max_confound`; every p is that of fair coins, exact.

    length    in m of the pairs, or more, the same side is longer, and p < 0.01
    letter    the letter of the positive answers is uneven with p < 0.01, whatever its share: replies of A/B items are
              nothing but letters, so an uneven letter is the largest thing that they have in common
    topic     words of the directions tell the side of pairs of held-out groups, right in 2 m − 1 of them or more, and
              p < 0.01: twice as far from all as m, since a pair that has no such words counts as half told

Fewer than eight pairs, all of one kind, are no evidence of a confound (2 · ½⁷ > 0.01). What a weaker one does is
measured: `adjusted_for_length` gives the effect at equal length, and A/B items are measured in both orders.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from daemon.proof.chance import at_least, sign_test
from daemon.proof.choices import first_is_positive, is_item
from daemon.protocol import Confounds, LengthTest, LetterTest, TopicTest
from graph.mining.similarity import content_words
from graph.schema import Pair

SIGNIFICANT = 0.01
_SMOOTHING = 0.5
_NO_SPREAD = 1e-9
_TOLD = 8
_OF_STYLE = 3
"""A word in more than this many times as many replies as directions is how they are said, not what they are about."""


def examine(pairs: Sequence[Pair], lengths: Sequence[tuple[int, int]]) -> Confounds:
    """What tells the sides of `pairs` apart; `lengths` are the tokens of the positive and of the negative reply."""
    return Confounds(length=length_test(lengths), topic=topic_test(pairs), letter=letter_test(pairs))


def against(confounds: Confounds, max_confound: float) -> str:
    """The first confound that is too strong, in words; "" when there is none."""
    length, letter, topic = confounds.length, confounds.letter, confounds.topic
    return (
        _against_length(length, max_confound)
        or (_against_letter(letter) if letter else "")
        or _against_topic(topic, 2 * max_confound - 1)
    )


def _against_length(test: LengthTest, most: float) -> str:
    share, side = max((test.longer_positive, "positive"), (1 - test.longer_positive, "negative"))
    if share < most or test.p_value >= SIGNIFICANT:
        return ""
    return (
        f"length alone tells the sides apart: the {side} reply is the longer one in {share:.0%} of {test.n} pairs, "
        f"{most:.0%} is too many"
    )


def _against_letter(test: LetterTest) -> str:
    share, letter = max((test.first_positive, "A"), (1 - test.first_positive, "B"))
    if test.p_value >= SIGNIFICANT:
        return ""
    return (
        f"the letter tells the sides apart: ({letter}) is the positive answer of {share:.0%} of {test.n} items, "
        f"which fair coins do with p = {test.p_value:.1g}; mix the order of the options"
    )


def _against_topic(test: TopicTest, most: float) -> str:
    if test.accuracy < most or test.p_value >= SIGNIFICANT:
        return ""
    return (
        f"the topic tells the sides apart: words of the directions ({', '.join(test.words)}) give away "
        f"{test.accuracy:.0%} of {test.n} pairs, {most:.0%} is too many"
    )


# ---------------------------------------------------------------- length


def length_test(lengths: Sequence[tuple[int, int]]) -> LengthTest:
    """How often the positive reply is the longer one; ties count half, and not for p."""
    longer = sum(positive > negative for positive, negative in lengths)
    ties = sum(positive == negative for positive, negative in lengths)
    n = len(lengths)
    return LengthTest(longer_positive=(longer + ties / 2) / n if n else 0.5, p_value=sign_test(longer, n - ties), n=n)


def adjusted_for_length(
    test: LengthTest,
    effects: Sequence[float],
    lengths: Sequence[tuple[int, int]],
    groups: Sequence[str],
    resamples: int,
    seed: int,
) -> LengthTest:
    """`test` with the effect at equal length, nats a token, and its 95 % bootstrap interval over whole groups.

        effect_i = a + b · ln(tokens of positive_i / tokens of negative_i)          a: the effect at equal length

    Where the ratios do not differ there is no b, and a is the mean effect. Where all of them are on one side of 1, a is
    an extrapolation, and its interval as wide as that.
    """
    ratios = np.log([positive / negative for positive, negative in lengths])
    sums = _sums_by_group(ratios, np.asarray(effects, dtype=np.float64), groups)
    drawn = np.random.default_rng(seed).integers(len(sums), size=(resamples, len(sums)))
    low, high = np.quantile(_at_equal_length(sums[drawn].sum(axis=1)), (0.025, 0.975))
    adjusted = float(_at_equal_length(sums.sum(axis=0, keepdims=True))[0])
    return test.model_copy(update={"adjusted": adjusted, "adjusted_interval": (float(low), float(high))})


_Array = NDArray[np.float64]


def _sums_by_group(ratios: _Array, effects: _Array, groups: Sequence[str]) -> _Array:
    """(groups, 5): of each, the number of pairs and the sums of x, y, x², x·y, x being the log ratio."""
    each = np.stack([np.ones_like(ratios), ratios, effects, ratios**2, ratios * effects], axis=1)
    _, place = np.unique(list(groups), return_inverse=True)
    sums = np.zeros((place.max() + 1, 5))
    np.add.at(sums, place, each)
    return sums


def _at_equal_length(sums: _Array) -> _Array:
    """Intercepts (k,) of least squares from sums (k, 5); the mean effect where x has no spread."""
    n, x, y, xx, xy = sums.T
    spread = xx / n - (x / n) ** 2
    slope = np.divide(xy / n - x * y / n**2, spread, out=np.zeros_like(spread), where=spread > _NO_SPREAD)
    intercepts: _Array = y / n - slope * x / n
    return intercepts


# ---------------------------------------------------------------- letter


def letter_test(pairs: Sequence[Pair]) -> LetterTest | None:
    """Of the A/B items among `pairs`, how many positive answers are (A); None without any."""
    firsts = [first_is_positive(pair) for pair in pairs if is_item(pair)]
    if not firsts:
        return None
    return LetterTest(
        n=len(firsts), first_positive=sum(firsts) / len(firsts), p_value=sign_test(sum(firsts), len(firsts))
    )


# ---------------------------------------------------------------- topic


def topic_test(pairs: Sequence[Pair]) -> TopicTest:
    """Naive Bayes over words of the directions that one reply has and the other has not; a group at a time is held out.

        log odds(w) = ln (pairs with w in the positive reply alone + ½) / (pairs with w in the negative one alone + ½)

    A pair's positive reply is told when its words have the higher sum. A pair without such words, or whose words say
    nothing, counts as half told, and not for p. Words that say how and not what (`_OF_STYLE`) are no topic: a
    behaviour may well be a matter of words, one of which occurs in a direction now and then.
    """
    sides = _sides(pairs)
    balances = _balances(sides, [pair.group for pair in pairs])
    told, even = sum(each > 0 for each in balances), sum(each == 0 for each in balances)
    n = len(pairs)
    return TopicTest(
        accuracy=(told + even / 2) / n if n else 0.5, p_value=at_least(told, n - even), n=n, words=_telling(sides)
    )


_Words = frozenset[str]
_Sides = tuple[_Words, _Words]
"""What only the positive reply of a pair says, and what only the negative one says."""


def _sides(pairs: Sequence[Pair]) -> list[_Sides]:
    """Of each pair, words that are of the directions' topics."""
    directions = Counter(word for pair in pairs for word in set(content_words(_asked(pair))))
    said = [(frozenset(content_words(pair.positive)), frozenset(content_words(pair.negative))) for pair in pairs]
    apart = Counter(word for positive, negative in said for word in positive ^ negative)
    topics = {word for word, count in directions.items() if apart[word] <= _OF_STYLE * count}
    return [((positive - negative) & topics, (negative - positive) & topics) for positive, negative in said]


def _asked(pair: Pair) -> str:
    """All that the user says."""
    if isinstance(pair.prompt, str):
        return pair.prompt
    return "\n".join(message.content for message in pair.prompt if message.role == "user")


def _balances(sides: Sequence[_Sides], groups: Sequence[str]) -> list[float]:
    """Log odds of each pair's positive words minus those of its negative ones, learnt on the other groups."""
    counts = _counts(sides)
    own = {
        name: _counts(each for each, group in zip(sides, groups, strict=True) if group == name) for name in set(groups)
    }

    def odds(word: str, group: str) -> float:
        seen = [all_of[word] - of_group[word] for all_of, of_group in zip(counts, own[group], strict=True)]
        return math.log((seen[0] + _SMOOTHING) / (seen[1] + _SMOOTHING))

    return [
        round(sum(odds(word, group) for word in positive) - sum(odds(word, group) for word in negative), 9)
        for (positive, negative), group in zip(sides, groups, strict=True)
    ]


def _counts(sides: Iterable[_Sides]) -> tuple[Counter[str], Counter[str]]:
    """In how many pairs each word is on the positive side, and on the negative one."""
    found: tuple[Counter[str], Counter[str]] = Counter(), Counter()
    for words in sides:
        for count, some in zip(found, words, strict=True):
            count.update(some)
    return found


def _telling(sides: Sequence[_Sides]) -> tuple[str, ...]:
    """The words that are most on one side, at least twice more than on the other one."""
    positive, negative = _counts(sides)
    lean = {word: abs(positive[word] - negative[word]) for word in positive.keys() | negative.keys()}
    return tuple(sorted((word for word in lean if lean[word] > 1), key=lambda word: (-lean[word], word))[:_TOLD])
