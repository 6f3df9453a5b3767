"""Bad input gets one clear error line that says what, where and what to do, and nothing is lost."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from tests.pipeline.conftest import Place, environment

pytestmark = pytest.mark.slow

MIB = 2**20


def one_line(done, code):
    """The error line of a command that must fail with `code`."""
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    lines = [line for line in done.stderr.splitlines() if line.startswith("reflexd: ")]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    return lines[0]


def pairs_file(path, n=20, name="g"):
    rows = [
        {
            "behaviour": "b",
            "prompt": f"{name}{i}",
            "positive": f"yes yes {i}",
            "negative": f"no no {i}",
            "group": f"{name}{i // 2}",
        }
        for i in range(n)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def spoilt(tiny_folder, folder, spoil):
    """A copy of the tiny model with one tensor changed by `spoil`."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(tiny_folder, folder)
    weights = load_file(folder / "model.safetensors")
    spoil(weights["model.layers.1.mlp.down_proj.weight"])
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_a_line_of_200_megabytes_is_refused_with_the_setting_that_allows_it(place):
    before = place.json("once", "--until", "mine")
    good = (place.folder / "memory.json").read_bytes()
    with (place.folder / "memory.json").open("wb") as file:
        file.write(b'{"directed": true, "text": "')
        for _ in range(200):
            file.write(b"x" * MIB)
        file.write(b'"}')
    said = one_line(place.reflexd("once", "--until", "mine", check=False), 1)
    assert "max_bytes" in said
    assert "memory.json" in said
    (place.folder / "memory.json").write_bytes(good)
    assert place.json("once", "--until", "mine") == before


def test_a_graph_with_dangling_edges_and_duplicate_ids_is_read_without_them(place):
    path = place.folder / "memory.json"
    memory = json.loads(path.read_text())
    memory["edges"] += [{"source": "nobody", "target": "r0-0a", "key": 0, "kind": "responds_to"}]
    memory["nodes"] += [dict(memory["nodes"][0])]
    path.write_text(json.dumps(memory))
    done = place.reflexd("once", "--until", "mine")
    assert "problems skipped" in done.stdout
    assert len(place.json("pairs", "listening")) == 32


def test_weights_with_nan_are_refused_by_name(place, tiny_folder, tmp_path):
    sick = spoilt(tiny_folder, tmp_path / "sick", lambda weight: weight[0].fill_(float("nan")))
    place.reflexd("model", "add", str(sick))
    said = one_line(place.reflexd("once", check=False), 65)
    assert "NaN" in said
    assert "down_proj" in said
    place.reflexd("model", "add", str(tiny_folder))
    assert place.json("once")[0]["state"] == "retired"


def test_a_vector_of_another_model_is_refused(tiny_folder, tmp_path, place):
    pairs = pairs_file(tmp_path / "pairs.jsonl")
    vector = tmp_path / "v.safetensors"
    place.reflexd("extract", "--pairs", str(pairs), "--model", str(tiny_folder), "--out", str(vector))
    other = spoilt(tiny_folder, tmp_path / "other", lambda weight: weight.mul_(1.5))
    held_out = pairs_file(tmp_path / "held-out.jsonl", name="h")
    arguments = ("evaluate", "--vector", str(vector), "--pairs", str(held_out))
    assert "digest" in one_line(place.reflexd(*arguments, "--model", str(other), check=False), 65)
    verdict = json.loads(place.reflexd(*arguments, "--model", str(tiny_folder), "--json", check=False).stdout)
    assert verdict["verdict"] in {"verified", "refused"}


def test_pairs_that_the_vector_has_seen_prove_nothing(tiny_folder, tmp_path, place):
    pairs, vector = pairs_file(tmp_path / "pairs.jsonl"), tmp_path / "v.safetensors"
    place.reflexd("extract", "--pairs", str(pairs), "--model", str(tiny_folder), "--out", str(vector))
    arguments = ("evaluate", "--vector", str(vector), "--pairs", str(pairs), "--model", str(tiny_folder))
    assert "groups" in one_line(place.reflexd(*arguments, check=False), 65)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda text: text[: len(text) // 2], ":11:"),
        (lambda text: text.replace('"positive"', '"positiv"', 1), "positiv"),
        (lambda text: "", "no pairs"),
        (lambda text: text.replace('"behaviour": "b"', '"behaviour": "c"', 1), "2 behaviours"),
    ],
)
def test_a_bad_pairs_file_is_refused_with_its_line(tiny_folder, tmp_path, place, spoil, words):
    pairs = pairs_file(tmp_path / "pairs.jsonl")
    pairs.write_text(spoil(pairs.read_text()))
    arguments = ("extract", "--pairs", str(pairs), "--model", str(tiny_folder), "--out", str(tmp_path / "v"))
    said = one_line(place.reflexd(*arguments, check=False), 65)
    assert words in said
    assert not (tmp_path / "v").exists()


