"""A model from the hub: only what is needed, from the commit that was looked at, and a clear word on failure."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from gguf_examples import write_model_folder

from daemon.errors import DataError, UnavailableError
from daemon.models import provide, resolve
from daemon.models.hub import is_wanted
from daemon.models.origin import read_origin
from daemon.protocol import Progress


@dataclass
class File:
    rfilename: str
    size: int = 1 << 20


@dataclass
class Info:
    siblings: list[File]
    sha: str = "c0ffee"


class Hub:
    """Stands in for huggingface_hub: what was asked, and what it answers."""

    def __init__(self) -> None:
        self.info: Info | Exception = Info([File("config.json"), File("model.safetensors"), File("pytorch_model.bin")])
        self.download: Exception | None = None
        self.asked: dict[str, Any] = {}

    def model_info(self, repository: str, *, revision: str | None, files_metadata: bool) -> Info:
        self.asked["info"] = (repository, revision, files_metadata)
        if isinstance(self.info, Exception):
            raise self.info
        return self.info

    def snapshot_download(self, repository: str, *, local_dir: Path, **kwargs: Any) -> str:
        self.asked["download"] = {"repository": repository, **kwargs}
        if not local_dir.exists():
            write_model_folder(local_dir)
        (local_dir / ".cache" / "huggingface").mkdir(parents=True, exist_ok=True)
        if self.download:
            raise self.download
        return str(local_dir)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    fake = Hub()
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: fake)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fake.snapshot_download)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    return fake


def add(spec: str, models: Path) -> Path:
    steps: list[Progress] = []
    return provide(spec, models, progress=print, on_progress=steps.append).folder


def test_it_is_downloaded_once_from_the_commit_that_was_looked_at(hub: Hub, tmp_path: Path) -> None:
    folder = add("owner/some-model@v1", tmp_path)
    assert folder == tmp_path / "owner--some-model"
    assert hub.asked["info"] == ("owner/some-model", "v1", True)
    assert hub.asked["download"]["repository"] == "owner/some-model"
    assert hub.asked["download"]["revision"] == "c0ffee"
    assert not (folder / ".cache").exists()
    origin = read_origin(folder)
    assert origin is not None
    assert (origin.spec, origin.revision) == ("owner/some-model", "c0ffee")
    hub.asked.clear()
    assert add("owner/some-model", tmp_path) == folder
    assert resolve("owner/some-model", tmp_path) == folder
    assert hub.asked == {}


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("model.safetensors", True),
        ("model-00001-of-00002.safetensors", True),
        ("config.json", True),
        ("tokenizer.json", True),
        ("tokenizer.model", True),
        ("chat_template.jinja", True),
        ("pytorch_model.bin", False),
        ("model.pkl", False),
        ("modeling_custom.py", False),
        ("tokenizer_custom.py", False),
        ("onnx/model.safetensors", False),
        ("README.md", False),
    ],
)
def test_weights_configuration_and_tokenizer_and_never_pickle_or_code(name: str, wanted: bool) -> None:
    assert is_wanted(name) is wanted


def test_the_same_patterns_are_given_to_the_download(hub: Hub, tmp_path: Path) -> None:
    from huggingface_hub.utils import filter_repo_objects

    add("owner/name", tmp_path)
    asked = hub.asked["download"]
    names = [
        "model.safetensors",
        "pytorch_model.bin",
        "onnx/model.safetensors",
        "tokenizer.json",
        "tokenizer_custom.py",
    ]
    kept = filter_repo_objects(names, allow_patterns=asked["allow_patterns"], ignore_patterns=asked["ignore_patterns"])
    assert (
        sorted(kept) == [name for name in sorted(names) if is_wanted(name)] == ["model.safetensors", "tokenizer.json"]
    )


def test_a_repository_of_pickles_is_refused_before_anything_is_downloaded(hub: Hub, tmp_path: Path) -> None:
    hub.info = Info([File("config.json"), File("pytorch_model.bin")])
    with pytest.raises(DataError, match=r"owner/name: it has no \*\.safetensors"):
        add("owner/name", tmp_path)
    assert "download" not in hub.asked


def test_a_download_that_broke_off_goes_on_where_it_was(hub: Hub, tmp_path: Path) -> None:
    hub.download = OSError("connection reset")
    with pytest.raises(UnavailableError, match="owner/name: cannot be downloaded: connection reset; check the network"):
        add("owner/name", tmp_path)
    assert not (tmp_path / "owner--name").exists()
    assert (tmp_path / ".owner--name.partial" / "model.safetensors").is_file()
    hub.download = None
    assert add("owner/name", tmp_path) == tmp_path / "owner--name"
    assert not (tmp_path / ".owner--name.partial").exists()


def test_offline_is_said_and_no_guess_about_the_network_is_made(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub.errors import OfflineModeIsEnabled

    hub.info = OfflineModeIsEnabled("offline")
    with pytest.raises(UnavailableError, match="HF_HUB_OFFLINE is set"):
        add("owner/name", tmp_path)
