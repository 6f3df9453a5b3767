"""The drawings of a proof, one function each. Blue is this vector, red goes the wrong way, grey is chance."""

from collections.abc import Sequence
from typing import Any

from daemon.protocol import DosePoint, LayerPrediction, SampleEffect, VerifyReport
from daemon.report.data import VersionRow
from daemon.report.figures import BAD, CARD, INK, OWN, QUIET, RULE, WARM, drawn
from daemon.report.markup import Markup
from daemon.report.numbers import number, signed

_CHANCE = {"random": "random", "shuffled": "shuffled\nlabels", "behaviour": "other\nbehaviours"}
_NAMED = 9
_DASHED = (0, (4, 2))


def dose_chart(proof: VerifyReport) -> Markup:
    """Effect against dose on validation pairs, and the one measurement on test pairs."""
    points = sorted((p for p in proof.dose_curve if p.layer == proof.layer), key=lambda point: point.dose)

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        _zero(axes)
        axes.plot([p.dose for p in points], [p.effect for p in points], color=OWN, marker="o", markersize=3.5)
        if proof.effect is not None and proof.dose is not None:
            low, high = proof.effect_interval or (proof.effect, proof.effect)
            axes.plot([proof.dose] * 2, [low, high], color=OWN, linewidth=5, alpha=0.3, solid_capstyle="round")
            _ring(axes, proof.dose, proof.effect)
        if proof.null_test is not None:
            axes.axhline(proof.null_test.bar, color=INK, linewidth=1, linestyle=_DASHED)
        axes.set(xlabel="dose, median residual norms", ylabel="effect, nats a token")

    measured = f"{signed(proof.effect)} at {number(proof.dose)}"
    told = f"Effect against dose: {_listed(points)}. Measured on test pairs: {measured}."
    return drawn("dose", told, draw)


def chance_chart(proof: VerifyReport) -> Markup:
    """Effects of baselines, one row a kind; equal ones stand above each other, so that a row is a histogram too."""
    kinds = [kind for kind in _CHANCE if any(null.kind == kind for null in proof.nulls)]

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        axes.grid(visible=False, axis="y")
        axes.grid(visible=True, axis="x")
        for row, kind in enumerate(kinds):
            effects = sorted(null.effect for null in proof.nulls if null.kind == kind)
            axes.plot(effects, _stacked(effects, row), "o", color=QUIET, markersize=4, alpha=0.75, markeredgewidth=0)
        if proof.effect is not None:
            _ring(axes, proof.effect, (len(kinds) - 1) / 2)
        if proof.null_test is not None:
            axes.axvline(proof.null_test.bar, color=INK, linewidth=1, linestyle=_DASHED)
        axes.axvline(0, color=QUIET, linewidth=0.8)
        axes.set_yticks(range(len(kinds)), [_CHANCE[kind] for kind in kinds])
        axes.set(xlabel="effect, nats a token", ylim=(len(kinds) - 0.4, -0.6))

    ends = [f"{kind} up to {signed(max(n.effect for n in proof.nulls if n.kind == kind))}" for kind in kinds]
    told = f"Effects of {len(proof.nulls)} baselines: {'; '.join(ends)}; this vector {signed(proof.effect)}."
    return drawn("chance", told, draw)


def _ring(axes: Any, x: float, y: float) -> None:
    axes.plot([x], [y], "o", color=CARD, markeredgecolor=OWN, markeredgewidth=2, markersize=8, zorder=5)


def _stacked(effects: Sequence[float], row: int) -> list[float]:
    """Where each point of a sorted row stands: those too near to be told apart step aside in turn."""
    reach = (effects[-1] - effects[0]) / 30
    places, run = [], 0
    for i, effect in enumerate(effects):
        run = run + 1 if i and effect - effects[i - 1] < reach else 0
        side = (run + 1) // 2 * (1 if run % 2 else -1)
        places.append(row + max(-0.4, min(0.4, 0.1 * side)))
    return places


def layer_chart(curve: Sequence[DosePoint], chosen: int | None) -> Markup:
    """The operating effect of each layer that was tried, on validation pairs."""
    points = sorted(curve, key=lambda point: point.layer)

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        _zero(axes)
        for point in points:
            own = point.layer == chosen
            axes.plot([point.layer] * 2, [0, point.effect], color=OWN if own else QUIET, linewidth=2.2)
            axes.plot([point.layer], [point.effect], "o", color=OWN if own else QUIET, markersize=6)
            _value(axes, point.layer, point.effect, signed(point.effect), own)
        axes.set(xlabel="layer (block output, 0-based)", ylabel="effect, nats a token")
        _whole(axes, [point.layer for point in points])
        axes.margins(x=0.12, y=0.18)

    told = "Operating effect by layer: " + "; ".join(f"layer {p.layer} {signed(p.effect)}" for p in points)
    return drawn("layers", told, draw)


