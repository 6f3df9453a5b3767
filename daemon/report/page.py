"""The page of one version: the verdict in a sentence, then everything behind it."""

from functools import lru_cache
from importlib.resources import files

from daemon import __version__
from daemon.protocol import VerifyReport
from daemon.report import sections, story
from daemon.report.blocks import nothing, prose, state_mark
from daemon.report.data import VersionPage
from daemon.report.markup import Markup, element, trusted
from daemon.report.numbers import count, interval, number, signed

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_FLIPPED = "The vector points the other way: the gap grows where it is taken away, so its doses are negative."
_PARTS = {
    "conditions": ("what was asked", sections.conditions),
    "dose_curve": ("doses and baselines", sections.dose_and_chance),
    "side_effects": ("doses on neutral text", sections.price),
    "layer_curve": ("layers", sections.layers),
    "samples": ("single pairs", sections.samples),
    "generations": ("answers before and after", sections.generations),
    "checks": ("checks of other work", sections.checks),
    "confounds": ("confounds", sections.confounds),
    "gate": ("a gate", sections.gate),
}


def version_page(page: VersionPage) -> str:
    """The whole HTML document; the same data gives the same text."""
    return document(
        page.vector,
        _head(page),
        *_proof(page),
        story.rechecks(page),
        story.versions(page),
        story.interference(page),
        story.lineage(page),
        story.training(page),
    )


def document(title: str, *parts: object) -> str:
    """An HTML document that needs nothing beside itself: no script, no request."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="referrer", content="no-referrer"),
        element("title", f"{title} · reflexd"),
        element("style", trusted(_style())),
    )
    foot = element(
        "footer", f"reflexd {__version__}. Effects are in nats a token; docs/report.md says how to read this page."
    )
    return f"<!doctype html>\n{element('html', head, element('body', *parts, foot), lang='en')}\n"


@lru_cache(maxsize=1)
def _style() -> str:
    return (files("daemon") / "report" / "style.css").read_text(encoding="utf-8")


def _head(page: VersionPage) -> Markup:
    top = element("div", element("h1", page.vector), state_mark(page.state), class_="top")
    poles = [
        page.description,
        f"More of: {page.positive}" if page.positive else "",
        f"Less of: {page.negative}" if page.negative else "",
    ]
    told = " ".join(f"{text[:1].upper()}{text[1:]}".rstrip(".") + "." for text in poles if text)
    return element(
        "header",
        top,
        element("p", prose(verdict(page)), class_="verdict"),
        element("p", told, class_="quiet") if told else None,
        element("p", f"Stale: {page.stale}") if page.stale else None,
        element("p", _FLIPPED) if page.proof and page.proof.polarity_flipped else None,
        _key(page.proof, page) if page.proof and page.proof.effect is not None else None,
    )


def verdict(page: VersionPage) -> str:
    """The whole page in one sentence."""
    proof = page.proof
    if proof is None:
        why = f": {page.reason}" if page.reason else ""
        return f"Not proved{why}." if page.state != "candidate" else "Not extracted yet; `reflexd once` does it."
    if proof.verdict == "refused":
        return f"Refused: {proof.reason}."
    pairs = f"{count(proof.n_test, 'test pair')}" if proof.n_test else "test pairs"
    groups = f" of {count(proof.n_groups, 'session')}" if proof.n_groups else ""
    chance = f"; chance reaches {signed(proof.null_test.bar)}" if proof.null_test else ""
    return (
        f"Verified: {signed(proof.effect)} nats a token {interval(proof.effect_interval)} on {pairs}{groups} that were "
        f"never used before, at layer {number(proof.layer)} and dose {number(proof.dose)}{chance}."
    )


def _key(proof: VerifyReport, page: VersionPage) -> Markup:
    side = proof.side_effects
    boxes = [
        (signed(proof.effect), f"effect, nats a token {interval(proof.effect_interval)}, n = {number(proof.n_test)}"),
        (f"{number(proof.base_gap)} → {number(proof.steered_gap)}", f"gap without → with, n = {number(proof.n_test)}"),
        (_placed(proof), "dose @ layer, in median residual norms"),
    ]
    if side:
        boxes.append((number(side.kl_mean), f"neutral KL, p95 {number(side.kl_p95)}, n = {number(side.n_positions)}"))
    boxes.append((page.served or "not served", "now, for the weights in use"))
    return element(
        "div", *(element("div", element("b", value), element("span", told)) for value, told in boxes), class_="key"
    )


def _placed(proof: VerifyReport) -> str:
    at = [f"{number(each.dose)} @ {number(each.layer)}" for each in proof.placements]
    return ", ".join(at) or f"{number(proof.dose)} @ {number(proof.layer)}"


def _proof(page: VersionPage) -> list[Markup]:
    """The sections there is something for, and one sentence about the others."""
    if page.proof is None:
        return []
    made = {name: build(page.proof) for name, (_, build) in _PARTS.items()}
    lacking = [words for name, (words, _) in _PARTS.items() if made[name] is None and page.proof.effect is not None]
    told = [nothing(f"This proof has no record of {_enumerated(lacking)}.")] if lacking else []
    if page.missing:
        told.append(nothing(f"Written by another version of reflexd; left out here: {', '.join(page.missing)}."))
    return [part for part in made.values() if part is not None] + ([element("section", *told)] if told else [])


def _enumerated(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
