"""The parts of a version's page that tell of its proof."""

from collections.abc import Iterator, Sequence

from daemon.protocol import Check, DosePoint, GeneratedText, Generation, SampleEffect, SideEffects, VerifyReport
from daemon.report import charts
from daemon.report.blocks import figure, figures, folded, mark, met_mark, section, table
from daemon.report.markup import Markup, element, joined
from daemon.report.numbers import count, interval, number, probability, share, signed

_LAYER_HEADS = ("layer", "coherence", "split half", "d′")
_SHOWN = 3


def conditions(proof: VerifyReport) -> Markup | None:
    """Everything that was asked, in order."""
    if not proof.conditions:
        return None
    rows = [
        (each.what, number(each.value, 3), f"{each.sense} {number(each.bar, 3)}", number(each.n), met_mark(each.met))
        for each in proof.conditions
    ]
    missed = sum(not each.met for each in proof.conditions)
    told = "all were met" if not missed else f"{missed} missed"
    lead = f"{count(len(rows), 'condition')} in order, {told}. The first one that is missed is the reason of a refusal."
    return section("What was asked", lead, table(("condition", "value", "asked", "n", ""), rows, "Conditions"))


def dose_and_chance(proof: VerifyReport) -> Markup | None:
    """The sweep at the chosen layer, beside it what vectors do that know nothing, and every number of both."""
    points = _swept(proof)
    drawings = []
    if points:
        caption = (
            f"Line: effect on {count(proof.n_validation, 'validation pair')} at layer {number(proof.layer)}. Ring: the "
            f"one measurement on {count(proof.n_test, 'test pair')} of {count(proof.n_groups, 'session')}, with its "
            "95 % interval. Dashed: the bar."
        )
        drawings.append(figure(charts.dose_chart(proof), caption))
    if proof.nulls:
        caption = (
            f"The same measurement on the same {count(proof.n_test, 'test pair')} of vectors of equal norm that know "
            "nothing of the behaviour, one dot each. Ring: this vector. Dashed: the bar."
        )
        drawings.append(figure(charts.chance_chart(proof), caption))
    if not drawings:
        return None
    return section("Dose, and chance", _chance(proof), figures(*drawings), _dose_numbers(proof, points))


def _swept(proof: VerifyReport) -> list[DosePoint]:
    return sorted((p for p in proof.dose_curve if p.layer == proof.layer), key=lambda point: point.dose)


def _chance(proof: VerifyReport) -> str:
    test = proof.null_test
    if test is None:
        return "What chance does was not measured." if not proof.nulls else ""
    among = f", shared among {test.family} behaviours" if test.family > 1 else ""
    return (
        f"{count(test.n, 'baseline')} set the bar: the strongest reached {signed(test.strongest)}, and the bar "
        f"(percentile {100 * test.percentile:g}{among}) is {signed(test.bar)} nats a token. Chance gives as much as "
        f"this vector with {probability(test.p_value)}."
    )


def _dose_numbers(proof: VerifyReport, points: Sequence[DosePoint]) -> Markup:
    nulls = list(_null_rows(proof))
    rows = [(number(p.dose, 3), signed(p.effect, 3)) for p in points]
    return folded(
        f"the numbers: {count(len(rows), 'dose')}, {count(len(proof.nulls), 'baseline')}",
        table(("dose", "effect"), rows, f"Doses, {proof.n_validation} validation pairs") if rows else None,
        table(("baseline", "n", "effects"), nulls, f"Baselines, {proof.n_test} test pairs") if nulls else None,
    )


def _null_rows(proof: VerifyReport) -> Iterator[tuple[object, ...]]:
    """One row for a kind that is drawn many times, one for each other behaviour; the strongest first."""
    for kind in ("random", "shuffled"):
        effects = sorted((null.effect for null in proof.nulls if null.kind == kind), reverse=True)
        if effects:
            yield kind, number(len(effects)), element("span", ", ".join(signed(effect) for effect in effects))
    for null in proof.nulls:
        if null.kind == "behaviour":
            yield null.name, number(1), element("span", signed(null.effect))


