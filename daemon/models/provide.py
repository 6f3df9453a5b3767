"""`provide` makes a model available, whatever that takes; `resolve` finds one that is available already."""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from daemon.child import OnProgress
from daemon.durable import storage_faults
from daemon.errors import DataError, FullError, NoInputError, UnavailableError, UsageError
from daemon.models.conversion import converted
from daemon.models.embedded import GGUF_SHA256, embedded_gguf
from daemon.models.folder import check_model_folder
from daemon.models.hub import downloaded
from daemon.models.origin import file_sha256, is_made_from, origin_of_file
from daemon.models.spec import Embedded, GgufFile, HubModel, LocalFolder, ModelSpec, parse_spec

Say = Callable[[str], None]

_EMBEDDED_NEEDS_BYTES = 800_000_000  # wheel, GGUF and the float32 model at one time


@dataclass(frozen=True)
class ProvidedModel:
    """A model folder that can be loaded, and what to call it."""

    name: str
    folder: Path


def provide(
    spec: str,
    models_folder: Path,
    *,
    from_file: Path | None = None,
    progress: Say,
    on_progress: OnProgress | None = None,
) -> ProvidedModel:
    """Make the model `spec` available; one that is there already costs nothing.

    `progress` hears remarks for people. `on_progress` hears how far each step is; without it, bars are shown.
    Everything but a local folder ends up in `models_folder`/<name>, whole or not at all.

    Raises:
        UsageError: `spec` names nothing, or `from_file` does not belong to it.
        NoInputError: A file or folder that is named is not there.
        UnavailableError: The network, pip or the hub is not there; the message says what else can be done.
        DataError: A file is torn, is not the pinned one, or cannot be converted.
        FullError: The disk is full.
    """
    wanted = parse_spec(spec, models_folder)
    if from_file is not None and not isinstance(wanted, Embedded):
        raise UsageError(f"{spec}: --from is for smollm2 alone; name the file or folder itself")
    if isinstance(wanted, LocalFolder):
        check_model_folder(wanted.path)
        return ProvidedModel(wanted.name, wanted.path)
    target = models_folder / wanted.name
    with _sole_provider(models_folder, progress) as lock:
        if _is_there(wanted, target):
            shutil.rmtree(_incoming(target), ignore_errors=True)  # a run may have been killed before it tidied up
            return ProvidedModel(wanted.name, target)
        if on_progress is not None:
            _make(wanted, target, from_file, on_progress, lock)
        else:
            from daemon.progress import display

            with display() as shown:
                _make(wanted, target, from_file, shown.on_progress, lock)
    progress(f"{wanted.name}: provided in {target}")
    return ProvidedModel(wanted.name, target)


def resolve(spec: str, models_folder: Path) -> Path:
    """The folder of a model that was provided before; nothing is made or downloaded.

    Raises:
        UnavailableError: It was not provided; the message names the command.
        UsageError, NoInputError, DataError: As for `provide`.
    """
    wanted = parse_spec(spec, models_folder)
    if isinstance(wanted, LocalFolder):
        check_model_folder(wanted.path)
        return wanted.path
    target = models_folder / wanted.name
    if not _is_there(wanted, target):
        raise UnavailableError(f"{spec}: not provided yet; `reflexd model add {spec}` does it")
    return target


def _is_there(wanted: ModelSpec, target: Path) -> bool:
    """Whether `target` is the model that is wanted.

    Raises:
        DataError: It is damaged, or was made from another file of the same name.
    """
    if not target.is_dir():
        if isinstance(wanted, GgufFile) and not wanted.path.is_file():
            raise NoInputError(f"{wanted.path}: no such file; name a .gguf file that is there")
        return False
    check_model_folder(target)
    if isinstance(wanted, GgufFile) and wanted.path.is_file() and not is_made_from(target, wanted.path):
        raise DataError(f"{target}: made from another file than {wanted.path}; rename that file, or remove the folder")
    return True


def _make(wanted: ModelSpec, target: Path, from_file: Path | None, on_progress: OnProgress, lock: int) -> None:
    if isinstance(wanted, HubModel):
        downloaded(wanted, target, on_progress)
    elif isinstance(wanted, GgufFile):
        origin = origin_of_file(str(wanted.path), wanted.path, file_sha256(wanted.path))
        converted(wanted.path, target, origin, on_progress, inherit=(lock,))
    elif isinstance(wanted, Embedded):
        incoming = _incoming(target)
        _make_room(incoming)
        gguf = embedded_gguf(incoming, from_file, on_progress)
        converted(gguf, target, origin_of_file(wanted.name, gguf, GGUF_SHA256), on_progress, inherit=(lock,))
        shutil.rmtree(incoming, ignore_errors=True)


def _incoming(target: Path) -> Path:
    """Where downloads wait until the model is made."""
    return target.with_name(f".{target.name}.incoming")


def _make_room(incoming: Path) -> None:
    with storage_faults(incoming):
        incoming.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(incoming).free
    if free < _EMBEDDED_NEEDS_BYTES:
        need = _EMBEDDED_NEEDS_BYTES // 1_000_000
        raise FullError(
            f"{incoming.parent}: {free // 1_000_000} MB free, smollm2 needs {need} MB; make room on the disk"
        )


@contextmanager
def _sole_provider(models_folder: Path, progress: Say) -> Iterator[int]:
    """One at a time makes models here; yields the lock's descriptor, for children to keep."""
    with storage_faults(models_folder):
        models_folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(models_folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress(f"{models_folder}: another reflexd provides a model here; waiting for it")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)
