"""Verdicts of `daemon.steering.exactness` on disk: trying short cuts takes seconds, which a new process need not pay.

One JSON file a model, beside its rows. It counts for the same libraries, device and code of ours only.
"""

from importlib.metadata import version
from pathlib import Path

import orjson

from daemon import __version__
from daemon.durable import write_durably
from daemon.steering.exactness import UNTRIED, Verdict, Way, remember_verdict, verdict_of
from daemon.steering.layout import Layout

NAME = "exactness.json"


def recall(layout: Layout, folder: Path) -> None:
    """Take what the file says, unless more is known already; a file that is absent, torn or another's says nothing."""
    if verdict_of(layout) == UNTRIED and (found := _read(layout, folder)) is not None:
        remember_verdict(layout, found)


def keep(layout: Layout, folder: Path) -> None:
    """Write what is known of the model, if the file says anything else.

    Raises:
        FullError: It cannot be written.
    """
    known = verdict_of(layout)
    if known in {UNTRIED, _read(layout, folder)}:
        return
    body = {"way": known.way.name, "length": known.length, "width": known.width, "with": _made_with(layout)}
    write_durably(folder / NAME, orjson.dumps(body))


def _read(layout: Layout, folder: Path) -> Verdict | None:
    try:
        found = orjson.loads((folder / NAME).read_bytes())
        verdict = Verdict(Way[found["way"]], int(found["length"]), int(found["width"]))
        return verdict if found["with"] == _made_with(layout) else None
    except (FileNotFoundError, orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return None


def _made_with(layout: Layout) -> dict[str, str]:
    libraries = {name: version(name) for name in ("torch", "transformers")}
    return {"reflexd": __version__, "device": layout.device.type} | libraries
