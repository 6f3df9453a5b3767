"""A model is known by its bytes, a template by what makes tokens of text; neither needs torch."""

import json
import subprocess
import sys

import pytest

from daemon.errors import DataError, NoInputError
from daemon.steering import model_folder
from daemon.steering.model_folder import model_digest, model_shape, template_digest
from tests.tiny import FAMILIES, HIDDEN, save_tiny, tiny_config


@pytest.fixture
def folder(tmp_path):
    return save_tiny(tmp_path / "model", n_layers=2)


def test_the_same_bytes_elsewhere_are_the_same_model(folder, tmp_path):
    other = tmp_path / "copy"
    other.mkdir()
    for file in folder.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    assert model_digest(other) == model_digest(folder)
    assert template_digest(other) == template_digest(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_one_changed_byte_is_another_model(folder, name):
    before, path = model_digest(folder), folder / name
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(data)
    assert model_digest(folder) != before


def test_a_changed_file_of_the_same_length_and_date_is_noticed(folder):
    import os

    path = folder / "model.safetensors"
    before, status = model_digest(folder), path.stat()
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert model_digest(folder) != before


def test_what_makes_no_difference_to_the_weights_makes_none_to_the_digest(folder):
    before = model_digest(folder)
    (folder / "README.md").write_text("a note")
    (folder / "generation_config.json").write_text("{}")
    assert model_digest(folder) == before


def test_another_template_is_another_template_wherever_it_stands(folder):
    before, template = template_digest(folder), (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").unlink()
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": template}))
    assert template_digest(folder) == before
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": template + " "}))
    assert template_digest(folder) != before


def test_other_settings_of_the_tokenizer_are_no_other_template(folder):
    before = template_digest(folder)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"local_files_only": True}))
    assert template_digest(folder) == before


def test_a_large_file_is_hashed_once_for_all_processes_and_its_folder_stays_as_it_is(folder, monkeypatch):
    monkeypatch.setattr(model_folder, "_CHUNK", 1024)
    files = sorted(path.name for path in folder.iterdir())
    digest = model_digest(folder)
    monkeypatch.setattr(model_folder, "_digests", {})  # as in a new process
    monkeypatch.setattr(
        model_folder,
        "_hash",
        lambda path: pytest.fail(f"{path} hashed again") if path.suffix == ".safetensors" else "x",
    )
    monkeypatch.setattr(model_folder, "_CHUNK", 1024)
    assert model_digest(folder) != ""
    assert sorted(path.name for path in folder.iterdir()) == files
    monkeypatch.undo()
    assert model_digest(folder) == digest


def test_where_nothing_can_be_remembered_the_digest_is_the_same(folder, monkeypatch, tmp_path):
    digest = model_digest(folder)
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(model_folder, "_CHUNK", 1024)
    monkeypatch.setattr(model_folder, "_digests", {})
    assert model_digest(folder) == digest


@pytest.mark.parametrize("family", FAMILIES)
def test_shape_of_every_family(tmp_path, family):
    (tmp_path / "config.json").write_text(json.dumps(tiny_config(family).to_dict()))
    name, hidden, layers = model_shape(tmp_path)
    assert (name, hidden, layers) == (tiny_config(family).model_type, HIDDEN, 4)


def test_shape_of_a_model_that_also_sees_is_that_of_its_text(tmp_path):
    body = {
        "model_type": "gemma3",
        "text_config": {"model_type": "gemma3_text", "hidden_size": 640, "num_hidden_layers": 18},
    }
    (tmp_path / "config.json").write_text(
        json.dumps(body | {"vision_config": {"hidden_size": 9, "num_hidden_layers": 30}})
    )
    assert model_shape(tmp_path) == ("gemma3_text", 640, 18)


def test_what_is_missing_or_torn_is_named(folder):
    with pytest.raises(NoInputError, match=r"no \*.safetensors"):
        model_digest(folder / "nowhere")
    (folder / "config.json").write_text('{"hidden_size": 4')
    with pytest.raises(DataError, match=r"config.json: not JSON"):
        model_shape(folder)
    (folder / "config.json").write_text('{"hidden_size": 4}')
    with pytest.raises(DataError, match="no hidden size or number of layers"):
        model_shape(folder)
    (folder / "config.json").unlink()
    with pytest.raises(NoInputError, match=r"config.json: not there"):
        model_digest(folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(NoInputError, match="no tokenizer"):
        template_digest(folder)


@pytest.mark.parametrize("module", ["model_folder", "vector_file", "neutral"])
def test_the_resident_side_loads_no_torch(module):
    code = f"import sys, daemon.steering.{module}; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
