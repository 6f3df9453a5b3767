"""What a human says in own words: code, logs, quotations, pasted documents and lines of the agent's own text are cut.

A log that says "no such file" is not a human who says no, so nothing that was pasted may speak for or against anything.
"""

import re
from functools import lru_cache
from itertools import islice

MAX_HEAD, MAX_END = 2_000, 500
"""How much of a turn is looked at: its beginning, where a stance is taken, and its end, where the request stands."""

MAX_BEFORE = 20_000
"""How much of the agent's text is searched for lines that the human copied."""

_FENCE = re.compile(r"(?:```|~~~).*?(?:```|~~~|\Z)", re.DOTALL)
_TAGGED = re.compile(r"<(pre|code|log|output|stdout|stderr)>.*?(?:</\1>|\Z)", re.DOTALL | re.IGNORECASE)
_INLINE = re.compile(r"`[^`\n]{1,200}`|https?://\S+|(?<!\w)[~.]?/[\w.@$-]+(?:/[\w.@$-]*)+")
_QUOTED = re.compile(r'"[^"\n]{8,400}"|\u201c[^\u201d\n]{8,400}\u201d|\u00ab[^\u00bb\n]{8,400}\u00bb')
_PASTED_LINE = re.compile(
    r"^(?:\s*>|\t|\s{4,}\S"  # a quote, an indented block
    r"|\s*[⏺✻❯⎿│╭╰├└┌✓✗✔✘]"  # a terminal's furniture
    r"|\s*\|.*\|\s*$"  # a table
    r"|\s*\[?\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d|\s*\[?\d\d:\d\d:\d\d"  # a time stamp
    r"|\s*(?:TRACE|DEBUG|INFO|WARN(?:ING)?|ERROR|FATAL|PANIC)\b[\s:\]|]"  # a level, in capitals
    r"|\s*(?:at\s+\S+\s*\(|at\s+[\w.$<>/]+:\d+|File \"|Traceback \(|goroutine \d|panic:|Caused by:|\.{3} \d+ more)"
    r"|\s*\w*(?:Error|Exception|Warning)(?:\s\[\w+\])?:\s"  # TypeError: ...
    r"|\s*[\w./-]+\.\w{1,5}:\d+(?::\d+)?:?\s"  # file.go:12:3: ...
    r"|\s*(?:[$%❯#]|>>>)\s+\w|\s*(?:npm|yarn|error\[\w+\]|fatal|warning|make)(?: (?:ERR!|error))?: ?"
    r"|\s*(?:diff --git|@@ |[+-]{3} [ab]/|--- (?:FAIL|PASS)|===\s|(?:FAIL|PASS|ok)\t))"
)
_HEADING = re.compile(r"^#{1,4} \S", re.MULTILINE)
_PADDED = re.compile(r"\S {3,}$")


@lru_cache(maxsize=4)
def own_prose(words: str, before: str = "") -> str:
    """What the human says in own words: no code, logs, quoted text, nor lines copied from the agent's own text."""
    text = words if len(words) <= MAX_HEAD + MAX_END else f"{words[:MAX_HEAD]}\n{words[-MAX_END:]}"
    text = text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").replace("\r", "")
    text = _document_cut(_TAGGED.sub(" ", _FENCE.sub(" ", text)))
    said = before[-MAX_BEFORE:]
    lines = text.split("\n")
    kept = (line for line in lines if not (_PASTED_LINE.match(line) or _PADDED.search(line) or _copied(line, said)))
    return _QUOTED.sub(" QUOTE ", _INLINE.sub(" CODE ", "\n".join(kept))).strip()


def _document_cut(text: str) -> str:
    """`text` up to the first heading, where a whole document was pasted below: two headings or more."""
    headings = list(islice(_HEADING.finditer(text), 2))
    return text[: headings[0].start()] if len(headings) > 1 else text


def _copied(line: str, said: str) -> bool:
    """Whether a line that is long enough to be no accident stands in what the agent said."""
    line = line.strip()
    return len(line) >= 24 and line in said


_BARE = re.compile(r"\b(do|does|did|is|are|was|were|has|have|had|would|should|could|ca|wo|ai)nt\b")
_TIGHT = re.compile(r"\b(that|there|what|here|where|let)s\b|\bi(m|ve)\b")
_RUN = re.compile(r"([a-z])\1{2,}")
_CHAT = re.compile(r"\b(?:pl[sz]|plea?se?|thx|thn?x|tnx|u|ur|dunno|yea|yess|yup|okey|oki|wanna|gonna|cuz|b/c)\b")
_CHATTED = {
    **dict.fromkeys(("pls", "plz", "pleas", "plese", "plse"), "please"),
    **dict.fromkeys(("thx", "thnx", "tnx"), "thanks"),
    "u": "you", "ur": "your", "dunno": "don't know", "yea": "yeah", "yess": "yes", "okey": "okay", "oki": "okay",
    "wanna": "want to", "gonna": "going to", "cuz": "because", "b/c": "because",
}  # fmt: skip
_MEANT = ("commit", "push", "proceed", "continue", "perfect", "please", "thanks", "approve", "implement", "merge")


def plain(prose: str) -> str:
    """`prose` in lower case and usual spelling: contractions, letters held down, chat words, a mistyped first word."""
    text = _RUN.sub(r"\1", prose.lower())
    text = _TIGHT.sub(lambda m: f"{m[1]}'s" if m[1] else f"i'{m[2]}", _BARE.sub(r"\1n't", text))
    text = _CHAT.sub(lambda m: _CHATTED.get(m[0], m[0]), text)
    head, gap, rest = text[:40].partition(" ")
    for word in _MEANT:
        if head not in {word, f"{word}s", f"{word}d"} and _one_slip(head, word):
            return word + gap + rest + text[40:]
    return text


def _one_slip(typed: str, meant: str) -> bool:
    """Whether one letter was added, left out, replaced, or changed places with the next."""
    if len(typed) < 4 or abs(len(typed) - len(meant)) > 1:
        return False
    at = next((i for i, (a, b) in enumerate(zip(typed, meant, strict=False)) if a != b), min(len(typed), len(meant)))
    if at == 0:
        return False
    a, b = typed[at:], meant[at:]
    return a[1:] == b[1:] or a[1:] == b or a == b[1:] or (a[:2] == b[1::-1] and a[2:] == b[2:])
