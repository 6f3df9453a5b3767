"""basic-memory: a folder tree of Markdown notes. The files are the truth; the SQLite index beside them is not read.

    ---
    title: Coffee                                        note:PERMALINK, ─mentions▶ title:coffee (its own title)
    permalink: drinks/coffee
    ---
    - [preference] Lighter roasts #brewing (home)        preference ─mentions▶ the note
    - contrasts_with [[Tea]]                             the note ─mentions▶ title:tea, relation_type contrasts_with

A link names a title, and which note has that title only the other file says: so both lead to one node, `title:TITLE`,
and no file needs another to be understood. An observation is a preference if its category is one for rules
(`[preference]`, `[rule]`, `[convention]`, `[guideline]`, ...), or if its words say what somebody wants always or never;
a `[decision]` is one only by its words. What stands in a code block is quoted, and says nothing.
"""

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from graph.records import Problem, plain
from graph.schema import EdgeKind
from graph.sources.base import DEFAULT_MAX_BYTES, Batch, Cursor
from graph.sources.log_tree import read_tree
from graph.sources.preferences import is_person_name, is_rule_name, states_wish
from graph.sources.snapshot import take
from graph.sources.stamp import seems_unchanged
from graph.sources.telling import Telling

_KEY = re.compile(r"([A-Za-z_][\w-]*)\s*:(?:\s+(.*))?$")
_OBSERVATION = re.compile(r"\s*[-*+] \[([^\[\]()]{2,60})\]\s+(\S.*)$")
_RELATION = re.compile(r"\s*[-*+] ([^\[\]`]{0,100}?)\s*\[\[([^\[\]]{1,300})\]\]")
_LINK = re.compile(r"\[\[([^\[\]]{1,300})\]\]")
_TAG = re.compile(r"(?<!\S)#([^\s#]+)")
_FENCE = re.compile(r"\s{0,3}(```+|~~~+)")
_MAX_LINKS = 500
_MAX_LINE = 2_000  # what is longer is prose, and no pattern should look through it


@dataclass(frozen=True)
class BasicMemorySource:
    """Markdown notes of basic-memory."""

    max_bytes: int = DEFAULT_MAX_BYTES
    kind: str = "basic-memory"

    def read(self, path: Path, seen: Mapping[str, Cursor]) -> Iterator[Batch]:
        """Each changed note in `path` as one whole batch: a file, or every *.md below a folder (not in hidden ones).

        Raises:
            SourceMissingError: There is nothing at `path`.
            GraphError: `path` is a file that cannot be read.
        """
        root = Path(os.path.abspath(path))  # noqa: PTH100 - a scope must not depend on `..`, nor on where links lead
        scope = f"{self.kind}:{root}"

        def read_note(file: Path, folder: Path, unit: str, cursor: Cursor | None) -> Iterator[Batch]:
            if _hidden(unit) or seems_unchanged(file, cursor):
                return
            snapshot = take(file, folder, self.max_bytes)
            if cursor is not None and cursor.get("sha256") == snapshot.entry["sha256"]:
                yield Batch(unit, scope, snapshot.entry)
                return
            note = parse_note(snapshot.data.decode("utf-8-sig", "replace"), unit.removesuffix(".md"))
            told = _tell(note, str(file))
            problems = tuple(Problem(f"{file}:{line}", what) for line, what in note.problems)
            yield Batch(unit, scope, snapshot.entry, tuple(told.nodes.values()), tuple(told.edges), True, problems)

        return read_tree(root, seen, scope, lambda name: name.endswith(".md") and name[0] != ".", read_note)


def _hidden(unit: str) -> bool:
    return unit.startswith(".") or f"{os.sep}." in unit


@dataclass(frozen=True)
class Observation:
    """`- [category] content #tag (context)`; `content` keeps tags that stand within the sentence."""

    category: str
    content: str
    tags: tuple[str, ...]
    context: str


@dataclass
class Note:
    """A parsed note. `relations` are (relation type, target); `problems` are (1-based line, what is wrong)."""

    permalink: str
    title: str
    text: str
    front: Mapping[str, str]
    observations: list[Observation] = field(default_factory=list)
    relations: list[tuple[str, str]] = field(default_factory=list)
    problems: list[tuple[int, str]] = field(default_factory=list)


# ---------------------------------------------------------------- the file


