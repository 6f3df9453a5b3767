"""A whole job on a tiny model: what it leaves, what a crash costs, what is refused."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from tiny import HIDDEN, LAYER, QUICK, QUICK_NO_CONTROL, pairs, placed, request, write_model, write_vector

from daemon.errors import DataError, MismatchError, ModelTaskError
from daemon.protocol import EarlierBehaviour, Placement, Progress, TrainReport, TrainRequest
from daemon.steering.loading import load_model
from daemon.steering.score import gaps
from daemon.training import artefacts, loop, run, verdict
from daemon.training.run import run_train


class Killed(Exception):
    """The process died here."""


def train(job: TrainRequest, milestones: list[int] | None = None) -> TrainReport:
    return run_train(job, lambda _: None, (milestones if milestones is not None else []).append)


def die_at_milestone(job: TrainRequest, number: int) -> None:
    def milestone(reached: int) -> None:
        if reached == number:
            raise Killed

    with pytest.raises(Killed):
        run_train(job, lambda _: None, milestone)


def contents(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainReport, list[int]]:
    """A job with control that nothing disturbed: its root folder, report and milestones."""
    root = tmp_path_factory.mktemp("undisturbed")
    told: list[int] = []
    return root, train(request(root), told), told


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainReport]:
    """The same without control."""
    root = tmp_path_factory.mktemp("plain")
    return root, train(request(root, QUICK_NO_CONTROL))


def test_the_report_has_every_variant_and_the_files_are_what_it_says(
    undisturbed: tuple[Path, TrainReport, list[int]],
) -> None:
    _, report, told = undisturbed
    assert [row.variant for row in report.rows] == ["base", "hook", "rank1", "trained", "control_hook", "control"]
    rows = {row.variant: row for row in report.rows}
    assert (rows["base"].effect_ratio, rows["hook"].effect_ratio) == (0.0, 1.0)
    assert (rows["base"].kl_to_teacher_left, rows["hook"].kl_to_teacher_left) == (1.0, 0.0)
    assert rows["base"].neutral_kl_mean == 0.0
    assert 0 < rows["trained"].kl_to_teacher_left < rows["rank1"].kl_to_teacher_left < 1
    assert report.passed
    assert report.steps == QUICK.steps
    assert report.optimizer_state_bytes > 0
    assert hashlib.sha256(report.delta.read_bytes()).hexdigest() == report.delta_sha256
    assert told == list(range(1, len(told) + 1))


def test_the_written_weights_show_the_behaviour_without_the_vector(plain: tuple[Path, TrainReport]) -> None:
    root, report = plain
    job = request(root)
    base, trained = load_model(job.model), load_model(report.weights)
    assert trained.digest == report.weights_digest != base.digest
    assert trained.template_digest == base.template_digest
    row = {row.variant: row for row in report.rows}[report.selected]
    assert float(gaps(trained, job.test).mean()) == pytest.approx(row.gap, abs=1e-4)
    assert float(gaps(base, job.test).mean()) == pytest.approx(row.gap - row.effect, abs=1e-4)
    assert row.effect > 0


def test_the_delta_holds_the_touched_matrices_alone_and_says_what_they_replace(plain: tuple[Path, TrainReport]) -> None:
    root, report = plain
    base, trained = load_model(root / "base").model.state_dict(), load_model(report.weights).model.state_dict()
    with safe_open(report.delta, "pt") as file:
        about = json.loads(file.metadata()["reflexd"])
        values = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    changed = {name for name in base if not torch.equal(base[name], trained[name])}
    writers = {
        f"model.layers.{layer}.{role}.weight"
        for layer in range(LAYER + 1)
        for role in ("self_attn.o_proj", "mlp.down_proj")
    }
    assert set(values) == changed == set(about["original_sha256"]) == writers
    assert all(torch.equal(values[name], trained[name]) for name in values)
    assert about["content"] == "values"
    assert about["base_digest"] == request(root).base_digest


def test_the_base_is_only_read(tmp_path: Path) -> None:
    job = request(tmp_path, QUICK_NO_CONTROL)
    before = contents(job.model)
    train(job)
    assert contents(job.model) == before


def test_the_run_record_names_every_input(plain: tuple[Path, TrainReport]) -> None:
    root, report = plain
    record = json.loads(report.run_record.read_text())
    inputs = record["inputs"]
    assert inputs["base_digest"] == request(root).base_digest
    assert inputs["vector_sha256"] == hashlib.sha256((root / "vector.safetensors").read_bytes()).hexdigest()
    assert set(inputs["pairs"]) == set(inputs["neutral"]) == {"train", "validation", "test"}
    assert inputs["libraries"]["torch"] == torch.__version__
    assert inputs["settings"]["steps"] == QUICK.steps
    assert record["result"]["delta_sha256"] == report.delta_sha256
    assert len(record["result"]["losses"]) == QUICK.steps


def test_a_kill_at_any_checkpoint_costs_nothing_but_the_time_since(
    undisturbed: tuple[Path, TrainReport, list[int]], tmp_path: Path
) -> None:
    _, whole, told = undisturbed
    for number in told:
        root = tmp_path / str(number)
        job = request(root)
        die_at_milestone(job, number)
        later: list[int] = []
        again = train(request(root, token=2, folder=root / "1" / "2", resume=job.folder), later)
        assert again.delta_sha256 == whole.delta_sha256, f"killed after milestone {number}"
        assert again.run_record.read_bytes() == whole.run_record.read_bytes()
        assert later == list(range(number, told[-1] + 1))


def test_a_kill_between_checkpoints_gives_the_same_bytes_too(
    undisturbed: tuple[Path, TrainReport, list[int]], tmp_path: Path
) -> None:
    _, whole, _ = undisturbed
    job = request(tmp_path)

    def progress(told: Progress) -> None:
        if told.stage == "trained" and told.done == 3:
            raise Killed

    with pytest.raises(Killed):
        run_train(job, progress, lambda _: None)
    again = train(request(tmp_path, token=2, folder=tmp_path / "1" / "2", resume=job.folder))
    assert again.delta_sha256 == whole.delta_sha256


def test_a_resumed_job_does_not_walk_its_first_steps_again(
    undisturbed: tuple[Path, TrainReport, list[int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, whole, _ = undisturbed
    walked: list[int] = []
    real = loop._step
    monkeypatch.setattr(loop, "_step", lambda *a: (walked.append(a[-1]), real(*a))[1])
    again = train(request(root, folder=tmp_path / "2", token=2, resume=root / "1" / "1"))
    assert walked == []
    assert again.delta_sha256 == whole.delta_sha256


def test_a_checkpoint_made_for_other_inputs_is_ignored_with_a_note(
    plain: tuple[Path, TrainReport], tmp_path: Path
) -> None:
    root, report = plain
    other = QUICK_NO_CONTROL.model_copy(update={"learning_rate": 1e-3})
    notes: list[str] = []
    job = request(root, other, token=3, folder=tmp_path / "3", resume=root / "1" / "1")
    different = run_train(job, lambda told: notes.append(told.note), lambda _: None)
    assert any("no checkpoint for these inputs" in note for note in notes)
    assert different.delta_sha256 != report.delta_sha256


def test_the_same_job_gives_the_same_bytes(plain: tuple[Path, TrainReport], tmp_path: Path) -> None:
    root, report = plain
    again = train(request(root, QUICK_NO_CONTROL, token=4, folder=tmp_path / "4"))
    assert again.delta_sha256 == report.delta_sha256
    assert again.weights_digest == report.weights_digest


def test_weights_that_are_not_the_jobs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MismatchError, match="the job was made for 000000000000"):
        train(request(tmp_path, base_digest="0" * 64))


def test_a_vector_of_another_shape_is_refused(tmp_path: Path) -> None:
    job = request(tmp_path)
    other = write_model(tmp_path / "other")
    path = write_vector(tmp_path / "wide.safetensors", other, hidden=HIDDEN * 2)
    with pytest.raises(MismatchError, match="6 layers of 32, the model has 6 of 16"):
        train(job.model_copy(update={"vector": path}))


def test_a_vector_for_another_chat_template_is_refused(tmp_path: Path) -> None:
    job = request(tmp_path)
    template = job.model / "chat_template.jinja"
    template.write_text(template.read_text() + "!")
    with pytest.raises(MismatchError, match="made for another tokenizer or chat template"):
        train(job)


def test_a_vector_that_points_the_other_way_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the vector moves the validation pairs by -"):
        train(request(tmp_path, placements=at(-0.5)))


@pytest.mark.parametrize("side", ["train", "validation", "test", "neutral_train", "neutral_test"])
def test_every_side_needs_evidence(tmp_path: Path, side: str) -> None:
    with pytest.raises(DataError, match="training needs"):
        train(request(tmp_path, **{side: ()}))


def test_a_candidate_that_fails_a_gate_is_not_kept_and_the_gate_is_named(tmp_path: Path) -> None:
    gates = QUICK.gates.model_copy(update={"min_effect_ratio": 5.0})
    report = train(request(tmp_path, QUICK_NO_CONTROL.model_copy(update={"gates": gates})))
    assert not report.passed
    assert "effect_ratio" in report.reason
    assert "(bar 5)" in report.reason
    assert not report.weights.exists()
    assert report.weights_digest == ""
    assert report.delta.exists()


def test_a_control_that_shows_the_behaviour_stops_the_job(tmp_path: Path) -> None:
    gates = QUICK.gates.model_copy(update={"max_control_ratio": -50.0})
    report = train(request(tmp_path, QUICK.model_copy(update={"gates": gates})))
    assert not report.passed
    assert report.reason.count("control_ratio") == 2


def test_rank1_stands_where_the_walk_spoils_neutral_text(tmp_path: Path) -> None:
    measured = {row.variant: row for row in train(request(tmp_path, QUICK_NO_CONTROL)).rows}
    bar = (measured["rank1"].neutral_kl_mean + measured["trained"].neutral_kl_mean) / 2
    assert measured["rank1"].neutral_kl_mean < bar
    gates = QUICK.gates.model_copy(update={"max_neutral_kl_ratio": bar / measured["hook"].neutral_kl_mean})
    settings = QUICK_NO_CONTROL.model_copy(update={"gates": gates, "gate_scales": (1.0,), "delta_scales": (1.0,)})
    report = train(request(tmp_path, settings, token=2, folder=tmp_path / "2"))
    assert report.passed
    assert report.selected == "rank1"
    assert report.reason.startswith("rank1: ")
    assert "trained: neutral_kl_ratio" in report.reason


def test_an_earlier_behaviour_is_replayed_and_its_retention_is_a_gate(
    plain: tuple[Path, TrainReport], tmp_path: Path
) -> None:
    root, without = plain
    earlier = EarlierBehaviour(name="calm", train=pairs("calm", 4), test=pairs("calmtest", 4))
    report = train(request(root, QUICK_NO_CONTROL, token=5, folder=tmp_path / "5", earlier=(earlier,)))
    gates = {gate.name: gate for gate in report.gates}
    assert gates["retention:calm"].passed is True
    assert gates["retention_kl:calm"].value > 0
    assert report.delta_sha256 != without.delta_sha256
    strict = QUICK.gates.model_copy(update={"min_retention": 50.0})
    settings = QUICK_NO_CONTROL.model_copy(update={"gates": strict})
    failed = train(request(root, settings, token=6, folder=tmp_path / "6", earlier=(earlier,)))
    assert not failed.passed
    assert "retention:calm" in failed.reason


def test_the_query_alone_can_be_trained(plain: tuple[Path, TrainReport], tmp_path: Path) -> None:
    root, _ = plain
    settings = QUICK_NO_CONTROL.model_copy(update={"targets": "query"})
    report = train(request(root, settings, token=7, folder=tmp_path / "7"))
    with safe_open(report.delta, "pt") as file:
        names = set(file.keys())
    expected = {"rank1": {"mlp.down_proj"}, "trained": {"self_attn.q_proj"}}[report.selected]
    assert {name.split(".", 3)[3].removesuffix(".weight") for name in names} == expected
    rows = {row.variant: row for row in report.rows}
    assert rows["trained"].kl_to_teacher_left < 1


@pytest.mark.parametrize("optimizer", ["apollo-mini", "adamw"])
def test_the_other_optimizers_walk_and_resume_alike(tmp_path: Path, optimizer: str) -> None:
    settings = QUICK_NO_CONTROL.model_copy(update={"optimizer": optimizer})
    whole = train(request(tmp_path, settings))
    job = request(tmp_path, settings, token=2, folder=tmp_path / "2")

    def progress(told: Progress) -> None:
        if told.stage == "trained" and told.done == 5:
            raise Killed

    with pytest.raises(Killed):
        run_train(job, progress, lambda _: None)
    again = train(request(tmp_path, settings, token=3, folder=tmp_path / "3", resume=job.folder))
    assert again.delta_sha256 == whole.delta_sha256


def test_a_model_that_stores_its_matrices_the_other_way_round_is_trained_too(tmp_path: Path) -> None:
    write_model(tmp_path / "base", family="gpt2")
    report = train(request(tmp_path, QUICK_NO_CONTROL, placements=at(signed(tmp_path))))
    rows = {row.variant: row for row in report.rows}
    assert rows["rank1"].kl_to_teacher_left < 1
    assert rows["trained"].kl_to_teacher_left < rows["rank1"].kl_to_teacher_left


def signed(root: Path) -> float:
    """A coefficient with which the random vector helps on this model."""
    job = request(root)
    for coefficient in (0.5, -0.5):
        try:
            train(job.model_copy(update={"placements": at(coefficient), "folder": root / f"try{coefficient}"}))
        except DataError:
            continue
        return coefficient
    raise AssertionError("neither sign helps on both sides")


def at(coefficient: float) -> tuple[Placement, ...]:
    return (Placement(layer=LAYER, dose=2.0, coefficient=coefficient),)


def test_a_vector_of_several_layers_is_trained_into_all_of_them(tmp_path: Path) -> None:
    job = request(tmp_path, QUICK_NO_CONTROL)
    both = placed(job.vector, LAYER, LAYER + 2, dose=1.0)
    report = train(job.model_copy(update={"placements": both}))
    rows = {row.variant: row for row in report.rows}
    assert rows["hook"].effect > 0
    assert 0 < rows["trained"].kl_to_teacher_left < rows["rank1"].kl_to_teacher_left < 1
    base, trained = load_model(job.model).model.state_dict(), load_model(report.weights).model.state_dict()
    moved = {name for name in base if not torch.equal(base[name], trained[name])}
    assert {f"model.layers.{layer}.mlp.down_proj.weight" for layer in (LAYER, LAYER + 2)} <= moved
    assert not any(f".{layer}." in name for name in moved for layer in range(LAYER + 3, 6))
    order = train(job.model_copy(update={"placements": both[::-1], "folder": tmp_path / "turned"}))
    assert [gate.value for gate in order.gates] == [gate.value for gate in report.gates]


def test_weights_that_were_not_written_as_measured_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = artefacts.write_weights

    def halved(path: Path, base: Path, subject: object, candidate: object) -> None:
        real(path, base, subject, verdict.Candidate(candidate.change, candidate.scale / 2))  # type: ignore[attr-defined,arg-type]

    monkeypatch.setattr(run, "write_weights", halved)
    with pytest.raises(ModelTaskError, match="was measured; try again"):
        train(request(tmp_path, QUICK_NO_CONTROL))


def test_training_that_diverges_says_so(tmp_path: Path) -> None:
    wild = QUICK_NO_CONTROL.model_copy(update={"learning_rate": 1e30, "warmup": 0})
    with pytest.raises(DataError, match=r"lower training\.learning_rate"):
        train(request(tmp_path, wild))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
