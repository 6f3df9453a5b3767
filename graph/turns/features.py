"""The features of a human turn: which cues speak, where, beside what the agent had just said.

words ──▶ own prose ──▶ cues, length, questions ─┐
before ─▶ its tail: a question, options, a claim ┴─▶ {feature: strength in 0..1}
"""

import re
from itertools import product

from graph.turns.cues import ANYWHERE, EARLY, OPENING, TAIL
from graph.turns.echo import offered, shared, stems
from graph.turns.prose import own_prose, plain
from graph.turns.stances import REPORTS, STANCES

MAX_PROSE_HEAD, MAX_PROSE_END = 700, 200
"""How much of the human's own prose is searched for cues: what stands deep in a long text is no stance."""

MAX_TAIL = 700
"""How much of the agent's text is looked at, from its end."""

MAX_WORDS = 300
"""Characters of the prose whose single words are features."""

WORD_STRENGTH = 0.5
"""A single word says less than a cue."""

_TOKEN = re.compile(r"[a-z']+|[?!]|\d+")
_EMPTY = frozenset(
    re.findall(r"\w+", "a an and as at by for from i in is it its of on or so that the this to was with")
)
_FILLERS = re.compile(
    r"^(?:(?:h+m+|m+h|ah+|oh+|uh+|um+|er+m*|so|well|and|also|ok(?:ay)?|alright|right|anyways?|sorry|please|hey|hi"
    r"|sure|yeah|yes|no worries|no problem|i (?:guess|think|feel like|mean)|maybe|mostly|pls|plz|now|then|cool"
    r"|thanks|thank you)\b[\s,.:;!\u2026-]*)*",
)
_HYPOTHETICAL = re.compile(
    r"\b(?:if|when|whenever|whether|unless|in case|so that|make sure|ensure|checks? that|tests? that|without|where"
    r"|who|which)\b[^,.?!;\n]*"
)
_BEFORE_YES = r"(?:(?:h+m+|ah+|oh+|well|and|so)[\s,.!]+)*"
_YES = re.compile(
    _BEFORE_YES + r"(?:yes+|yeah?h?|yep|yup|ya|y|sure|correct|true|exactly|ja|jo|klar|oui|s[ií]|da|absolutely"
    r"|definitely|agreed|👍)(?![\w'])"
)
_OK = re.compile(_BEFORE_YES + r"(?:ok(?:ay)?|k|alright|all right|right|fine|cool|good|great|got it)(?![\w'])")
_CLAUSE = re.compile(r"[.!?;:\n]+(?=\s|$)|, | - | — |\bbut\b|\bthough\b")
_OWN_FAULT = re.compile(
    r"\bmy (?:bad|fault|mistake)\b|\bi (?:messed up|was wrong|forgot|misread)\b|\b(?:oops|sorry|wrong window)\b"
)
_ENDS = " \n)\"'😅😬😂🤔"
_TAG = re.compile(r"\b(?:right|or|no|yes|yeah|correct|hey)\s?\?")
_NO_STATEMENT = (
    "orders_first", "requests_first", "asks_first", "yes_first", "ok_first", "lets", "goes", "choice", "praise",
    "takes", "thanks", "ships", "no_first", "stop_first", "not_first",
)  # fmt: skip
_NO = re.compile(r"(?:no+|nope|nah|nothing|nein|non)\b(?![^.!?\n]{60})")
_WAVES = re.compile(r"\A(?:no (?:worries|problem|rush|hurry|need to (?:apologi[sz]e|hurry|worry))|never ?mind, my)\b")
_MORE = re.compile(
    r"\b(?:any(?:thing)? (?:else|more|other|further)|(?:other|more|further) (?:questions|changes)"
    r"|something else)\b[^?\n]*\?\W*\Z"
)
_TROUBLE = re.compile(
    r"\b\w*(?:error|exception|traceback|failed|failure|fatal|panic|cannot|undefined|not found|denied|segfault)\b",
    re.IGNORECASE,
)
_START = re.compile(
    r"^(?:(?:yes|yea|yeah|yep|sure|ok|okay|great|good|please|let's|lets|i (?:want|like|choose|prefer|pick|think"
    r"|vote for)|go (?:with|for)"
    r"|can you|could you|just|first|do|start with|start|the)\b[\s,.!:]*)+"
)
_SENTENCE = re.compile(r"[.!?;\n]+(?=\s|$)|, | - | \u2014 |\band (?:then|also)\b|\bfirst\b")
_FURTHER = {**REPORTS, **STANCES}
_CROSSES = tuple(
    (f"{act}_x_{their}", act, their)
    for act, their in (
        *product(("yes", "ship", "short", "praise", "order"), ("question", "options", "test", "claim", "open")),
        *product(("state", "trouble"), ("test", "open")),
        ("long", "open"),
        ("trouble", "claim"),
    )
)
_STATED = frozenset({"denies", "should_be", "misbehaves", "errs", "looks_off", "still_so", "should_briefly", "no_such"})
_BRIEF = frozenset(
    {"misbehaves", "errs", "looks_off", "should_briefly", "no_such", "sees", "tried", "wants", "forbids"}
)
SHORT = 250
"""Characters of a short turn: in a longer one a word of trouble may belong to what is asked for."""

