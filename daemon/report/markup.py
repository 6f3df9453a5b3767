"""HTML as nested function calls; whatever is not markup already is escaped, so that text from a memory stays text."""

from html import escape


class Markup(str):
    """HTML. Only `element` and `joined` make it of other people's text, and `trusted` of our own."""

    __slots__ = ()


VOID = frozenset({"meta", "br", "hr"})


def trusted(text: str) -> Markup:
    """Our own HTML, as it stands: never anything that was read from a store."""
    return Markup(text)


def joined(*parts: object) -> Markup:
    """The parts one after the other; None and "" leave nothing, and everything that is not `Markup` is escaped."""
    return Markup("".join(_text(part) for part in parts if part is not None))


def element(name: str, /, *parts: object, **attributes: object) -> Markup:
    """`<name attributes>parts</name>`; `class_` is written class, `aria_label` aria-label; None leaves one out."""
    told = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{told}>" if name in VOID else f"<{name}{told}>{joined(*parts)}</{name}>")


def _text(part: object) -> str:
    return part if isinstance(part, Markup) else escape(str(part))
