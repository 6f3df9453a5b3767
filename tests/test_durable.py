"""A file is the old one or the new one, whole, and said to be there only when a power cut could not take it back."""

import os
from pathlib import Path

import pytest

from daemon import durable
from daemon.errors import FullError


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The order of what is asked of the disk."""
    heard: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def heard_fsync(descriptor: int) -> None:
        heard.append(f"fsync {Path(f'/proc/self/fd/{descriptor}').readlink().name.partition('.partial')[0]}")
        fsync(descriptor)

    def heard_replace(self: Path, target: Path) -> Path:
        heard.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", heard_fsync)
    monkeypatch.setattr(Path, "replace", heard_replace)
    return heard


def test_the_content_is_synced_before_the_rename_and_the_folder_after_it(tmp_path: Path, calls: list[str]) -> None:
    folder = tmp_path / "folder"
    durable.write_durably(folder / "file", b"content")
    assert (folder / "file").read_bytes() == b"content"
    assert calls == [f"fsync {tmp_path.name}", f"fsync .file.{os.getpid()}", "rename", "fsync folder"]
    calls.clear()
    durable.write_durably(folder / "file", b"again")
    assert calls == [f"fsync .file.{os.getpid()}", "rename", "fsync folder"]
    assert [path.name for path in folder.iterdir()] == ["file"]


def test_a_fault_leaves_the_old_file_and_no_rubbish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FullError, match="file: cannot be written: No space left on device; make room on the disk"):
        durable.write_durably(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FullError, match="File exists; check the disk and the folder"):
        durable.write_durably(tmp_path / "file" / "below", b"")


def test_a_tree_is_synced_entry_by_entry_and_its_root_last(tmp_path: Path, calls: list[str]) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one").write_bytes(b"1")
    (tmp_path / "two").write_bytes(b"2")
    durable.fsync_tree(tmp_path)
    assert calls == ["fsync a", "fsync one", "fsync two", f"fsync {tmp_path.name}"]