@pytest.mark.parametrize("content", [b"", b"torn", b"\x10" + b"\x00" * 7 + b'{"layer.0":'])
def test_a_torn_vector_file_is_refused(tiny_folder, tmp_path, place, content):
    (tmp_path / "v").write_bytes(content)
    pairs = pairs_file(tmp_path / "pairs.jsonl")
    arguments = ("evaluate", "--vector", str(tmp_path / "v"), "--pairs", str(pairs), "--model", str(tiny_folder))
    assert str(tmp_path / "v") in one_line(place.reflexd(*arguments, check=False), 65)


def test_what_is_not_there_is_said_with_what_to_do(tmp_path, place):
    nowhere = str(tmp_path / "nowhere")
    assert "nowhere" in one_line(place.reflexd("source", "add", "node-link", nowhere, check=False), 66)
    assert "node-link" in one_line(place.reflexd("source", "add", "telepathy", nowhere, check=False), 65)
    pairs = pairs_file(tmp_path / "pairs.jsonl")
    arguments = ("extract", "--pairs", str(pairs), "--model", "smollm2", "--out", str(tmp_path / "v"))
    assert "reflexd model add smollm2" in one_line(place.reflexd(*arguments, check=False), 69)


# ---------------------------------------------------------------- disks, as the superuser in a mount namespace


def in_namespace(script):
    return subprocess.run(
        ["unshare", "-m", "sh", "-ec", script], capture_output=True, text=True, env=environment(), timeout=120
    )


needs_mounts = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None or in_namespace("mount -t tmpfs x /mnt").returncode != 0,
    reason="mounting in a namespace of one's own is not allowed here",
)
REFLEXD = f"{sys.executable} -m daemon"


@needs_mounts
def test_a_full_disk_is_said_and_what_was_committed_stays(tmp_path):
    place = Place(tmp_path / "disk" / "home")
    (tmp_path / "disk").mkdir()
    done = in_namespace(f"""
        mount -t tmpfs -o size=6m x {tmp_path}/disk
        {REFLEXD} init --dir {place.folder} > /dev/null
        {REFLEXD} --config {place.config} source add node-link {tmp_path} > /dev/null
        dd if=/dev/zero of={tmp_path}/disk/fill bs=1k 2> /dev/null || true
        {REFLEXD} --config {place.config} source add graphml {tmp_path} || echo "status $?"
        rm {tmp_path}/disk/fill
        {REFLEXD} --config {place.config} source list --json
    """)
    assert done.stderr.count("reflexd: ") == 1, done.stderr
    assert "full" in done.stderr
    assert "make room" in done.stderr
    status, _, listed = done.stdout.partition("\n")
    assert status == "status 74"
    assert [source["kind"] for source in json.loads(listed)] == ["node-link"]


@needs_mounts
def test_a_read_only_folder_is_said_and_can_still_be_looked_at(tmp_path):
    place = Place(tmp_path / "disk" / "home")
    (tmp_path / "disk").mkdir()
    done = in_namespace(f"""
        mount -t tmpfs -o size=6m x {tmp_path}/disk
        {REFLEXD} init --dir {place.folder} > /dev/null
        mount -o remount,ro {tmp_path}/disk
        {REFLEXD} --config {place.config} source add node-link {tmp_path} || echo "status $?"
        {REFLEXD} --config {place.config} once || echo "status $?"
        {REFLEXD} --config {place.config} queue --json
    """)
    assert done.stdout.split() == ["status", "74", "status", "74", "[]"]
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    assert all(str(place.folder) in line for line in lines)
