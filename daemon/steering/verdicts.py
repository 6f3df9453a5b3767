"""Verdicts of `daemon.steering.exactness` on disk: trying short cuts takes seconds, which a new process need not pay.

One JSON file a model, beside its rows. It counts for the same libraries and the same code of ours only.
"""

from importlib.metadata import version
from pathlib import Path

import orjson

from daemon import __version__
from daemon.durable import storage_faults
from daemon.steering.exactness import Verdict, Way, remember_verdict, verdict_of
from daemon.steering.layout import Layout

NAME = "exactness.json"


def recall(layout: Layout, folder: Path) -> None:
    """Take what the file says, unless more is known already; a file that is absent, torn or another's says nothing."""
    try:
        found = orjson.loads((folder / NAME).read_bytes())
        verdict = Verdict(Way[found["way"]], int(found["length"]), int(found["width"]))
    except (FileNotFoundError, orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return
    if found.get("with") == _made_with() and verdict_of(layout).length == 0:
        remember_verdict(layout, verdict)


def keep(layout: Layout, folder: Path) -> None:
    """Write what is known of the model.

    Raises:
        FullError: It cannot be written.
    """
    known = verdict_of(layout)
    if known.length == 0:
        return
    body = {"way": known.way.name, "length": known.length, "width": known.width, "with": _made_with()}
    path = folder / NAME
    with storage_faults(path):
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_bytes(orjson.dumps(body))
        partial.replace(path)


def _made_with() -> dict[str, str]:
    return {"reflexd": __version__, "torch": version("torch"), "transformers": version("transformers")}
