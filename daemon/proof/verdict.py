"""The verdict: everything that was asked of a measured report, in order; the first that fails is the reason. No torch.

A number that is not one (NaN) meets nothing.
"""

from collections.abc import Iterator, Sequence

from daemon.protocol import Condition, Generation, VerifyReport, VerifySettings


def judged(report: VerifyReport, settings: VerifySettings) -> VerifyReport:
    """The report with its conditions, its verdict and the reason of a refusal."""
    conditions = tuple(_conditions(report, settings))
    reason = next((condition.reason for condition in conditions if not condition.met), "")
    return report.model_copy(
        update={"conditions": conditions, "verdict": "refused" if reason else "verified", "reason": reason}
    )


def _at_least(what: str, value: float, bar: float, n: int, reason: str) -> Condition:
    met = value >= bar
    return Condition(what=what, value=value, sense="≥", bar=bar, met=met, n=n, reason="" if met else reason)


def _at_most(what: str, value: float, bar: float, n: int, reason: str) -> Condition:
    met = value <= bar
    return Condition(what=what, value=value, sense="≤", bar=bar, met=met, n=n, reason="" if met else reason)


def _above(what: str, value: float, bar: float, n: int, reason: str) -> Condition:
    met = value > bar
    return Condition(what=what, value=value, sense=">", bar=bar, met=met, n=n, reason="" if met else reason)


def _conditions(report: VerifyReport, settings: VerifySettings) -> Iterator[Condition]:
    yield from _of_effect(report, settings)
    yield from _of_chance(report)
    yield from _of_confounds(report)
    yield from _of_side_effects(report, settings)
    yield from _of_checks(report)
    yield from _of_generations(report, settings)


def _of_effect(report: VerifyReport, settings: VerifySettings) -> Iterator[Condition]:
    assert report.effect is not None
    assert report.effect_interval is not None
    assert report.anti_steerable is not None
    assert report.steerability is not None
    effect, low, n = report.effect, report.effect_interval[0], report.n_test
    told = f"{effect:+.3f} nats a token on test pairs"
    least = settings.min_effect
    yield _at_least("effect, nats a token", effect, least, n, f"effect {told}, at least {least:g} is asked")
    yield _above(
        "low end of its interval over groups",
        low,
        0.0,
        report.n_groups,
        f"effect {told}, but its interval reaches down to {low:+.3f}, above 0 is asked",
    )
    slope = report.steerability
    yield _above("mean slope over doses", slope, 0.0, n, f"the gap does not grow with the dose: slope {slope:+.3f}")
    yield _at_most(
        "share of anti-steerable pairs",
        report.anti_steerable,
        settings.max_anti_steerable,
        n,
        f"{report.anti_steerable:.0%} of the test pairs go the other way, "
        f"at most {settings.max_anti_steerable:.0%} may",
    )


def _of_chance(report: VerifyReport) -> Iterator[Condition]:
    test, effect = report.null_test, report.effect
    if test is None:
        return
    assert effect is not None
    strongest = max(report.nulls, key=lambda null: null.effect)
    yield _above(
        f"above the strongest of {len(report.nulls)} baselines",
        effect,
        test.strongest,
        len(report.nulls),
        f"effect {effect:+.3f} nats a token on test pairs, not above the {test.strongest:+.3f} of a {strongest.kind} "
        f"baseline {strongest.name + ' ' if strongest.name else ''}of equal norm",
    )
    among = f" among {test.family} behaviours" if test.family > 1 else ""
    yield _above(
        f"above what chance does, percentile {100 * test.percentile:g}{among}",
        effect,
        test.bar,
        test.n,
        f"effect {effect:+.3f} nats a token on test pairs, chance alone reaches {test.bar:+.3f} "
        f"(percentile {100 * test.percentile:g}{among})",
    )


def _of_confounds(report: VerifyReport) -> Iterator[Condition]:
    found = report.confounds
    if found is None:
        return
    length, letter, n = found.length, found.letter, report.n_test
    if length.adjusted is not None and length.adjusted_interval is not None:
        low = length.adjusted_interval[0]
        reason = (
            f"the effect may be one of length: {length.adjusted:+.3f} nats a token for replies of equal length, with "
            f"an interval that reaches down to {low:+.3f}, above 0 is asked"
        )
        yield _above("low end of the effect at equal length", low, 0.0, n, reason)
    if letter is not None and letter.effect_given is not None and letter.effect_swapped is not None:
        least = min(letter.effect_given, letter.effect_swapped)
        reason = (
            f"the effect is one of the letter: {letter.effect_given:+.3f} nats a token in the order of the data, "
            f"{letter.effect_swapped:+.3f} with the options exchanged, above 0 in both is asked"
        )
        yield _above("effect in both orders of A/B items", least, 0.0, n, reason)


def _of_side_effects(report: VerifyReport, settings: VerifySettings) -> Iterator[Condition]:
    side = report.side_effects
    assert side is not None
    n = side.n_positions
    for name, value, bar in (
        ("p95", side.kl_p95, settings.kl_p95_max),
        ("RMSE", side.kl_rmse, settings.kl_rmse_max),
    ):
        reason = f"neutral KL {name} {value:.2f} nat on test text, over {bar:g}"
        yield _at_most(f"neutral KL {name}, nats", value, bar, n, reason)
    ratio, bar = side.perplexity / side.perplexity_base, settings.max_perplexity_ratio
    reason = f"perplexity of neutral text is {ratio:.2f} times what it was, at most {bar:g} is allowed"
    yield _at_most("neutral perplexity, with over without", ratio, bar, n, reason)


def _of_checks(report: VerifyReport) -> Iterator[Condition]:
    for check in report.checks:
        if check.passed is None:
            continue
        worse = check.before - check.after if check.better == "higher" else check.after - check.before
        reason = f"{check.name}: {check.before:.0%} without the vector, {check.after:.0%} with it, of {check.n}"
        yield Condition(
            what=f"{check.name}, change for the worse",
            value=worse,
            sense="≤",
            bar=check.bar,
            met=check.passed,
            n=check.n,
            reason="" if check.passed else reason,
        )


def _of_generations(report: VerifyReport, settings: VerifySettings) -> Iterator[Condition]:
    if not report.generations:
        return
    before, after, n = greedy_repetition(report.generations)
    yield _at_most(
        "rise of repeated 4-grams in greedy replies",
        after - before,
        settings.max_repetition_rise,
        n,
        f"greedy replies repeat themselves: {before:.0%} of 4-grams without the vector, {after:.0%} with it",
    )


def greedy_repetition(generations: Sequence[Generation]) -> tuple[float, float, int]:
    """Mean share of repeated 4-grams in n greedy replies, without the vector and with it, and n; 0 of none.

    Drawn replies are left out: what is drawn seldom repeats itself.
    """
    greedy = [each for each in generations if each.kind == "greedy"]
    n = len(greedy)
    before, after = (sum(getattr(each, side).repetition for each in greedy) / max(n, 1) for side in ("base", "steered"))
    return before, after, n
