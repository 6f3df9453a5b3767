"""Drawings as inline SVG: colours are the page's own variables, text stays text, the same data gives the same bytes.

A drawing is made with stand-in colours, and each is replaced by a CSS variable, so that one drawing serves a light
page, a dark one and paper. Every id is of this drawing alone, so that several stand on one page.
"""

import io
import re
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from daemon.report.markup import Markup, element, trusted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, QUIET, RULE, OWN, BAD, CARD, WARM = "#010203", "#040506", "#070809", "#0a0b0c", "#0d0e0f", "#101112", "#131415"
_VARIABLES = {
    INK: "ink",
    QUIET: "quiet",
    RULE: "rule",
    OWN: "own",
    BAD: "bad",
    CARD: "card",
    WARM: "warm",
}
WIDTH = 4.1
"""Inches: a phone shows a drawing nearly as large as it was made, so that its text stays readable."""

_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "reflexd",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": RULE,
    "axes.labelcolor": QUIET,
    "axes.facecolor": "none",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "axes.grid.axis": "y",
    "axes.grid": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "figure.facecolor": "none",
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
}


def drawn(name: str, told: str, draw: Callable[["Figure"], None], height: float = 2.6, width: float = WIDTH) -> Markup:
    """What `draw` puts on an empty figure of `width` × `height` inches, as `<svg>`.

    `told` says the same in words, for whoever does not see it. `name` sets its ids apart from those of other drawings
    on the page.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    written = io.StringIO()
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*[Gg]lyph.*")  # the reader's fonts are not ours
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure)
        figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    return _inlined(written.getvalue(), name, told)


def _inlined(svg: str, name: str, told: str) -> Markup:
    body = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    opening, _, inner = body.partition(">")
    viewed = re.search(r'viewBox="([^"]+)"', opening)
    assert viewed is not None
    inner = _own_ids(inner.replace("xlink:href", "href"), name).replace("</svg>", "")
    for stand_in, variable in _VARIABLES.items():
        inner = inner.replace(stand_in, f"var(--{variable})")
    width = float(viewed[1].split()[2])
    return element(
        "svg",
        trusted(re.sub(r"\n\s*", "\n", inner)),
        viewBox=viewed[1],
        role="img",
        aria_label=told,
        style=f"max-width:{width:.0f}pt",
    )


def _own_ids(svg: str, name: str) -> str:
    """Ids that something points to begin with `name`; the others go."""
    used = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", svg))

    def renamed(found: re.Match[str]) -> str:
        return f' id="{name}-{found[1]}"' if found[1] in used else ""

    svg = re.sub(r' id="([^"]*)"', renamed, svg)
    return re.sub(r"(url\(#|href=\"#)", rf"\g<1>{name}-", svg)
