"""A model from the Hugging Face hub, only because a person named it: weights, configuration, tokenizer, no code."""

import fnmatch
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from daemon.child import OnProgress
from daemon.errors import DataError, UnavailableError
from daemon.models.conversion import put_in_place
from daemon.models.origin import Origin
from daemon.models.spec import HubModel
from daemon.protocol import Progress

WANTED = [
    "*.safetensors",
    "model.safetensors.index.json",
    "config.json",
    "generation_config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template*",
]
# The first is for folders inside the repository: other formats of the same weights.
UNWANTED = ["*/*", "*.bin", "*.pt", "*.pth", "*.pkl", "*.msgpack", "*.h5", "*.py"]


def downloaded(spec: HubModel, target: Path, on_progress: OnProgress) -> None:
    """Make the model folder `target` from the newest (or named) commit. A download that was stopped goes on.

    Raises:
        UnavailableError: There is no network, or the hub refuses (no such model, or one that asks for a login).
        DataError: The repository has no safetensors.
    """
    from huggingface_hub import HfApi, snapshot_download

    partial = target.with_name(f".{target.name}.partial")
    try:
        found = HfApi().model_info(spec.repository, revision=spec.revision, files_metadata=True)
        with _sizes_told(partial, _total(found, spec), spec, on_progress):
            snapshot_download(
                spec.repository,
                revision=found.sha,
                local_dir=partial,
                allow_patterns=WANTED,
                ignore_patterns=UNWANTED,
            )
    except (OSError, ValueError, RuntimeError) as error:  # the hub's and the network's errors are all of these
        raise UnavailableError(f"{spec.repository}: {_reason(error)}") from None
    shutil.rmtree(partial / ".cache", ignore_errors=True)
    put_in_place(partial, target, Origin(spec=spec.repository, revision=found.sha))


def _total(found: Any, spec: HubModel) -> int:
    """Bytes that will be downloaded."""
    wanted = [file for file in found.siblings or [] if is_wanted(file.rfilename)]
    if not any(file.rfilename.endswith(".safetensors") for file in wanted):
        raise DataError(f"{spec.repository}: it has no *.safetensors, and pickles are never read; name another model")
    return sum(file.size or 0 for file in wanted)


def is_wanted(name: str) -> bool:
    """Whether a file of the repository is downloaded."""
    return any(fnmatch.fnmatch(name, pattern) for pattern in WANTED) and not any(
        fnmatch.fnmatch(name, pattern) for pattern in UNWANTED
    )


@contextmanager
def _sizes_told(folder: Path, total: int, spec: HubModel, on_progress: OnProgress) -> Iterator[None]:
    """Tell, while the block runs, how many bytes have arrived."""
    ended = threading.Event()

    def tell() -> None:
        while not ended.wait(0.3):
            done = sum(_size(path) for path in folder.rglob("*"))
            note = f"MiB of {spec.repository}"
            on_progress(Progress(stage="download", done=min(done, total) >> 20, total=total >> 20, note=note))

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        ended.set()
        teller.join()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except FileNotFoundError:
        return 0


def _reason(error: Exception) -> str:
    from huggingface_hub.errors import GatedRepoError, OfflineModeIsEnabled, RepositoryNotFoundError

    if isinstance(error, OfflineModeIsEnabled) or os.environ.get("HF_HUB_OFFLINE") == "1":
        return "HF_HUB_OFFLINE is set, so nothing is downloaded; unset it, or name a local folder"
    if isinstance(error, GatedRepoError):
        return "the hub wants a login for it; run `hf auth login` first"
    if isinstance(error, RepositoryNotFoundError):
        return "no such model on the hub, or a private one; check the name, or run `hf auth login` first"
    words = " ".join(str(error).split())[:200]
    return f"cannot be downloaded: {words}; check the network, or name a local folder"
