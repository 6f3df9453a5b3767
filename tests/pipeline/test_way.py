"""The way of the data, stage by stage and whole, on a tiny model: what a person sees, and what the store then holds."""

import json

import pytest

pytestmark = pytest.mark.slow


def test_one_run_takes_a_memory_to_trained_weights_and_a_second_changes_nothing(place):
    summary = place.json("once")
    (row,) = [row for row in summary if row["behaviour"] == "listening"]
    assert (row["state"], row["vector"], row["job"]) == ("retired", "listening@1", "trained")
    story = place.sql("SELECT subject, what, was, now FROM history")
    assert [(e["was"], e["now"]) for e in story if e["what"] == "vector"] == [
        (None, "candidate"),
        ("candidate", "extracted"),
        ("extracted", "verified"),
        ("verified", "promoted"),
        ("promoted", "retired"),
    ]
    training = place.folder / "state" / "training"
    assert list(training.rglob("checkpoint")) == []
    assert list(training.rglob("run.json"))
    again = place.json("once")
    assert again == summary
    assert place.sql("SELECT subject, what, was, now FROM history") == story


def test_the_retired_vector_leaves_the_new_manifest_and_stays_in_the_old_one(place):
    place.reflexd("once")
    models = place.sql("SELECT name, digest, parent_digest, current FROM model ORDER BY added_at")
    base, trained = models
    assert (base["current"], trained["current"], trained["parent_digest"]) == (0, 1, base["digest"])
    registry = place.folder / "state" / "registry"
    old, new = (json.loads((registry / m["digest"] / "manifest.json").read_text()) for m in models)
    assert [entry["id"] for entry in old["vectors"]] == ["listening@1"]
    assert new["vectors"] == []
    assert place.json("active") == []
    assert (
        place.reflexd("model", "current").stdout.strip() == place.sql("SELECT path FROM model WHERE current")[0]["path"]
    )


def test_the_trained_weights_load_and_differ_from_the_base_only_where_they_were_trained(place, tiny_folder):
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    place.reflexd("once")
    folder = place.reflexd("model", "current").stdout.strip()
    AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
    before, after = load_file(tiny_folder / "model.safetensors"), load_file(f"{folder}/model.safetensors")
    changed = {name for name in before if not before[name].equal(after[name])}
    assert changed
    assert all("o_proj" in name or "down_proj" in name for name in changed)


def test_a_person_approves_and_only_then_something_is_trained(place):
    place.config.write_text(place.config.read_text().replace('approval = "auto"', 'approval = "ask"'))
    place.reflexd("once")
    (job,) = place.json("queue")
    assert job["state"] == "awaiting_approval"
    assert place.reflexd("approve", str(job["job"]), check=False).returncode == 0
    assert place.reflexd("approve", str(job["job"]), check=False).returncode == 1  # it no longer waits
    place.reflexd("once")
    assert [j["state"] for j in place.json("queue")] == ["trained"]


def test_a_cancelled_job_leaves_its_vector_verified_and_served_and_may_be_retried(place):
    place.config.write_text(place.config.read_text().replace('approval = "auto"', 'approval = "ask"'))
    place.reflexd("once")
    place.reflexd("cancel", "1")
    place.reflexd("once")
    assert [v["state"] for v in place.json("vectors")] == ["verified"]
    assert [j["state"] for j in place.json("queue")] == ["cancelled"]
    assert [a["vector"] for a in place.json("active")] == ["listening@1"]
    place.reflexd("retry", "1")
    place.reflexd("once")
    assert [v["state"] for v in place.json("vectors")] == ["retired"]