def parse_note(text: str, path: str) -> Note:
    """A note; `path`, without its ending, is its name where the front matter gives none. Nothing here is ever fatal."""
    lines = plain(text).replace("\r\n", "\n").split("\n")
    front, body = _front_matter(lines)
    title = front.get("title") or path.rpartition(os.sep)[2]
    note = Note(front.get("permalink") or permalink_of(path), title, "\n".join(lines[body:]).strip(), front)
    if lines[0].rstrip() == "---" and body == 0:
        note.problems.append((1, "front matter without an end (a line ---); read as text"))
    for line in _outside_fences(lines, body):
        observation, relation = _OBSERVATION.match(line), _RELATION.match(line)
        if observation:
            note.observations.append(_observation(observation[1].strip(), observation[2]))
        elif relation:
            note.relations.append((relation[1].strip() or "relates_to", relation[2]))
        else:
            note.relations += [("links_to", target) for target in _LINK.findall(line)]
    if len(note.relations) > _MAX_LINKS:
        note.problems.append((1, f"{len(note.relations):,} links; the first {_MAX_LINKS} are kept"))
        del note.relations[_MAX_LINKS:]
    return note


def _front_matter(lines: list[str]) -> tuple[dict[str, str], int]:
    """Simple `key: value` lines between two `---`, and the line after them; lists and nested values are passed over."""
    if lines[0].rstrip() != "---":
        return {}, 0
    front: dict[str, str] = {}
    for index, line in enumerate(lines[1:], 1):
        if line.rstrip() in {"---", "..."}:
            return front, index + 1
        if found := _KEY.match(line[:_MAX_LINE]):
            front.setdefault(found[1].lower(), _scalar(found[2] or ""))
    return {}, 0


def _scalar(value: str) -> str:
    value = value.strip()
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1]
    return re.sub(r"\s+#.*$", "", value)


def _outside_fences(lines: list[str], begin: int) -> Iterator[str]:
    """Lines, without those in code blocks."""
    fence = ""
    for index in range(begin, len(lines)):
        mark = _FENCE.match(lines[index])
        if fence:
            if mark and mark[1].startswith(fence) and not lines[index].strip(" `~"):
                fence = ""
        elif mark:
            fence = mark[1]
        else:
            yield lines[index][:_MAX_LINE]


def _observation(category: str, content: str) -> Observation:
    said, context = content.rstrip(), ""
    if said.endswith(")") and "(" in said:
        said, _, context = said[:-1].rpartition("(")
    tags = tuple(_TAG.findall(said))
    bare = re.sub(r"(?:\s+#[^\s#]+)+\s*$", "", said).strip() or said.strip()
    return Observation(category, bare, tags, context.strip())


def permalink_of(path: str) -> str:
    """The name that basic-memory gives a note without one: its path, in lower case, with hyphens for spaces."""
    return re.sub(r"-{2,}", "-", re.sub(r"[\s_]+", "-", path.replace(os.sep, "/").strip().lower()))


# ---------------------------------------------------------------- its words in the memory


def _tell(note: Note, file: str) -> Telling:
    told = Telling(file)
    ts = next((note.front[key] for key in ("modified", "updated", "created", "date") if note.front.get(key)), None)
    text = f"{note.title}\n{note.text}".strip()
    own = told.note(f"note:{note.permalink}", text, ts, None, native_id=note.permalink, title=note.title)
    title = told.note(_title_id(note.title), note.title, None, None, native_id=note.title)
    told.edge(own, title, EdgeKind.MENTIONS, ts, relation_type="title")
    for one in note.observations:
        of_person = is_person_name(one.category) or is_person_name(note.front.get("type", ""))
        if is_rule_name(one.category) or states_wish(one.content, of_person):
            wish = _preference_id(note.permalink, one.content)
            more = {"category": one.category, "tags": list(one.tags), "context": one.context}
            told.preference(wish, one.content, ts, None, native_id=wish.partition(":")[2], about=note.permalink, **more)
            told.edge(wish, own, EdgeKind.MENTIONS, ts, relation_type="about")
    linked: dict[str, dict[str, None]] = {}
    for kind, target in note.relations:
        linked.setdefault(_target_id(target), {})[kind] = None
    for end, kinds in linked.items():
        if end not in {own, title}:
            told.edge(own, end, EdgeKind.MENTIONS, ts, relation_type="; ".join(kinds))
    return told


def _preference_id(permalink: str, content: str) -> str:
    return "preference:" + hashlib.sha256(f"{permalink}\0{content}".encode()).hexdigest()[:32]


def _title_id(title: str) -> str:
    return f"title:{' '.join(title.split()).casefold()}"


def _target_id(target: str) -> str:
    """A link by title, or (with a slash) by permalink or path; an alias and a heading are no part of the name."""
    name = target.partition("|")[0].partition("#")[0].strip()
    return f"note:{permalink_of(name.removesuffix('.md'))}" if "/" in name else _title_id(name)
