"""inotify as a hint: a change under a watched memory wakes the next look early. Polling stays the base.

A hint may be missed (network mounts, too many watches, a path that is not there yet) and costs nothing then: the look
comes in its time. Folders are watched with what is in them; of a file its folder is watched, for a file that is
replaced by another one of its name would be lost otherwise.
"""

import logging
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

_RELOOK_MS = 5_000
_DEBOUNCE_MS = 1_000
_log = logging.getLogger("reflexd.hints")


class Hints:
    """Threads that call `wake` when something changed under `paths()`; these are asked for again every few seconds."""

    def __init__(self, paths: Callable[[], Iterable[Path]], wake: Callable[[], None]) -> None:
        self._paths = paths
        self._wake = wake
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(recursive,), name=f"hints-{recursive}", daemon=True)
            for recursive in (True, False)
        ]

    def start(self) -> None:
        """Begin to listen."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop listening; waits a few seconds at most."""
        self._stop.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(2.0)

    def _run(self, recursive: bool) -> None:
        told = ""
        while not self._stop.is_set():
            try:
                self._listen(recursive, watched(self._paths(), folders=recursive))
            except Exception as error:  # noqa: BLE001 - a hint that fails must not take the daemon with it
                if str(error) != told:
                    told = str(error)
                    _log.warning("no early looks for now (%s); polling goes on", error)
                self._stop.wait(60.0)

    def _listen(self, recursive: bool, places: dict[Path, frozenset[Path]]) -> None:
        from watchfiles import watch

        if not places:
            self._stop.wait(_RELOOK_MS / 1000)
            return
        for changes in watch(
            *places,
            recursive=recursive,
            stop_event=self._stop,
            debounce=_DEBOUNCE_MS,
            rust_timeout=_RELOOK_MS,
            yield_on_timeout=True,
            watch_filter=None,
            raise_interrupt=False,
        ):
            if any(_concerns(Path(path), places) for _, path in changes):
                self._wake()
            if watched(self._paths(), folders=recursive) != places:
                return


def watched(paths: Iterable[Path], folders: bool) -> dict[Path, frozenset[Path]]:
    """Folders to listen to: those that are memories themselves, or (with the files that matter) those of files."""
    found: dict[Path, set[Path]] = {}
    for path in paths:
        if folders and path.is_dir():
            found.setdefault(path, set())
        elif not folders and not path.is_dir() and path.parent.is_dir():
            found.setdefault(path.parent, set()).add(path)
    return {folder: frozenset(files) for folder, files in found.items()}


def _concerns(path: Path, places: dict[Path, frozenset[Path]]) -> bool:
    """Whether a change is of a memory: anything in its own folder, else one of the files (or SQLite's beside it)."""
    files = places.get(path.parent)
    return not files or any(path.name.startswith(file.name) for file in files)
