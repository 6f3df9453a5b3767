"""What a human says in own words: code, logs, quotations, pasted documents and lines of the agent's own text are cut.

A log that says "no such file" is not a human who says no, so nothing that was pasted may speak for or against anything.
"""

import re
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
