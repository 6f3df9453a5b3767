r"""The parts of an aider chat history, as aider's own `append_chat_history` wrote them, one by one.

    \n# aider chat started at 2026-03-02 08:15:00\n\n      header
    \n#### first line··\n#### second line··\n              typed    (·· are the two spaces that aider ends these with)
    > first line\nsecond line··\n                          tool     (only its first line has the mark)
    \ntext of the model\n\n                               said     (no mark: headings and quotes look like the others)

What tells a human's line from a heading of the model is the two spaces and the empty line before it. What tells it from
a quoted one is where it stands: inside a code fence or a SEARCH/REPLACE block of the model it is text. A model that was
interrupted leaves its fence open, so a fence counts only if it is closed further on.

A history whose ends of lines were stripped (an editor, a hook) is read too: `Shape.stripped`.
"""

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from graph.sources.appended import Line

Kind = Literal["header", "typed", "tool", "said"]

_HEADER = re.compile(r"# aider chat started at (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)\s*$")
_FENCE = re.compile(r"(`{3,})(.*)$")
_TAG = re.compile(r"<(source|code|pre|codeblock|sourcecode)>\S*\s*$")
_SEARCH, _REPLACE = "<<<<<<< SEARCH", ">>>>>>> REPLACE"
_INTERRUPTED = "^C again to exit"
_LOOK_AHEAD = 2_000
_SHAPE_LINES = 400
_KEPT = 20_000


@dataclass(frozen=True)
class Part:
    """One message: its text without marks, the byte offset and number (from 1) of its first line."""

    kind: Kind
    text: str
    offset: int
    line: int


@dataclass
class _Text:
    """Lines of a message in bounded memory: of a very long one the beginning and the end."""

    head: list[str]
    tail: deque[str]
    size: int = 0
    tail_size: int = 0

    def add(self, line: str) -> None:
        self.size += len(line) + 1
        if self.size <= _KEPT:
            self.head.append(line)
            return
        self.tail.append(line[-_KEPT:])
        self.tail_size += len(self.tail[-1]) + 1
        while self.tail_size > _KEPT and len(self.tail) > 1:
            self.tail_size -= len(self.tail.popleft()) + 1

    def __str__(self) -> str:
        gap = ["…"] if self.size > _KEPT + self.tail_size else []
        # an empty first line stays: a message that begins with one is a different message
        return "\n".join([*self.head, *gap, *self.tail]).rstrip().lstrip(" ")


def _text() -> _Text:
    return _Text([], deque())


