"""What a server reads is whole at every moment, changes only when something changed, and is refused when wrong."""

import hashlib
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from daemon.errors import DataError, FullError, MismatchError, NoInputError
from daemon.serving import manifest as registry_module
from daemon.serving.manifest import (
    Gate,
    Manifest,
    ManifestModel,
    SetEntry,
    VectorEntry,
    load_manifest,
    publication_lock,
    publish_manifest,
)

ROOT = Path(__file__).parents[2]
MODEL = ManifestModel(name="smollm2", hidden_size=8, n_layers=30, digest="d" * 64, template_digest="e" * 64)
CONTENT = b"a vector file"
SHA = hashlib.sha256(CONTENT).hexdigest()
PATH = Path("d" * 64) / "manifest.json"


def entry(dose: float = 0.2, name: str = "listening@3", **changes: Any) -> VectorEntry:
    fields = {"id": name, "sha256": SHA, "layers": [15], "dose": dose, "coefficient": 10 * dose, "enabled": True}
    return VectorEntry(**(fields | changes))


def publish(registry: Path, *entries: VectorEntry, **changes: Any) -> Manifest:
    return publish_manifest(registry, MODEL, entries, changes.pop("limit", 1.0), {SHA: CONTENT}, **changes)


def test_the_file_has_exactly_the_keys_of_the_format(tmp_path: Path) -> None:
    publish(tmp_path, entry(), sets={"calm": [SetEntry(id="listening@3", dose=0.1)]})
    body = orjson.loads((tmp_path / PATH).read_bytes())
    assert body == {
        "schema": 1,
        "generation": 1,
        "model": {
            "name": "smollm2",
            "hidden_size": 8,
            "n_layers": 30,
            "digest": "d" * 64,
            "template_digest": "e" * 64,
        },
        "vectors": [
            {
                "id": "listening@3",
                "sha256": SHA,
                "layers": [15],
                "operation": "add",
                "site": "block_output",
                "positions": "all_but_first",
                "dose": 0.2,
                "coefficient": 2.0,
                "enabled": True,
                "gate": None,
            }
        ],
        "sets": {"calm": [{"id": "listening@3", "dose": 0.1}]},
        "limits": {"max_relative_dose": 1.0},
    }
    assert load_manifest(tmp_path / PATH).generation == 1


def test_a_gate_and_several_layers_go_there_and_back(tmp_path: Path) -> None:
    gated = entry(layers=[15, 18], gate=Gate(layer=15, bias=-0.25))
    publish(tmp_path, gated)
    body = orjson.loads((tmp_path / PATH).read_bytes())
    assert body["vectors"][0]["gate"] == {"layer": 15, "read": "mean_prompt", "bias": -0.25, "tensor": "gate"}
    assert body["vectors"][0]["layers"] == [15, 18]
    assert load_manifest(tmp_path / PATH).vectors == (gated,)


def everything(folder: Path) -> dict[Path, tuple[int, int]]:
    return {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in folder.rglob("*")}


def test_the_same_content_writes_nothing(tmp_path: Path) -> None:
    publish(tmp_path, entry())
    before = everything(tmp_path)
    assert publish(tmp_path, entry()).generation == 1
    assert everything(tmp_path) == before


@pytest.mark.parametrize(
    "changed",
    [
        lambda folder: publish(folder, entry(0.3)),
        lambda folder: publish(folder, entry(enabled=False)),
        lambda folder: publish(folder, entry(gate=Gate(layer=3, bias=0.0))),
        lambda folder: publish(folder),
        lambda folder: publish(folder, entry(), limit=0.5),
        lambda folder: publish(folder, entry(), sets={"s": []}),
    ],
)
def test_every_change_of_content_is_a_generation(tmp_path: Path, changed: Callable[[Path], Manifest]) -> None:
    publish(tmp_path, entry())
    assert changed(tmp_path).generation == 2
    assert load_manifest(tmp_path / PATH).generation == 2
    publish(tmp_path, entry())
    assert load_manifest(tmp_path / PATH).generation == 3


