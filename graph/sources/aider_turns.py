"""What the parts of an aider chat history mean: directions, responses, and what became of these.

    #### make the tests use a temporary directory      direction
    (text)                                             response, with its commit: `> Commit 8742503 ...`
    #### /undo                                         outcome `undo` on the response of the commit that was removed:
    > Removed: 8742503 ...                             rejected_by. Nothing removed: answered_by, for it undid nothing
    > Create new file? (Y)es/(N)o [Yes]: n             outcome `confirm_n`, rejected_by, on a proposal: the question

Not everything after `#### ` was typed by a human: aider writes its own prompts there (a lint report, the plan of an
architect, "all" for the rest of a group of questions). Not every question is about what the model said: whether to add
a page or to fix lint errors is aider's own, so it hangs on a response that says no more than the question.

A session is known by the second it began and the first line after that, everything in it by how many lines further down
it stands and what it says: the same history, copied or read in steps, has the same ids. Aider writes no times but that
of a session's beginning; the others are that and a millisecond a line, which keeps their order.
"""

import hashlib
import re
from dataclasses import dataclass, replace
from typing import Any

from graph.records import milliseconds
from graph.schema import EdgeKind
from graph.sources.aider_text import Part, Parts
from graph.sources.telling import Telling

_COMMITS = 200
_SAME = 500
_COMMIT = re.compile(r"Commit ([0-9a-f]{7})[0-9a-f]*\b")
_REMOVED = re.compile(r"Removed: ([0-9a-f]{7})[0-9a-f]*\b")
_UNDO = re.compile(r"/undo(?:\s|$)")
_ASKS_THE_MODEL = re.compile(r"/(?:ask|code|architect|context)\s+(\S.*)", re.DOTALL)
_AIDERS_PROMPT = re.compile(r"# Fix any errors below, if possible\.|# Question: .*\n(?:.*\n)*# Relevant docs:")
_ALWAYS_YES = re.compile(r"\s--yes(?:-always)?(?:\s|$)")
_OPTIONS = r"\s*\(Y\)es/\(N\)o[^\n\[]*\[[^\]\n]*\]:"
_ANSWERED = re.compile(
    rf"(?P<question>[^\s>#][^\n]*?)(?:{_OPTIONS}|(?<=\?)(?:\s*\([^()\n]*\):)?) (?P<answer>[ynasd])", re.IGNORECASE
)
_ECHO = re.compile(rf"[^\n]*{_OPTIONS}\s*(?:all|skip)\s*")
_OF_THE_MODEL = re.compile(r"(?:Create new file|Allow (?:creation|edits)|Edit the files|Run shell command)")
_ANSWERS = {
    "y": ("confirm_y", EdgeKind.ACCEPTED_BY),
    "a": ("confirm_all", EdgeKind.ACCEPTED_BY),
    "n": ("confirm_n", EdgeKind.REJECTED_BY),
    "s": ("confirm_skip", EdgeKind.REJECTED_BY),
    "d": ("confirm_never", EdgeKind.REJECTED_BY),
}


@dataclass(frozen=True)
class TurnStart:
    """Where a turn begins, and all that must be known to go on from there: what a cursor holds.

    Attributes:
        offset: Bytes before it; `number`: lines before it.
        session: Key of the session, "" before it is known; `began`: its second; `header`: the number of its first line.
        stripped: Whether ends of lines were stripped; `automatic`: whether aider was told to say yes to everything.
        commits: Which response made a commit: the last ones of the file.
    """

    offset: int = 0
    number: int = 0
    session: str = ""
    began: str = ""
    header: int = 1
    stripped: bool | None = None
    automatic: bool = False
    commits: tuple[tuple[str, str], ...] = ()


@dataclass
class _Answer:
    """Something the model said in the open turn, and whether it has been told."""

    part: Part
    to: str | None
    told: str | None = None


