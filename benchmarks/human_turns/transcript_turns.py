"""The human turns of a folder of Claude Code transcripts, each with what the agent had said before it.

Reads only; shows nothing of a transcript unless a person asks for it: `python transcript_turns.py FOLDER --show fit`.
"""

import argparse
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

NOT_TYPED = ("<", "[Request interrupted", "This session is being continued", "Caveat:", "Operation stopped by hook")
UNSEEN_SHARE = 1 / 3


@dataclass(frozen=True)
class HumanTurn:
    """What a human typed, and the agent's last text before it; `since` names what happened between the two."""

    uuid: str
    session_file: str
    words: str
    before: str
    since: tuple[str, ...]

    @property
    def split(self) -> str:
        """`fit` or `unseen`, by the file's name alone, so that no session lies on both sides."""
        return split_of(self.session_file)


def split_of(name: str) -> str:
    """`unseen` for about a third of all names: the first four bytes of the name's sha256, as a share of 2^32."""
    share = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") / 2**32
    return "unseen" if share < UNSEEN_SHARE else "fit"


def human_turns(folder: Path) -> list[HumanTurn]:
    """Every human turn with an agent's text before it, file by file by name; a uuid that comes again is left out."""
    found: dict[str, HumanTurn] = {}
    for path in sorted(folder.glob("*.jsonl")):
        if path.name != "explicit-labels.jsonl":
            for turn in _turns_of(path):
                found.setdefault(turn.uuid, turn)
    return list(found.values())


def _turns_of(path: Path) -> Iterator[HumanTurn]:
    before, since = "", []  # type: str, list[str]
    for line in path.read_bytes().splitlines():
        record = orjson.loads(line)
        kind = record.get("type")
        if record.get("isSidechain") or kind not in {"user", "assistant"}:
            continue
        text = _text(record["message"]["content"])
        if kind == "assistant":
            before, since = (text, []) if text.strip() else (before, since)
        elif _is_typed(record, text):
            if before.strip():
                yield HumanTurn(record["uuid"], path.name, text, before, tuple(since))
            since = []
        else:
            since.extend(_happened(record, text))


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(block.get("text", "") for block in content if block.get("type") == "text")


def _is_typed(record: dict[str, Any], text: str) -> bool:
    content = record["message"]["content"]
    if record.get("isMeta") or record.get("isCompactSummary") or not text.strip():
        return False
    if isinstance(content, list) and any(block.get("type") == "tool_result" for block in content):
        return False
    if origin := record.get("origin"):
        return bool(origin.get("kind") == "human")
    return not text.lstrip().startswith(NOT_TYPED)


def _happened(record: dict[str, Any], text: str) -> Iterator[str]:
    if text.startswith("[Request interrupted"):
        yield "interrupted"
    content = record["message"]["content"]
    for block in content if isinstance(content, list) else ():
        if block.get("type") == "tool_result" and block.get("is_error"):
            said = block.get("content")
            if isinstance(said, str) and said.startswith("The user doesn't want to proceed"):
                yield "rejected"


def main() -> None:
    """List turns for a person who labels them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="a folder of Claude Code transcripts (*.jsonl)")
    parser.add_argument("--show", choices=["fit", "unseen"], help="print the turns of this part, with the agent's tail")
    parser.add_argument("--tail", type=int, default=600, help="characters of the agent's text (%(default)s)")
    arguments = parser.parse_args()
    turns = human_turns(arguments.folder)
    counts = {part: sum(turn.split == part for turn in turns) for part in ("fit", "unseen")}
    print(f"{len(turns)} human turns: {counts}")
    for number, turn in enumerate(turn for turn in turns if turn.split == arguments.show):
        print(f"\n=== {number} {turn.uuid} {turn.session_file[:8]} {' '.join(turn.since)}")
        print(f"AGENT: …{turn.before[-arguments.tail :]}\nHUMAN: {turn.words}")


if __name__ == "__main__":
    main()