def test_a_vector_file_is_named_by_its_content_and_never_touched_again(tmp_path: Path) -> None:
    publish(tmp_path, entry())
    path = tmp_path / PATH.parent / "vectors" / f"{SHA}.safetensors"
    assert path.read_bytes() == CONTENT
    before = path.stat()
    publish(tmp_path, entry(0.4))
    publish(tmp_path)
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


def test_the_vector_is_there_before_the_manifest_that_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    whole = registry_module.write_durably

    def watched(path: Path, data: bytes) -> None:
        order.append(path.suffix)
        whole(path, data)

    monkeypatch.setattr(registry_module, "write_durably", watched)
    publish(tmp_path, entry())
    assert order == [".safetensors", ".json"]


def test_a_vector_file_that_rotted_is_written_again(tmp_path: Path) -> None:
    publish(tmp_path, entry())
    path = tmp_path / PATH.parent / "vectors" / f"{SHA}.safetensors"
    path.write_bytes(CONTENT[:-1])
    publish(tmp_path, entry())
    assert path.read_bytes() == CONTENT


def test_an_entry_without_its_file_is_refused_and_what_was_served_is_still_served(tmp_path: Path) -> None:
    publish(tmp_path, entry())
    other = entry(name="other@1", sha256="f" * 64)
    with pytest.raises(DataError, match="its bytes were not given"):
        publish(tmp_path, entry(), other)
    with pytest.raises(DataError, match="hash to something else"):
        publish_manifest(tmp_path, MODEL, [other], 1.0, {"f" * 64: b"not it"})
    assert load_manifest(tmp_path / PATH).generation == 1


# ---------------------------------------------------------------- torn manifests

_POLL = """
import sys
from pathlib import Path
from daemon.serving.manifest import load_manifest

path, stop = Path(sys.argv[1]), Path(sys.argv[2])
read, seen, bad = 0, set(), []
print("ready", flush=True)
while not stop.exists():
    try:
        manifest = load_manifest(path)
        files = [path.parent / "vectors" / f"{entry.sha256}.safetensors" for entry in manifest.vectors]
        assert all(file.is_file() for file in files), "a vector file is missing"
        assert manifest.vectors[0].coefficient == 10 * manifest.vectors[0].dose, "half old, half new"
        read += 1
        seen.add(manifest.generation)
    except Exception as error:
        bad.append(str(error))
print(read, len(seen), len(bad), *bad[:1])
"""