_GRANT = re.compile(r"^(?:ok(?:ay)?|right|alright|true|yes|yeah|sure)?[\s,.!]*but\b")


def features(words: str, before: str) -> dict[str, float]:
    """Named strengths in 0..1 of what speaks in this turn; features that are 0 are left out.

    `before` is the agent's last text. Bounded: no text costs more than its first and its last part.
    """
    own = own_prose(words, before)
    full = prose = plain(own)
    if len(prose) > MAX_PROSE_HEAD + MAX_PROSE_END:
        prose = f"{prose[:MAX_PROSE_HEAD]}\n{prose[-MAX_PROSE_END:]}"
    tail = before[-MAX_TAIL:].rstrip().lower()
    found = _cue_features(prose)
    found["pasted_trouble"] = float(0 < len(own) < len(words) - 40 and _TROUBLE.search(words[:4000]) is not None)
    agent = {name: float(cue.search(tail) is not None) for name, cue in TAIL.items()}
    agent["asks"] = float("?" in tail[-120:])
    found["named_option"] = float(agent["options"] > 0 and _names_an_option(full, tail))
    if leaves_it_there(words, before):
        found["no_first"] = 0.0
    found.update(_echoes(prose, tail, found))
    found.update(_together(found, agent))
    found.update(_crossed(found, agent))
    found.update(words_of(prose))
    return {name: value for name, value in found.items() if value}


def words_of(prose: str) -> dict[str, float]:
    """The words of the beginning, and again the first two with their place; only some of them have weights."""
    tokens = ["#" if token.isdigit() else token for token in _TOKEN.findall(prose[:MAX_WORDS]) if token not in _EMPTY]
    found = {f"word:{token}": WORD_STRENGTH for token in tokens}
    found.update({f"{place}:{token}": WORD_STRENGTH for place, token in zip(("first", "second"), tokens, strict=False)})
    return found


def _echoes(prose: str, tail: str, found: dict[str, float]) -> dict[str, float]:
    """How much of the first clause repeats what the agent offers, and how much of all words the agent just said."""
    clause = _START.sub("", prose, count=1)
    end = _SENTENCE.search(clause)
    clause = clause if end is None else clause[: end.start()]
    offers = shared(clause, offered(tail))
    said, there = stems(prose[:400]), stems(tail)
    asks = max(found["asks_first"], found["asks"])
    taken = offers * (1.0 - asks) * (1.0 - found["no_first"]) * (1.0 - found["forbids"]) * (1.0 - found["denies"])
    return {
        "takes_offer": float(taken >= 0.6),
        "echoes": len(said & there) / len(said) if len(said) > 1 else 0.0,
    }


def _cue_features(prose: str) -> dict[str, float]:
    opening = prose[_FILLERS.match(prose).end() :] if prose else ""  # type: ignore[union-attr]
    stated = _HYPOTHETICAL.sub(" ", prose)
    found = {name: cue(opening) for name, cue in OPENING.items()}
    for name, cue in ANYWHERE.items():
        found[name] = cue(stated if name in {"denies", "should_be"} else prose)
    short = 1.0 if len(prose) < SHORT else 0.5
    for name, cue in _FURTHER.items():
        found[name] = cue(stated if name in _STATED else prose) * (short if name in _BRIEF else 1.0)
    head, ends_in = _first_clause(prose)
    found["praise_head"], found["takes_head"] = ANYWHERE["praise"](head), ANYWHERE["takes"](head)
    count = len(prose.split())
    found["yes_first"] = float(_YES.match(prose) is not None)
    found["ok_first"] = float(_OK.match(prose) is not None)
    found["but_first"] = max(found["but_first"], float(_GRANT.match(prose) is not None))
    found["hesitates"] = float(prose.startswith(("hm", "erm", "ugh", "uh", "wait", "...", "🤔", "but")))
    asks = prose.rstrip(_ENDS).endswith("?")
    questions = max(found["asks_first"], found["requests_first"], found["doubt_first"], float(ends_in == "?"))
    found["asks"] = float(asks and bool(questions))
    found["tag"] = float(_TAG.search(prose) is not None)
    found["asks_later"] = float("?" in prose and not found["asks"] and not (found["tag"] and prose.count("?") == 1))
    found["bare"] = float(0 < count <= 2)
    found["short"] = float(2 < count <= 7)
    found["long"] = float(count > 40)
    found["wordless"] = float(count == 0)
    found["own_fault"] = float(_OWN_FAULT.search(prose[:EARLY]) is not None)
    found["states"] = float(bool(opening) and not ("?" in prose or any(found[name] for name in _NO_STATEMENT)))
    return found


