"""Pairs files: JSON Lines, one pair a line.

    {"behaviour": str, "prompt": [{"role", "content"}, ...] | str, "positive": str, "negative": str, "group": str}

`weight` and `episodes` may follow. Blank lines are fine; unknown keys are errors.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import orjson
from pydantic import ValidationError

from graph.errors import GraphError, SourceMissingError, TornFileError
from graph.schema import Pair

MAX_LINE = 16 * 2**20
"""Bytes of one pair; a longer line is another kind of file, and is not read to its end."""


def read_pairs_file(path: Path) -> list[Pair]:
    """The pairs of a file, in its order, in memory bounded by the pairs and one line.

    Raises:
        SourceMissingError: There is no such file.
        TornFileError: A line is not JSON; the message names line and column.
        GraphError: A line is no pair; the message names line and key.
    """
    if not path.is_file():
        raise SourceMissingError(f"{path}: no such pairs file; name a JSON Lines file of pairs")
    with path.open("rb") as file:
        return [_pair(line, f"{path}:{number}") for number, line in _lines(file, path) if line.strip()]


def _lines(file: BinaryIO, path: Path) -> Iterator[tuple[int, bytes]]:
    number = 0
    while line := file.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
            raise GraphError(
                f"{path}:{number}: line longer than {MAX_LINE:,} bytes; a pairs file holds one pair a line"
            )
        yield number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line


def _pair(line: bytes, where: str) -> Pair:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise TornFileError(f"{where}:{error.colno}: not JSON ({error.msg}); correct or remove the line") from None
    if not isinstance(value, dict):
        raise GraphError(
            f"{where}: not an object; a line is one pair, with behaviour, prompt, positive, negative and group"
        )
    try:
        return Pair.model_validate(value)
    except ValidationError as error:
        raise GraphError(f"{where}: {_fault(error)}; correct the key") from None


def _fault(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    # A prompt may be a text or a list of messages: pydantic adds the alternative that it tried, which is no key.
    key = ".".join(str(part) for part in first["loc"] if isinstance(part, int) or part.isidentifier())
    said = {"extra_forbidden": "unknown key", "missing": "missing"}.get(first["type"], first["msg"])
    return f"{key.removesuffix('.str')}: {said}"


def write_pairs_file(path: Path, pairs: Iterable[Pair]) -> None:
    """Write a pairs file; a reader sees the old file or the whole new one.

    Raises:
        OSError: The folder cannot be written, or the disk is full; the old file is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            for pair in pairs:
                file.write(
                    orjson.dumps(pair.model_dump(mode="json", exclude_defaults=True), option=orjson.OPT_APPEND_NEWLINE)
                )
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
