"""Files and folders are whole or as they were, whatever fails while they are written."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from daemon.errors import FullError
from daemon.training.durable import write_file, write_folder


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def text(content: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(content)


def two_files(content: str) -> Callable[[Path], object]:
    def fill(folder: Path) -> None:
        (folder / "config.json").write_text(content)
        (folder / "model.safetensors").write_text(content)

    return fill


def half_then_full(folder: Path) -> None:
    (folder / "config.json").write_text("new")
    full()


def tree(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("fault", ["replace", "fsync"])
def test_a_file_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    path = tmp_path / "delta.safetensors"
    write_file(path, text("old"))
    with monkeypatch.context() as patched:
        patched.setattr(Path if fault == "replace" else os, fault, full)
        with pytest.raises(FullError, match=r"delta\.safetensors: cannot be written: No space left"):
            write_file(path, text("new"))
    assert tree(tmp_path) == {"delta.safetensors": "old"}


def test_a_full_disk_in_the_middle_of_a_file_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "delta.safetensors"
    write_file(path, text("old"))
    with pytest.raises(FullError):
        write_file(path, lambda partial: (partial.write_text("ne"), full()))
    assert tree(tmp_path) == {"delta.safetensors": "old"}


@pytest.mark.parametrize("fault", ["fill", "replace", "fsync", "rename"])
def test_a_folder_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    path = tmp_path / "weights"
    write_folder(path, two_files("old"))
    with monkeypatch.context() as patched:
        if fault != "fill":
            patched.setattr(os if fault == "fsync" else Path, fault, full)
        with pytest.raises(FullError, match="weights: cannot be written"):
            write_folder(path, half_then_full if fault == "fill" else two_files("new"))
    assert tree(tmp_path) == {"weights/config.json": "old", "weights/model.safetensors": "old"}


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    write_folder(path, two_files("old"))
    (path / "extra").write_text("old")
    write_folder(path, two_files("new"))
    assert tree(tmp_path) == {"weights/config.json": "new", "weights/model.safetensors": "new"}


def test_what_a_killed_attempt_left_half_written_is_no_obstacle(tmp_path: Path) -> None:
    half = tmp_path / "weights.partial"
    half.mkdir()
    (half / "model.safetensors").write_text("half")
    write_folder(tmp_path / "weights", two_files("new"))
    assert tree(tmp_path) == {"weights/config.json": "new", "weights/model.safetensors": "new"}


def test_every_file_is_synced_before_the_folder_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[str] = []
    real_fsync, real_replace = os.fsync, Path.replace

    def fsync(descriptor: int) -> None:
        happened.append(f"fsync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        real_fsync(descriptor)

    def replace(source: Path, target: Path) -> Path:
        happened.append(f"rename {target.name}")
        return real_replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    write_folder(tmp_path / "weights", two_files("new"))
    renamed = happened.index("rename weights")
    for name in ("config.json", "model.safetensors", "weights.partial"):
        assert happened.index(f"fsync {name}") < renamed
    assert happened[renamed + 1] == f"fsync {tmp_path.name}"