def _value(axes: Any, x: float, y: float, text: str, own: bool) -> None:
    shift, align = ((0, 6), "bottom") if y >= 0 else ((0, -6), "top")
    axes.annotate(
        text,
        (x, y),
        shift,
        textcoords="offset points",
        ha="center",
        va=align,
        fontsize=9.5,
        color=INK if own else QUIET,
    )


def prediction_chart(predictions: Sequence[LayerPrediction], tried: Sequence[int], chosen: int | None) -> Markup:
    """What was known of each layer before anything was steered: agreement of the pairs, and d′ below it."""
    layers = [each.layer for each in predictions]

    def draw(figure: Any) -> None:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        _line(upper, layers, [p.split_half_cosine for p in predictions], WARM, "split half")
        _line(upper, layers, [p.coherence for p in predictions], INK, "coherence")
        _line(lower, layers, [p.d_prime for p in predictions], INK, "")
        upper.set(ylabel="cosine", ylim=(min(0.0, upper.get_ylim()[0]), 1.04))
        upper.legend(loc="lower right", ncols=2, handlelength=1.2, borderpad=0, borderaxespad=0.2)
        lower.set(ylabel="d′", xlabel="layer (block output, 0-based)")
        for axes in (upper, lower):
            for layer in tried:
                axes.axvline(layer, color=OWN if layer == chosen else RULE, linewidth=1, zorder=0)
            axes.margins(y=0.12)
        _whole(lower, layers)

    known = [
        f"layer {p.layer}: {number(p.coherence)}, {number(p.split_half_cosine)}, {number(p.d_prime)}"
        for p in predictions
    ]
    return drawn("predictions", "Coherence, split-half cosine and d′ by layer. " + "; ".join(known), draw, height=3.0)


def _line(axes: Any, x: Sequence[float], y: Sequence[float | None], colour: str, label: str) -> None:
    known = [(a, b) for a, b in zip(x, y, strict=True) if b is not None]
    if known:
        axes.plot(*zip(*known, strict=True), color=colour, marker="o", markersize=3, label=label)


def sample_chart(samples: Sequence[SampleEffect], losers: Sequence[SampleEffect]) -> Markup:
    """The slope of each test pair over doses, weakest first; those that go the other way are red and numbered."""
    ordered = sorted(samples, key=lambda sample: sample.slope)
    marks = {sample.pair: str(i + 1) for i, sample in enumerate(losers[:_NAMED])}

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        size = max(1.6, min(6.0, 140 / max(len(ordered), 1)))
        _zero(axes)
        for place, sample in enumerate(ordered):
            colour = BAD if sample.slope < 0 else OWN
            axes.plot([place] * 2, [0, sample.slope], color=colour, linewidth=max(0.6, size / 3), alpha=0.6)
            axes.plot([place], [sample.slope], "o", color=colour, markersize=size, markeredgewidth=0)
            if sample.pair in marks:
                _value(axes, place, sample.slope, marks[sample.pair], own=True)
        axes.set(xlabel=f"{len(ordered)} test pairs, weakest first", ylabel="slope, nats a token a dose")
        axes.set_xticks([])
        axes.margins(y=0.15)

    ends = f"from {number(ordered[0].slope)} to {number(ordered[-1].slope)}"
    told = f"Slope of each of {len(ordered)} test pairs over doses, {ends}; {len(losers)} go the other way."
    return drawn("samples", told, draw)


def price_chart(points: Sequence[DosePoint], dose: float | None, p95_bar: float | None) -> Markup:
    """Neutral KL against dose; the mean hides what the 95th percentile shows."""
    ordered = sorted(points, key=lambda point: point.dose)

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        for name, colour in (("p95", INK), ("rmse", WARM), ("mean", QUIET)):
            values = [getattr(point, f"kl_{name}") for point in ordered]
            axes.plot([p.dose for p in ordered], values, color=colour, marker="o", markersize=3, label=name)
        _at_dose(axes, dose)
        if p95_bar is not None:
            axes.axhline(p95_bar, color=INK, linewidth=1, linestyle=_DASHED)
            _beside(axes, "bar of p95", p95_bar)
        axes.set(xlabel="dose, median residual norms", ylabel="neutral KL, nats a position", ylim=(0, None))
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, handlelength=1.2)

    told = "Neutral KL against dose: " + "; ".join(f"{number(p.dose)}: p95 {number(p.kl_p95)}" for p in ordered)
    return drawn("price", told, draw)


