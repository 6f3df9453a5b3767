"""Cues: regular expressions over a response, written by people and by agents, so each is checked before it is used.

`^I'd suggest` must be found in the response. Of `explain|why ==> ^I've changed` the second half must be found in the
response and the first in the direction that it answers.
"""

import re
from collections.abc import Sequence
from functools import lru_cache

import orjson

MAX_CUE = 4000
WHEN_ASKED = " ==> "
READ_CHARACTERS = 4000
"""How far into a response cues look: a stance is taken at its start, and no text may cost more than this."""

_ATOMS = re.compile(r"\\.|\[\^?\]?[^\]]*\]", re.DOTALL)
_GROUP = re.compile(r"\(([^()]*)\)([*+]|\{\d*,\})?")


def cues_of(value: object) -> tuple[str, ...]:
    """Cues of a pattern node: a list of texts, one text, or a JSON list in a text (GraphML knows no lists)."""
    if isinstance(value, str):
        try:
            value = orjson.loads(value) if value.lstrip().startswith("[") else [value]
        except orjson.JSONDecodeError:
            value = [value]  # a character class such as [a-z]+ looks like the start of a list
    if not isinstance(value, Sequence):
        return ()
    return tuple(cue for cue in value if isinstance(cue, str) and cue)


def _repeats_a_repeat(cue: str) -> bool:
    """Whether a group that holds an open-ended repeat is itself repeated, innermost groups first."""
    flat = _ATOMS.sub("x", cue)
    while group := _GROUP.search(flat):
        inner = re.search(r"[*+]|\{\d*,\}", group[1]) is not None
        if inner and group[2]:
            return True
        flat = flat[: group.start()] + ("x+" if inner or group[2] else "x") + flat[group.end() :]
    return False


def _halves(cue: str) -> tuple[str, str]:
    """What must be found in the direction ("" finds itself in all), and in the response."""
    asked, arrow, said = cue.partition(WHEN_ASKED)
    return (asked, said) if arrow else ("", cue)


def cue_fault(cue: str) -> str:
    """Why `cue` cannot be used, or "". A repeat within a repeat can take hours on one line, so it is refused."""
    if len(cue) > MAX_CUE:
        return f"cue of {len(cue)} characters; at most {MAX_CUE}"
    try:
        for half in _halves(cue):
            _compiled(half)
    except (re.error, RecursionError, OverflowError) as error:
        return f"cue {cue[:60]!r} is not a regular expression ({error})"
    return f"cue {cue[:60]!r} repeats a repeat, which may never end" if _repeats_a_repeat(cue) else ""


@lru_cache(maxsize=1024)
def _compiled(cue: str) -> re.Pattern[str]:
    return re.compile(cue, re.IGNORECASE)


def matches(cues: Sequence[str], text: str, asked: str = "") -> bool:
    """Whether any cue is found in the first `READ_CHARACTERS` of `text` and of the direction `asked`; ’ counts as '."""
    read, direction = _read(text), _read(asked)
    return any(
        _compiled(said).search(read) and (not when or _compiled(when).search(direction))
        for when, said in map(_halves, cues)
    )


def _read(text: str) -> str:
    return text[:READ_CHARACTERS].replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").strip()