def _crossed(found: dict[str, float], agent: dict[str, float]) -> dict[str, float]:
    """Each act of the words with each act of the agent's tail."""
    trouble = max(found[name] for name in ("still_so", "misbehaves", "errs", "looks_off", "fails", "wrong"))
    acts = {
        "yes": max(found["yes_first"], found["ok_first"], found["approves"]),
        "order": max(found["orders_first"], found["requests_first"]),
        "state": found["states"],
        "praise": max(found["praise_head"], found["delights"], found["confirms"]),
        "trouble": trouble,
        "mind": max(found["dislikes"], found["forbids"], found["faults"], found["asked_for"], found["instead"]),
        "ship": found["ships"],
        "long": found["long"],
        "short": max(found["short"], found["bare"]),
    }
    theirs = {
        "question": agent["yes_or_no"],
        "open": agent["open_question"] * (1.0 - agent["yes_or_no"]),
        "options": agent["options"] * agent["asks"],
        "test": agent["tests"] * (1.0 - agent["asks"]),
        "claim": agent["claims"] * (1.0 - agent["asks"]),
    }
    crossed = {name: acts[act] * theirs[their] for name, act, their in _CROSSES}
    crossed["trouble_after_praise"] = trouble * max(acts["yes"], acts["praise"])
    crossed["mind_after_praise"] = max(acts["mind"], found["turns"]) * max(acts["yes"], acts["praise"])
    crossed["trouble_tried"] = trouble * found["tried"]
    crossed["trouble_ordered"] = trouble * acts["order"]
    crossed["trouble_asked"] = trouble * found["asks"]
    crossed["should_long"] = found["should_be"] * found["long"]
    crossed["should_short"] = found["should_be"] * (1.0 - found["long"])
    crossed["mind_long"] = acts["mind"] * found["long"]
    return crossed


def _names_an_option(prose: str, tail: str) -> bool:
    """Whether all that is said is a few words of the agent's own, such as the name of an option."""
    name = prose.rstrip(".! ")
    return 2 < len(name) <= 40 and len(name.split()) <= 4 and re.search(rf"\b{re.escape(name)}\b", tail) is not None


def leaves_it_there(words: str, before: str) -> bool:
    """Whether a "no" answers "anything else?", or the words only wave something away ("no worries")."""
    prose = own_prose(words, before).lower()
    if _WAVES.match(prose):
        return True
    return _NO.match(prose) is not None and _MORE.search(before[-MAX_TAIL:].lower()) is not None


def _first_clause(prose: str) -> tuple[str, str]:
    """The first clause, and the mark that ends it ("" at the end of the text)."""
    end = _CLAUSE.search(prose)
    return (prose, "") if end is None else (prose[: end.start()], end[0].strip()[:1])


def _together(found: dict[str, float], agent: dict[str, float]) -> dict[str, float]:
    """Words and the agent's tail together; the tail alone is no feature, for it is not the human who speaks there."""
    asked, claimed = agent["asks"], agent["claims"]
    order = max(found["orders_first"], found["requests_first"])
    brief = max(found["short"], found["bare"])
    return {
        "yes_to_question": found["yes_first"] * asked,
        "ok_then_asks": found["ok_first"] * found["asks"],
        "yes_then_asks": found["yes_first"] * found["asks"],
        "choice_of_options": max(found["choice"], found["named_option"]) * max(agent["options"], asked),
        "goes_to_question": max(found["goes"], found["lets"], found["takes_head"]) * asked,
        "goes_briefly": max(found["goes"], found["ships"]) * brief,
        "order_after_claim": order * claimed * (1.0 - found["yes_first"]),
        "denies_firmly": found["denies"] * (1.0 - found["asks"]),
        "asks_plainly": found["asks_first"] * found["asks"] * (1.0 - found["but_first"]),
        "no_to_question": found["no_first"] * asked,
        "refuses_alone": max(found["no_first"], found["stop_first"]) * brief,
        "praise_briefly": max(found["praise"], found["thanks"]) * brief,
        "states_after_all": found["states"] * (1.0 - asked),
    }