def _beside(axes: Any, text: str, y: float) -> None:
    """A word on a level line, in the middle, where curves of a price are low."""
    where = ("axes fraction", "data")
    axes.annotate(text, (0.5, y), (0, 3), xycoords=where, textcoords="offset points", ha="center", fontsize=9.5)


def perplexity_chart(points: Sequence[DosePoint], dose: float | None) -> Markup:
    """Perplexity of neutral text against dose."""
    ordered = [point for point in sorted(points, key=lambda point: point.dose) if point.perplexity is not None]

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        axes.plot([p.dose for p in ordered], [p.perplexity for p in ordered], color=INK, marker="o", markersize=3)
        _at_dose(axes, dose)
        axes.set(xlabel="dose, median residual norms", ylabel="perplexity")
        axes.margins(y=0.15)

    told = "Perplexity of neutral text against dose: " + _listed(ordered, "perplexity")
    return drawn("perplexity", told, draw)


def version_chart(versions: Sequence[VersionRow], current: str) -> Markup:
    """Effect of every version with its interval, each on its own test pairs."""
    rows = [(place, row) for place, row in enumerate(versions) if row.effect is not None]

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        _zero(axes)
        for place, row in rows:
            alive = row.state in ("verified", "promoted", "retired")
            colour = OWN if row.vector == current else INK if alive else QUIET
            if row.effect_low is not None and row.effect_high is not None:
                axes.plot([place] * 2, [row.effect_low, row.effect_high], color=colour, linewidth=4, alpha=0.3)
            axes.plot([place], [row.effect], "o", color=colour if alive else CARD, markeredgecolor=colour, markersize=6)
        axes.set_xticks(range(len(versions)), [f"@{row.vector.rpartition('@')[2]}" for row in versions])
        axes.set(xlabel="version", ylabel="effect, nats a token", xlim=(-0.6, len(versions) - 0.4))
        axes.margins(y=0.15)

    told = "Effect of every version: " + "; ".join(
        f"{row.vector} {signed(row.effect)} ({row.state})" for _, row in rows
    )
    return drawn("versions", told, draw)


def heat_map(
    name: str, names: Sequence[str], values: Sequence[Sequence[float | None]], most: float, told: str
) -> Markup:
    """A matrix as tinted squares with their numbers; `most` is the value of the fullest tint."""
    size = len(names)

    def draw(figure: Any) -> None:
        from matplotlib.patches import Rectangle

        axes = figure.subplots()
        axes.grid(False)
        for i, row in enumerate(values):
            for j, value in enumerate(row):
                strength = 0.0 if value is None else min(1.0, abs(value) / most) if most else 0.0
                tint = BAD if value is not None and value < 0 else OWN
                axes.add_patch(
                    Rectangle((j - 0.48, i - 0.48), 0.96, 0.96, color=tint, alpha=0.08 + 0.5 * strength, lw=0)
                )
                axes.text(j, i, number(value), ha="center", va="center", fontsize=9.5)
        axes.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5), aspect="equal")
        axes.set_yticks(range(size), names)
        axes.set_xticks(range(size), names, rotation=35, ha="right")
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)

    return drawn(name, told, draw, height=min(6.0, 1.4 + 0.55 * size))


def _at_dose(axes: Any, dose: float | None) -> None:
    if dose is not None:
        axes.axvline(dose, color=OWN, linewidth=1, zorder=0)


def _zero(axes: Any) -> None:
    axes.axhline(0, color=QUIET, linewidth=0.8)


def _whole(axes: Any, layers: Sequence[int]) -> None:
    """Ticks at whole layers, as many as have room."""
    step = max(1, len(set(layers)) // 10)
    axes.set_xticks(sorted(set(layers))[::step])


def _listed(points: Sequence[DosePoint], what: str = "effect") -> str:
    return "; ".join(f"dose {number(p.dose)}: {number(getattr(p, what))}" for p in points) or "nothing"