def polled(registry: Path, replacements: int = 200) -> tuple[int, int, int]:
    """Replace the manifest again and again while another process reads it: reads, generations seen, bad reads."""
    publish(registry, entry())
    stop = registry / "stop"
    program = [sys.executable, "-c", _POLL, str(registry / PATH), str(stop)]
    with subprocess.Popen(program, cwd=ROOT, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "ready\n"
        for n in range(replacements):
            publish(registry, entry(dose=(n + 1) / 8))
        stop.touch()
        words = reader.stdout.read().split(maxsplit=3)
    return int(words[0]), int(words[1]), int(words[2])


def test_a_reader_never_sees_a_torn_or_missing_manifest_during_200_replacements(tmp_path: Path) -> None:
    read, generations, bad = polled(tmp_path)
    assert bad == 0
    assert read > 50
    assert generations > 10
    assert load_manifest(tmp_path / PATH).generation == 201
    assert not list(tmp_path.rglob("*.partial"))


@pytest.mark.parametrize("mutant", ["in place", "remove first"])
def test_the_reader_above_would_notice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mutant: str) -> None:
    def in_place(path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if mutant == "remove first":
            path.unlink(missing_ok=True)
        path.write_bytes(data)

    monkeypatch.setattr(registry_module, "write_durably", in_place)
    _, _, bad = polled(tmp_path, replacements=1000)
    assert bad > 0


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_when_the_disk_is_full_the_old_manifest_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    publish(tmp_path, entry())
    before = (tmp_path / PATH).read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    target = {"fsync": "os.fsync", "replace": "pathlib.Path.replace"}[failing]
    with monkeypatch.context() as patch:
        patch.setattr(target, full)
        with pytest.raises(FullError, match=r"manifest\.json: cannot be written: No space left on device; make room"):
            publish(tmp_path, entry(0.5))
    assert (tmp_path / PATH).read_bytes() == before
    assert not list(tmp_path.rglob("*.partial"))
    assert publish(tmp_path, entry(0.5)).generation == 2


def test_the_publication_lock_lets_one_in_at_a_time(tmp_path: Path) -> None:
    entered: list[str] = []

    def second() -> None:
        with publication_lock(tmp_path):
            entered.append("second")

    other = threading.Thread(target=second)
    with publication_lock(tmp_path):
        other.start()
        other.join(0.1)
        entered.append("first")
    other.join(2)
    assert entered == ["first", "second"]


# ---------------------------------------------------------------- bad manifests


def body(**changes: Any) -> dict[str, Any]:
    whole = orjson.loads(
        Manifest(schema=1, generation=7, model=MODEL, vectors=(entry(),), limits={"max_relative_dose": 1.0}).as_bytes()
    )
    assert isinstance(whole, dict)
    return whole | changes


def vector(**changes: Any) -> list[dict[str, Any]]:
    return [body()["vectors"][0] | changes]


def gate(**changes: Any) -> dict[str, Any]:
    return {"layer": 3, "read": "mean_prompt", "bias": 0.5, "tensor": "gate"} | changes


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not JSON"),
        (b'{"schema": 1, "gener', "not JSON"),
        (b"[]", "manifest"),
        (body(surprise=1), "surprise: Extra inputs"),
        (body(generation=0), "generation"),
        (body(generation="7"), "generation"),
        (body(limits={"max_relative_dose": -1}), "limits.max_relative_dose"),
        (body(vectors=vector(layers=[30])), r"layers \[30\] are outside 0\.\.29"),
        (body(vectors=vector(layers=[])), "vectors.0.layers"),
        (body(vectors=vector(layers=[15, 15])), r"a layer is there twice in \[15, 15\]"),
        (body(vectors=vector(gate=gate(layer=16))), "its gate reads block 16, above block 15"),
        (body(vectors=vector(layers=[18, 15], gate=gate(layer=16))), "its gate reads block 16, above block 15"),
        (body(vectors=vector(gate=gate(layer=-1))), "vectors.0.gate.layer"),
        (body(vectors=vector(gate=gate(read="last_token"))), "vectors.0.gate.read"),
        (body(vectors=vector(gate={"layer": 3})), "vectors.0.gate.bias"),
        (body(vectors=vector(sha256="../../etc/passwd")), "vectors.0.sha256"),
        (body(vectors=vector(operation="multiply")), "vectors.0.operation"),
        (body(vectors=vector() + vector()), "an id is there twice"),
        (body(sets={"calm": [{"id": "gone@1", "dose": 1.0}]}), r"set calm: no vectors \['gone@1'\]"),
        (body(model=body()["model"] | {"digest": "../up"}), "model.digest"),
    ],
)
def test_a_bad_manifest_is_refused_with_file_and_key(tmp_path: Path, content: Any, words: str) -> None:
    path = tmp_path / "manifest.json"
    path.write_bytes(content if isinstance(content, bytes) else orjson.dumps(content))
    with pytest.raises(DataError, match=words) as caught:
        load_manifest(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_schema_is_named_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / PATH
    path.parent.mkdir(parents=True)
    path.write_bytes(orjson.dumps(body(schema=2, novelty=True)))
    before = path.read_bytes()
    with pytest.raises(MismatchError, match="schema 2, but this reflexd reads 1"):
        load_manifest(path)
    with pytest.raises(MismatchError):
        publish(tmp_path, entry())
    assert path.read_bytes() == before


def test_a_missing_manifest_is_said(tmp_path: Path) -> None:
    with pytest.raises(NoInputError, match="cannot be read"):
        load_manifest(tmp_path / "manifest.json")


@pytest.mark.parametrize(("damaged", "generation"), [(b'{"schema": 1, "generation": 41, "mo', 42), (b"\0\0", 1)])
def test_a_damaged_manifest_is_replaced_and_the_generation_goes_on(
    tmp_path: Path, damaged: bytes, generation: int
) -> None:
    path = tmp_path / PATH
    path.parent.mkdir(parents=True)
    path.write_bytes(damaged)
    assert publish(tmp_path, entry()).generation == generation
    assert load_manifest(path).vectors == (entry(),)