def price(proof: VerifyReport) -> Markup | None:
    """What the vector does to text that has nothing to do with it."""
    points, side = _swept(proof), proof.side_effects
    if not points and side is None:
        return None
    bar = next((c.bar for c in proof.conditions if "KL p95" in c.what), None)
    caption = "Neutral validation text: KL(unsteered ‖ steered) over positions. Blue: the operating dose."
    drawings = [figure(charts.price_chart(points, proof.dose, bar), caption)] if points else []
    if any(point.perplexity is not None for point in points):
        drawings.append(figure(charts.perplexity_chart(points, proof.dose), "Perplexity of the same text."))
    rows = [
        (number(p.dose, 3), *(number(v, 3) for v in (p.kl_mean, p.kl_p95, p.kl_rmse)), number(p.perplexity))
        for p in points
    ]
    heads = ("dose", "KL mean", "KL p95", "KL RMSE", "perplexity")
    every = folded("the numbers", table(heads, rows, "Neutral validation text")) if rows else None
    return section("The price", _measured_price(side), figures(*drawings), every)


def _measured_price(side: SideEffects | None) -> str:
    if side is None:
        return "Neutral test text was not looked at."
    return (
        f"On neutral test text at the operating dose, {count(side.n_positions, 'position')}: KL mean "
        f"{number(side.kl_mean, 3)}, p95 {number(side.kl_p95, 3)}, RMSE {number(side.kl_rmse, 3)} nats; perplexity "
        f"{number(side.perplexity_base)} without the vector, {number(side.perplexity)} with it."
    )


def layers(proof: VerifyReport) -> Markup | None:
    """What was known of each layer, and what each one that was tried gave."""
    tried = [point.layer for point in proof.layer_curve]
    known = [p for p in proof.predictions if (p.coherence, p.split_half_cosine, p.d_prime) != (None, None, None)]
    drawings = []
    if proof.layer_curve:
        caption = (
            f"The best allowed dose of each layer that was tried, on {count(proof.n_validation, 'validation pair')}. "
            "Blue: the one that was taken."
        )
        drawings.append(figure(charts.layer_chart(proof.layer_curve, proof.layer), caption))
    if known:
        caption = (
            "Before anything was steered: do the training pairs agree, and are replies that it has not seen told apart?"
        )
        drawings.append(figure(charts.prediction_chart(known, tried, proof.layer), caption))
    if not drawings:
        return None
    rows = [(number(p.layer), number(p.coherence), number(p.split_half_cosine), number(p.d_prime)) for p in known]
    operating = [
        (number(p.layer), number(p.dose, 3), signed(p.effect, 3), number(p.kl_p95, 3)) for p in proof.layer_curve
    ]
    numbers = folded(
        "the numbers",
        table(("layer", "dose", "effect", "KL p95"), operating, "Operating points") if operating else None,
        table(_LAYER_HEADS, rows, f"Predictions; d′ of {proof.n_validation} validation pairs") if rows else None,
    )
    lead = "Layer and dose are chosen on validation pairs; the test pairs are looked at once, at the chosen place."
    return section("Layer", lead, figures(*drawings), numbers)


def samples(proof: VerifyReport) -> Markup | None:
    """Each test pair by itself, those that go the other way by name."""
    if not proof.samples:
        return None
    losers = [each for each in sorted(proof.samples, key=lambda each: each.slope) if each.slope < 0]
    drawing = figure(
        charts.sample_chart(proof.samples, losers),
        f"Slope of the gap over doses up to the operating one, of {count(len(proof.samples), 'test pair')} "
        f"of {count(proof.n_groups, 'session')}.",
    )
    lead = f"{number(len(losers))} of {number(len(proof.samples))} test pairs go the other way as the dose rises."
    named = element("ol", *(element("li", _loser(each)) for each in losers), class_="losers") if losers else None
    rows = [
        (
            each.pair[:12],
            number(each.base_gap),
            signed(each.effect),
            signed(each.slope),
            element("span", each.direction),
        )
        for each in sorted(proof.samples, key=lambda each: each.slope)
    ]
    heads = ("pair", "gap before", "effect", "slope", "direction")
    every = folded(f"all {count(len(rows), 'pair')}", table(heads, rows, "Test pairs"))
    return section("Pair by pair", lead, figures(drawing, named), every)


def _loser(sample: SampleEffect) -> Markup:
    told = f" slope {signed(sample.slope)}, effect {signed(sample.effect)}, from a gap of {number(sample.base_gap)}"
    return joined(element("span", sample.direction), element("span", told, class_="quiet"))


