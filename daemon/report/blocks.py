"""The bricks of a page: sections, tables that scroll in their own box, figures, what folds, marks, bars in a line."""

from collections.abc import Iterable, Sequence

from daemon.report.markup import Markup, element, joined, trusted
from daemon.report.numbers import DASH, interval, signed


def section(title: str, lead: object, *parts: object) -> Markup:
    """A part of the page: what it asks, in a sentence or two, and what was found."""
    told = element("p", prose(lead), class_="lead") if lead else None
    return element("section", element("h2", title), told, *parts)


def table(heads: Sequence[str], rows: Iterable[Sequence[object]], label: str) -> Markup:
    """Rows under heads; a cell that is a `Number` or begins like one stands to the right."""
    body = [element("tr", *(_cell(cell, i) for i, cell in enumerate(row))) for row in rows]
    head = element("tr", *(element("th", name, scope="col") for name in heads))
    whole = element("table", element("thead", head), element("tbody", *body))
    return element("div", whole, class_="scroll", tabindex="0", role="region", aria_label=label)


def prose(text: object) -> Markup:
    """A sentence in which what stands between `backticks` is code; markup stays as it is."""
    if isinstance(text, Markup):
        return text
    parts = str(text).split("`")
    return joined(*(element("code", part) if i % 2 else part for i, part in enumerate(parts)))


def _cell(cell: object, place: int) -> Markup:
    text = DASH if cell is None or cell == "" else cell
    kind = "number" if _numeric(text) else None
    return element("th", text, scope="row", class_=kind) if place == 0 else element("td", text, class_=kind)


def _numeric(cell: object) -> bool:
    return not isinstance(cell, Markup) and str(cell)[:1] in "0123456789+−[–≥≤>"


def fields(rows: Iterable[tuple[str, object]]) -> Markup:
    """Names with their values, of those that have one."""
    told = [(name, value) for name, value in rows if value not in (None, "")]
    return element("dl", *(part for name, value in told for part in (element("dt", name), element("dd", value))))


def folded(title: str, *parts: object) -> Markup:
    """What is there for whoever opens it; paper shows it anyway."""
    return element("details", element("summary", title), *parts)


def figure(drawing: Markup, caption: object) -> Markup:
    """A drawing and what it shows."""
    return element("figure", drawing, element("figcaption", caption))


def figures(*parts: object) -> Markup:
    """Drawings beside each other where there is room."""
    return element("div", *parts, class_="figures")


def mark(text: str, kind: str = "") -> Markup:
    """A word that stands out; `kind` is good, bad or nothing."""
    return element("span", text, class_=f"mark {kind}".strip())


_STATES = {"verified": "good", "promoted": "good", "retired": "good", "rejected": "bad", "withdrawn": "bad"}
_JOB_STATES = {"trained": "good", "failed": "bad"}


def state_mark(state: str) -> Markup:
    """The state of a version or a job."""
    return mark(state.replace("_", " "), _STATES.get(state) or _JOB_STATES.get(state, ""))


def met_mark(met: bool | None) -> Markup:
    """Whether a condition was met; None: it was only looked at."""
    return mark("not asked") if met is None else mark("met", "good") if met else mark("missed", "bad")


def nothing(text: str) -> Markup:
    """A sentence in place of what is not there."""
    return element("p", prose(text), class_="nothing")


def effect_bar(effect: float | None, low: float | None, high: float | None, most: float) -> Markup:
    """An effect with its interval on a line from 0, or from the least value, to `most`; the number beside it."""
    if effect is None:
        return joined(DASH)
    low, high = effect if low is None else low, effect if high is None else high
    floor = min(0.0, low)
    scale = 100 / ((max(most, high) - floor) or 1.0)
    zero, start, end, at = ((value - floor) * scale for value in (0.0, low, high, effect))
    colour = "own" if effect > 0 else "bad"
    drawing = (
        f'<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect x="{min(zero, at):.1f}" y="3" width="{abs(at - zero):.1f}" height="4" fill="var(--{colour})" '
        f'opacity=".35"/>'
        f'<rect x="{start:.1f}" y="4.4" width="{max(end - start, 0.8):.1f}" height="1.2" fill="var(--{colour})"/>'
        f'<rect x="{at - 0.7:.1f}" y="1.5" width="1.4" height="7" fill="var(--{colour})"/></svg>'
    )
    told = f"{signed(effect)} {interval((low, high))}"
    return element("span", trusted(drawing), element("span", told, class_="number"), class_="effect")