class History:
    """Takes part after part; `tell` holds what they say, `safe` where the open turn began."""

    def __init__(self, file: str, start: TurnStart, parts: Parts) -> None:
        self.safe = start
        self.tell = Telling(file)
        self._now = start
        self._parts = parts
        self._turn: Part | None = None
        self._asked: str | None = None
        self._last: _Answer | None = None
        self._tool = ""
        self._undo: Part | None = None
        self._ask: Part | None = None
        self._said_last = False
        self._grouped = False

    def take(self, part: Part) -> bool:
        """Whether a turn began with this part."""
        if part.kind == "header":
            self._begin_session(part)
            return False
        if not self._now.session:
            self._now = replace(self._now, session=_digest(self._now.began, part.text.partition("\n")[0]))
        if part.kind == "tool":
            self._take_tool(part)
            return False
        if self._undo is not None:
            self._tell_undo(self._undo, None, "")
        self._tool = ""
        self._said_last = part.kind == "said"
        return self._take_typed(part) if part.kind == "typed" else self._take_said(part)

    def tell_again(self) -> None:
        """Begin a new telling with the turn that is open."""
        self.tell = Telling(self.tell.file)
        if self._turn is not None:
            self._tell_direction(self._turn, None)

    def _begin_session(self, header: Part) -> None:
        if self._undo is not None:
            self._tell_undo(self._undo, None, "")
        self._end_turn()
        self._turn = self._asked = self._ask = None
        self._tool, self._grouped = "", False
        commits = self._now.commits  # a session may undo what the one before it committed
        self.safe = TurnStart(header.offset, header.line - 1, commits=commits)
        self._now = TurnStart(began=header.text, header=header.line, commits=commits)

    def _end_turn(self) -> str | None:
        """The last response of the turn that ends here."""
        last = None if self._last is None else self._tell_answer(self._last)
        self._last = None
        return last

    def _begin_turn(self, part: Part) -> bool:
        self._turn = part
        self._asked = self._tell_direction(part, self._end_turn())
        self._now = replace(self._now, stripped=self._parts.stripped)
        self.safe = replace(self._now, offset=part.offset, number=part.line - 1)
        return True

    def _take_typed(self, part: Part) -> bool:
        text = part.text
        asked, self._ask = self._ask, None
        if text in ("", "<blank>"):
            self._ask = asked
        elif _ECHO.fullmatch(text):
            self._grouped = True
        elif text[0] in "/!":
            self._asked = None
            self._undo = part if _UNDO.match(text) else None
            self._ask = part if _ASKS_THE_MODEL.match(text) else None
        elif _AIDERS_PROMPT.match(text):
            self._asked = None
        elif self._last is None or not _same_words(text, self._last.part.text):  # else the plan of an architect
            return self._begin_turn(part)
        return False

    def _take_said(self, part: Part) -> bool:
        ask, self._ask = self._ask, None
        words = _ASKS_THE_MODEL.match(ask.text) if ask else None
        began = self._begin_turn(replace(ask, text=words[1])) if ask and words else False
        if part.text:
            first = self._last is None
            self._last = _Answer(part, self._asked)
            if first:
                self._tell_answer(self._last)
        return began

    def _take_tool(self, part: Part) -> None:
        text = part.text
        if not text:
            return
        if self._undo is not None:
            removed = _REMOVED.match(text)
            self._tell_undo(self._undo, removed[1] if removed else None, text)
        elif text.startswith("Aider v"):
            self._now = replace(self._now, automatic=_ALWAYS_YES.search(self._tool) is not None)
        elif commit := _COMMIT.match(text):
            # what was uncommitted before the model's edit, or is committed by command, is the human's own work
            if self._last is not None and self._said_last and not self._tool.startswith("Committing "):
                made = (commit[1], self._tell_answer(self._last))
                self._now = replace(self._now, commits=(*self._now.commits, made)[-_COMMITS:])
        elif answered := _ANSWERED.fullmatch(text):
            self._tell_confirm(part, answered["question"], answered["answer"].lower())
        self._tool = text

    def _tell_confirm(self, part: Part, question: str, answer: str) -> None:
        signal, kind = _ANSWERS[answer]
        automatic = self._now.automatic or self._grouped
        self._grouped = False
        response = self._last if _OF_THE_MODEL.match(question) else None
        holder = self._tell_answer(response) if response else self._tell_aiders(part, question)
        about = self._common(part)
        if _OF_THE_MODEL.match(question) and self._tool:
            about["subject"] = self._tool
        proposal = self.tell.proposal(self._id("proposal", part), question, self._ts(part), holder, **about)
        self.tell.outcome(
            self._id("outcome", part),
            EdgeKind.ANSWERED_BY if automatic else kind,
            proposal,
            signal,
            answer,
            self._ts(part),
            automatic=automatic,
            **self._common(part),
        )

    def _tell_undo(self, undo: Part, commit: str | None, said: str) -> None:
        self._undo = None
        known = dict(self._now.commits).get(commit or "")
        if known is None:
            last = self._last if commit is None else None
            known = self._tell_answer(last) if last else self._tell_aiders(undo, said or undo.text)
        self.tell.outcome(
            self._id("outcome", undo),
            EdgeKind.ANSWERED_BY if commit is None else EdgeKind.REJECTED_BY,
            known,
            "undo",
            undo.text,
            self._ts(undo),
            confirmed=commit is not None,
            commit=commit or "",
            **self._common(undo),
        )

    def _tell_direction(self, part: Part, follows: str | None) -> str:
        node_id, where = self._id("direction", part), self._common(part)
        return self.tell.direction(node_id, part.text, self._ts(part), self._session(), follows=follows, **where)

    def _tell_answer(self, answer: _Answer) -> str:
        if answer.told is None:
            part = answer.part
            node_id, where = self._id("response", part), self._common(part)
            session = self._session()
            answer.told = self.tell.response(node_id, part.text, self._ts(part), session, to=answer.to, **where)
        return answer.told

    def _tell_aiders(self, part: Part, text: str) -> str:
        """A response that aider itself made: it answers no direction."""
        return self.tell.response(
            self._id("aider", part), text, self._ts(part), self._session(), to=None, by="aider", **self._common(part)
        )

    def _session(self) -> str:
        return self.tell.session(self._now.session, began=self._now.began)

    def _common(self, part: Part) -> dict[str, Any]:
        return {"place": part.offset, "line": part.line}

    def _id(self, kind: str, part: Part) -> str:
        return f"{kind}:{_digest(self._now.session, str(part.line - self._now.header), part.text)}"

    def _ts(self, part: Part) -> int | None:
        began = milliseconds(self._now.began) if self._now.began else None
        return None if began is None else began + part.line - self._now.header


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode(errors="replace")).hexdigest()[:32]


def _same_words(one: str, other: str) -> bool:
    """Whether both begin with the same words, however they are spaced: ends of lines change on their way."""
    return one.split()[:_SAME] == other.split()[:_SAME]