def generations(proof: VerifyReport) -> Markup | None:
    """Held-out directions answered without and with the vector, greedy ones first."""
    if not proof.generations:
        return None
    ordered = sorted(proof.generations, key=lambda each: each.kind != "greedy")
    greedy = [each for each in ordered if each.kind == "greedy"] or ordered
    lead = (
        f"{count(len(ordered), 'answer')} to held-out directions, {number(len(greedy))} of them greedy, each twice: "
        f"without the vector, and with it. The pole is what the behaviour's cues see in the reply: positive in "
        f"{_poles(ordered, 'base')} without, in {_poles(ordered, 'steered')} with."
    )
    shown = [_answered(each) for each in ordered[:_SHOWN]]
    rest = [_answered(each) for each in ordered[_SHOWN:]]
    return section("Before and after", lead, *shown, folded(f"{number(len(rest))} more", *rest) if rest else None)


def _poles(answers: Sequence[Generation], side: str) -> str:
    return f"{sum(getattr(each, side).pole in ('positive', 'both') for each in answers)} of {len(answers)}"


def _answered(each: Generation) -> Markup:
    sides = element("div", _side(each.base, "without"), _side(each.steered, "with"), class_="sides")
    asked = element("p", element("b", each.direction), " ", mark(each.kind), class_="asked")
    return element("div", asked, sides, class_="replies")


def _side(text: GeneratedText, who: str) -> Markup:
    marks: list[object] = (
        [mark(text.pole, {"positive": "good", "negative": "bad"}.get(text.pole, ""))] if text.pole else []
    )
    marks += [" ", mark(f"repeats {share(text.repetition)}", "bad")] if text.repetition > 0 else []
    marks += [" ", mark(f"perplexity {number(text.perplexity, 1)}")] if text.perplexity is not None else []
    said = element("p", text.text or "(nothing)", class_="said")
    return element("div", element("span", who, class_="who"), said, *marks, class_=f"side {who}")


def checks(proof: VerifyReport) -> Markup | None:
    """What else the model can do, without and with the vector."""
    if not proof.checks:
        return None
    rows = [
        (each.name, share(each.before), share(each.after), share(each.bar), number(each.n), _passed(each))
        for each in proof.checks
    ]
    heads = ("check", "without", "with", "bar on the change", "n", "")
    lead = (
        "Side effects on other work. Where the model cannot do the task without the vector either, nothing can be said."
    )
    return section("What it may break", lead, table(heads, rows, "Checks"))


def _passed(check: Check) -> Markup:
    return mark("nothing to say") if check.passed is None else met_mark(check.passed)


def confounds(proof: VerifyReport) -> Markup | None:
    """What else could tell the sides of a pair apart."""
    if proof.confounds is None:
        return None
    return section(
        "What else it could be",
        "Length, letter and topic, each by itself; where the share is near 50 %, it does not tell the sides apart.",
        table(("confound", "share", "p", "n", "what follows"), list(_confounds(proof)), "Confounds"),
    )


def _confounds(proof: VerifyReport) -> Iterator[tuple[object, ...]]:
    assert proof.confounds is not None
    length, topic, letter = proof.confounds.length, proof.confounds.topic, proof.confounds.letter
    at_equal = f"effect at equal length {signed(length.adjusted)} {interval(length.adjusted_interval)}"
    told = at_equal if length.adjusted is not None else ""
    yield "positive is longer", share(length.longer_positive), number(length.p_value, 3), number(length.n), told
    words = f"most telling words: {', '.join(topic.words)}" if topic.words else ""
    yield "topic of the direction", share(topic.accuracy), number(topic.p_value, 3), number(topic.n), words
    if letter is not None:
        swapped = (
            f"effect {signed(letter.effect_given)} in the order of the data, {signed(letter.effect_swapped)} in the "
            f"other; bias to (A) {signed(letter.bias)} before, {signed(letter.bias_steered)} with"
        )
        yield "positive is (A)", share(letter.first_positive), number(letter.p_value, 3), number(letter.n), swapped


def gate(proof: VerifyReport) -> Markup | None:
    """Whether a gate can leave alone what is no direction."""
    found = proof.gate
    if found is None:
        return None
    verdict = "It keeps enough of the effect and leaves enough alone." if found.passed else f"Not used: {found.reason}."
    rows = [
        ("opens for directions", share(found.recall), number(found.n_prompts)),
        ("opens for neutral text", share(found.false_open), number(found.n_neutral)),
        ("effect that is kept", share(found.effect_kept), number(proof.n_test)),
        ("neutral KL that is left", share(found.kl_left), number(found.n_neutral)),
    ]
    lead = f"A probe on the mean activation of the prompt at layer {found.layer}. {verdict}"
    return section("The gate", lead, table(("", "share", "n"), rows, "Gate"))