@dataclass
class Parts:
    """Iterate over the complete parts of `lines`; what is at the end and may still grow is not given.

    Attributes:
        number: How many lines of the file lie before the first of `lines`.
        stripped: Whether ends of lines were stripped; found out at each header.
        doubt: The offset of a message whose fence is open at the end of the file, with marks in it: to be read again.
    """

    lines: Iterator[Line]
    number: int
    stripped: bool | None
    doubt: int | None = None

    def __post_init__(self) -> None:
        self._ahead: deque[tuple[int, int, str]] = deque()
        self._before_that = "-"
        self._before = ""  # a file begins as if after an empty line, and so does every place where reading begins
        self._next = -1
        self._quoted = 0
        self._cut_short = False

    def __iter__(self) -> Iterator[Part]:
        while (first := self._peek(0)) is not None:
            offset, number, line = first
            after_gap = not self._before.strip()
            header = _HEADER.match(line) if after_gap else None
            if header:
                self._take()
                self.stripped = self._is_stripped()
                yield Part("header", header[1], offset, number)
                continue
            if self.stripped is None:
                self.stripped = self._is_stripped()
            if not line.strip():
                self._take()
            elif (part := self._message(line, offset, number, after_gap)) is not None:
                self._cut_short = part.text == _INTERRUPTED
                yield part
            else:
                return

    def _message(self, line: str, offset: int, number: int, after_gap: bool) -> Part | None:
        """The message that begins here, or None if its end is not there yet."""
        if after_gap and self._is_typed(line):
            return self._typed(offset, number)
        begins = line.startswith("> ") or (self.stripped and line == ">")
        if begins and (not after_gap or self._is_tool(line) or not self._before_is_said()):
            return self._tool(offset, number)
        if not after_gap:  # goes on after a tool's message whose line happened to end in two spaces
            self._take()
            return Part("tool", "", offset, number)
        return self._said(offset, number)

    def _before_is_said(self) -> bool:
        """Whether an unmarked quote that begins here is the model's: the next marked end of line is a mark's own."""
        for _, _, line in self._peeks(_SHAPE_LINES):
            if self._ends(line) and line.strip():
                return line.startswith((">", "####"))
        return True

    def _typed(self, offset: int, number: int) -> Part | None:
        text = _text()
        while (item := self._peek(0)) is not None:
            if not item[2].startswith("####"):
                return Part("typed", str(text), offset, number)
            words = item[2][4:].removeprefix(" ").rstrip()
            if words and not text.size:
                offset, number = item[0], item[1]  # where the words begin
            if words or text.size:
                text.add(words)
            self._take()
        return None

    def _tool(self, offset: int, number: int) -> Part | None:
        text = _text()
        mark = True
        while (item := self._peek(0)) is not None:
            line = item[2]
            if not mark and self._ends_tool(line):
                return Part("tool", str(text), offset, number)
            text.add((line[1:].removeprefix(" ") if mark else line).rstrip())
            self._take()
            if self._ends(line) or (self.stripped and self._peek(0) is None):
                return Part("tool", str(text), offset, number)
            following = self._peek(0)
            if self.stripped and following is not None and following[2].startswith((">", "####")):
                return Part("tool", str(text), offset, number)
            mark = False
        return None

    def _ends_tool(self, line: str) -> bool:
        """Whether a message of a tool, whose end was never marked, is over where `line` begins."""
        if self.stripped and not line.strip():
            return True
        return _HEADER.match(line) is not None or (not self._before.strip() and self._is_typed(line))

    def _said(self, offset: int, number: int) -> Part | None:
        text = _text()
        fences: list[str] = []
        while (item := self._peek(0)) is not None:
            line = item[2]
            if item[1] > self._quoted and self._is_mark(line) and not self._is_quoted(line, fences, offset):
                return Part("said", str(text), offset, number)
            _step(fences, line)
            text.add(line)
            self._take()
        return None

    def _is_quoted(self, mark: str, fences: list[str], offset: int) -> bool:
        return bool(fences) and not self._was_cut_short(mark) and self._closes(fences, offset)

    def _was_cut_short(self, mark: str) -> bool:
        """Whether the model stopped within a fence: ^C came before, an error begins here, or its end is aider's own.

        Aider ends what the model said with an empty line and begins what comes next with another.
        """
        two_empty = not self._before.strip() and not self._before_that.strip()
        return self._cut_short or mark.strip() == ">" or two_empty

    def _is_mark(self, line: str) -> bool:
        after_gap = not self._before.strip()
        if after_gap and _HEADER.match(line):
            return True
        if self.stripped:  # a heading of the model looks like a human's line, but no tool line stands before it
            return after_gap and line.startswith("> ")
        return (after_gap and self._is_typed(line)) or self._is_tool(line)

    def _closes(self, fences: list[str], offset: int) -> bool:
        """Whether what is open now is closed further on, so that the marks before that are quoted ones.

        The fence that seems to close it may be the beginning of the next answer's block. Then that block's end seems to
        open one, and the mark after it seems to be quoted as well: an end is one if the next mark finds all closed.
        """
        open_now = list(fences)
        closed_at = seen = 0
        for _, number, line in self._peeks(_LOOK_AHEAD):
            seen += 1
            if closed_at and (self._is_typed(line) or self._is_tool(line) or _HEADER.match(line)):
                return self._are_quoted(open_now, closed_at)
            if not _step(open_now, line):
                return False
            if not open_now and not closed_at:
                closed_at = number
        if seen < _LOOK_AHEAD and self.doubt is None:
            self.doubt = offset
        return bool(closed_at) and self._are_quoted(open_now, closed_at)

    def _are_quoted(self, still_open: list[str], closed_at: int) -> bool:
        if not still_open:
            self._quoted = closed_at
        return not still_open

    def _is_typed(self, line: str) -> bool:
        return line.startswith("####") and line[4:5] in ("", " ") and self._ends(line)

    def _is_tool(self, line: str) -> bool:
        return line.startswith("> ") and self._ends(line)

    def _ends(self, line: str) -> bool:
        return bool(self.stripped) or line.endswith("  ")

    def _is_stripped(self) -> bool:
        """Whether none of aider's own lines, up to the first that a human typed, ends in two spaces."""
        marked = False
        before = ""
        for _, _, line in self._peeks(_SHAPE_LINES):
            if line.startswith((">", "####")):
                if line.endswith("  "):
                    return False
                marked = True
                if line.startswith("####") and not before.strip():
                    break
            before = line
        return marked

    def _peek(self, index: int) -> tuple[int, int, str] | None:
        while len(self._ahead) <= index:
            line = next(self.lines, None)
            if line is None:
                return None
            # a line that was too long to be given leaves a gap; it counts as one
            self.number += 1 if self._next in (-1, line.offset) else 2
            self._next = line.offset + len(line.data) + 1
            self._ahead.append((line.offset, self.number, line.data.decode(errors="replace").rstrip("\r")))
        return self._ahead[index]

    def _peeks(self, most: int) -> Iterator[tuple[int, int, str]]:
        self._peek(most - 1)
        return islice(tuple(self._ahead), most)

    def _take(self) -> None:
        self._before_that, self._before = self._before, self._ahead.popleft()[2]


def _step(fences: list[str], line: str) -> bool:
    """What is open after `line`; False if a block began in a block, so that the first was never finished."""
    top = fences[-1] if fences else ""
    if top == _REPLACE:
        if line.startswith(_SEARCH):
            return False
        if line.startswith(_REPLACE):
            fences.pop()
    elif line.startswith(_SEARCH):
        fences.append(_REPLACE)
    elif top.startswith("</"):
        if line.rstrip() == top:
            fences.pop()
    elif tag := _TAG.match(line):
        fences.append(f"</{tag[1]}>")
    elif fence := _FENCE.match(line.lstrip() if top else line):
        if top and len(fence[1]) >= len(top) and not fence[2].strip():
            fences.pop()
        elif not top or fence[2].strip():
            fences.append(fence[1])
    return True
