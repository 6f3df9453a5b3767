"""Every number that fails is the reason, in words; and a report that meets everything has none against it."""

import pytest

from daemon.proof.verdict import judged
from daemon.protocol import (
    Check,
    Confounds,
    GeneratedText,
    Generation,
    LengthTest,
    LetterTest,
    Null,
    NullTest,
    SideEffects,
    TopicTest,
    VerifyReport,
)
from tests.steering.planted import SETTINGS

NAN = float("nan")


def side(**changes):
    given = {"kl_mean": 0.1, "kl_p95": 0.5, "kl_rmse": 0.2, "perplexity": 2.0, "perplexity_base": 1.9, "n_positions": 9}
    return SideEffects(**given | changes)


def chance(**changes):
    given = {"bar": 0.5, "percentile": 0.99, "family": 3, "p_value": 0.001, "strongest": 0.4, "n": 40}
    return NullTest(**given | changes)


def confounds(adjusted=0.9, low=0.4, given=None, swapped=None):
    length = LengthTest(longer_positive=0.5, p_value=1, n=20, adjusted=adjusted, adjusted_interval=(low, 1.4))
    letter = LetterTest(n=20, first_positive=0.5, p_value=1, effect_given=given, effect_swapped=swapped)
    return Confounds(length=length, topic=TopicTest(accuracy=0.5, p_value=1, n=20), letter=letter)


def said(repetition):
    return GeneratedText(text="a b", pole="", repetition=repetition, perplexity=3.0)


def generation(after):
    return Generation(kind="greedy", pair="p", direction="do it", base=said(0.1), steered=said(after))


def measured(**changes):
    given = {
        "verdict": "refused",
        "reason": "not judged yet",
        "layer": 1,
        "dose": 0.2,
        "coefficient": 1.0,
        "effect": 1.0,
        "effect_interval": (0.5, 1.5),
        "base_gap": 0.0,
        "steered_gap": 1.0,
        "steerability": 5.0,
        "anti_steerable": 0.1,
        "nulls": (Null(kind="random", seed=0, effect=0.2), Null(kind="shuffled", seed=0, effect=0.4)),
        "null_test": chance(),
        "side_effects": side(),
        "confounds": confounds(),
        "n_test": 12,
        "n_groups": 4,
    }
    return VerifyReport.model_validate(given | changes)


def check(name="refusals", better="lower", before=0.0, after=0.5, passed=False):
    return Check(name=name, better=better, before=before, after=after, bar=0.15, n=20, passed=passed)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"effect": 0.05}, "effect +0.050 nats a token on test pairs, at least 0.1 is asked"),
        ({"effect": NAN}, "effect +nan"),
        ({"effect_interval": (-0.2, 2.0)}, "its interval reaches down to -0.200"),
        ({"effect_interval": (NAN, 2.0)}, "its interval reaches down to +nan"),
        ({"steerability": -0.1}, "does not grow with the dose: slope -0.100"),
        ({"anti_steerable": 0.5}, "50% of the test pairs go the other way, at most 25% may"),
        ({"null_test": chance(strongest=1.0)}, "not above the +1.000 of a shuffled baseline of equal norm"),
        ({"null_test": chance(bar=1.2)}, "chance alone reaches +1.200 (percentile 99 among 3 behaviours)"),
        ({"null_test": chance(bar=NAN)}, "chance alone reaches +nan"),
        ({"confounds": confounds(low=-0.1)}, "for replies of equal length"),
        ({"confounds": confounds(given=0.9, swapped=-0.2)}, "the effect is one of the letter"),
        ({"side_effects": side(kl_p95=1.2)}, "neutral KL p95 1.20 nat on test text, over 1"),
        ({"side_effects": side(kl_rmse=1.3)}, "neutral KL RMSE 1.30"),
        ({"side_effects": side(kl_p95=NAN)}, "neutral KL p95 nan"),
        ({"side_effects": side(perplexity=5.0)}, "perplexity of neutral text is 2.63 times what it was"),
        ({"checks": (check(),)}, "refusals: 0% without the vector, 50% with it, of 20"),
        ({"checks": (check("multiple choice", "higher", 0.8, 0.5),)}, "multiple choice: 80% without the vector"),
        ({"generations": (generation(0.9),)}, "greedy replies repeat themselves: 10% of 4-grams"),
    ],
)
def test_each_number_that_fails_is_the_reason(changes, reason):
    report = judged(measured(**changes), SETTINGS)
    assert report.verdict == "refused"
    assert reason in report.reason
    assert report.reason in [condition.reason for condition in report.conditions if not condition.met]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"nulls": (), "null_test": None},
        {"confounds": confounds(given=0.5, swapped=0.4)},
        {"checks": (check(after=0.1, passed=True), check("multiple choice", "higher", 0.5, 0.6, passed=True))},
        {"generations": (generation(0.2),)},
    ],
)
def test_a_report_that_meets_everything_is_verified(changes):
    report = judged(measured(**changes), SETTINGS)
    assert (report.verdict, report.reason) == ("verified", "")
    assert all(condition.met for condition in report.conditions)


def test_what_a_model_cannot_do_anyway_is_no_condition():
    report = judged(measured(checks=(check(before=0.3, after=0.9, passed=None),)), SETTINGS)
    assert report.verdict == "verified"
    assert not any("refusals" in condition.what for condition in report.conditions)
