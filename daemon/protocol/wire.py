"""A message of the protocol as one line, and back. A number that is none (NaN, ±inf) arrives as what it is.

JSON has no such numbers; Python's own `json` writes them all the same and reads them, orjson would make them null.
"""

import json
from typing import Any


def to_line(message: dict[str, Any]) -> bytes:
    """One JSON object and a line end, ASCII."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def from_line(line: bytes) -> Any:
    """What `to_line` wrote.

    Raises:
        ValueError: It is no JSON.
    """
    return json.loads(line)