def test_toggles_and_doses_reach_the_manifest_and_the_history(place):
    place.reflexd("once", "--until", "verify")
    digest = place.sql("SELECT digest FROM model WHERE current")[0]["digest"]
    manifest = place.folder / "state" / "registry" / digest / "manifest.json"

    def entry():
        return json.loads(manifest.read_text())["vectors"][0]

    before = entry()
    place.reflexd("off", "listening")
    assert not entry()["enabled"]
    place.reflexd("on", "listening")
    place.reflexd("dose", "listening", "0.05")
    after = entry()
    assert after["enabled"]
    assert after["dose"] == 0.05
    assert after["coefficient"] / before["coefficient"] == pytest.approx(0.05 / before["dose"])
    refused = place.reflexd("dose", "listening", "7", check=False)
    assert refused.returncode == 2
    assert "max_relative_dose" in refused.stderr
    told = [e["now"] for e in place.sql("SELECT what, now FROM history") if e["what"] == "served"]
    assert told == ["on", "off", "on", "on"]


def test_new_evidence_makes_a_new_version_and_the_old_one_is_superseded(place):
    place.reflexd("once", "--until", "verify")
    memory = json.loads((place.folder / "memory.json").read_text())
    text = json.dumps(memory).replace(
        "not not the Makefile not not", "not not not the Makefile not"
    )  # a training session
    (place.folder / "memory.json").write_text(text)
    place.reflexd("once", "--until", "verify")
    states = {v["vector"]: v["state"] for v in place.json("vectors")}
    assert states == {"listening@1": "superseded", "listening@2": "verified"}
    assert [a["vector"] for a in place.json("active")] == ["listening@2"]


def test_a_memory_that_is_torn_for_a_while_loses_nothing(place):
    place.reflexd("once", "--until", "mine")
    pairs = place.json("pairs", "listening")
    whole = (place.folder / "memory.json").read_text()
    (place.folder / "memory.json").write_text(whole[: len(whole) // 2])
    torn = place.reflexd("once", "--until", "mine", check=False)
    assert torn.returncode == 1
    assert "memory.json" in torn.stderr
    assert place.json("pairs", "listening") == pairs
    assert place.reflexd("status", check=False).returncode == 1
    (place.folder / "memory.json").write_text(whole)
    place.reflexd("once", "--until", "mine")
    assert place.reflexd("status").returncode == 0


def test_exports_are_files_that_others_read(place, tmp_path):
    import gguf
    from safetensors import safe_open

    place.reflexd("once", "--until", "verify")
    place.reflexd("export", "listening@1", "--format", "gguf", "--out", str(tmp_path / "v.gguf"))
    place.reflexd("export", "listening@1", "--out", str(tmp_path / "v.safetensors"))
    (direction,) = gguf.GGUFReader(tmp_path / "v.gguf").tensors
    with safe_open(tmp_path / "v.safetensors", framework="numpy") as file:
        matrix = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    (row,) = place.sql("SELECT layer, coefficient FROM vector_version")
    assert direction.name == f"direction.{row['layer']}"
    assert direction.data == pytest.approx(matrix[f"layer.{row['layer']}"] * row["coefficient"], rel=1e-5)


def test_weights_that_changed_under_us_are_refused_and_the_way_goes_on_after(place, tiny_folder, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(tiny_folder, copy)
    place.reflexd("model", "add", str(copy))
    weights = copy / "model.safetensors"
    good = weights.read_bytes()
    weights.write_bytes(good[:-4] + b"\x00\x00\x00\x40")
    refused = place.reflexd("once", check=False)
    assert refused.returncode == 65
    assert "model add" in refused.stderr
    weights.write_bytes(good)
    assert place.json("once")


def test_what_and_why_can_be_asked_of_every_version(place):
    place.reflexd("once")
    assert "retired" in place.reflexd("why", "listening@1").stdout
    shown = place.json("show", "listening@1")
    assert shown["verification"]["verdict"] == "verified"
    assert len(shown["lineage"]["layers"]) == 3
    missing = place.reflexd("show", "listening@9", check=False)
    assert missing.returncode == 2
    assert "listening@1" in missing.stderr
    assert place.reflexd("behaviours").stdout
    assert place.reflexd("doctor", check=False).returncode == 0
