"""Screening says which number type it read in and why, agrees with extraction, and leaves nothing behind."""

import json

import pytest
import torch

from daemon.cli import run_command
from daemon.errors import DataError
from daemon.protocol import ExtractRequest, ScreenRequest
from daemon.steering import screen
from daemon.steering.extract import run_extract
from daemon.steering.loading import load_model
from daemon.steering.screen import MIN_SPEEDUP, choose_numbers, mlp_shape, run_screen, speedup
from tests.steering.planted import make_pairs, planted_model
from tests.tiny import HIDDEN, save_tiny

PAIRS = make_pairs(16)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("model"), model=planted_model())


def request(folder, **changes):
    return ScreenRequest.model_validate({"model": folder, "pairs": PAIRS, "behaviour": "planted"} | changes)


def quiet(_):
    pass


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path, monkeypatch):
    """Where rows lie for the time being."""
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "tmp").mkdir()
    yield tmp_path
    assert list((tmp_path / "tmp").iterdir()) == []


def test_in_float32_it_shows_what_extraction_shows(folder, tmp_path):
    wanted = run_extract(
        load_model(folder),
        ExtractRequest(model=folder, pairs=PAIRS, out=tmp_path / "v", behaviour="planted"),
        quiet,
    )
    found = run_screen(request(folder, numbers="float32"), quiet)
    assert found.layers == wanted.layers
    assert (found.numbers, found.because, found.speedup) == ("float32", "it was asked for", None)
    assert (found.model_digest, found.device, found.n_pairs) == (wanted.model_digest, "cpu", 16)


def test_in_bfloat16_coherence_is_close_to_that_in_float32(folder, monkeypatch):
    read_in = []
    real = screen.contrast
    monkeypatch.setattr(
        screen, "contrast", lambda loaded, *more: read_in.append(loaded.layout.dtype) or real(loaded, *more)
    )
    exact, coarse = (run_screen(request(folder, numbers=numbers), quiet) for numbers in ("float32", "bfloat16"))
    assert read_in == [torch.float32, torch.bfloat16]
    assert coarse.numbers == "bfloat16"
    for one, two in zip(exact.layers, coarse.layers, strict=True):
        assert two.coherence == pytest.approx(one.coherence, abs=0.02)
        assert two.split_half_cosine == pytest.approx(one.split_half_cosine, abs=0.05)
        assert two.median_residual_norm == pytest.approx(one.median_residual_norm, rel=0.02)
    assert coarse.layers != exact.layers  # else nothing was read in bfloat16


@pytest.mark.parametrize(
    ("ratio", "numbers"),
    [(0.125, "float32"), (1.0, "float32"), (1.19, "float32"), (1.2, "bfloat16"), (2.5, "bfloat16")],
)
def test_bfloat16_is_taken_where_it_is_measured_to_be_faster_and_the_ratio_is_told(folder, ratio, numbers):
    asked = []

    def probe(*shape_and_device):
        asked.append(shape_and_device)
        return ratio

    found, because, told = choose_numbers(request(folder), CPU, probe)
    assert (found, told) == (numbers, ratio)
    assert f"{ratio:.2f} times as fast as float32 on cpu" in because
    assert ("1.2 times is asked" in because) == (numbers == "float32")
    assert asked == [(HIDDEN, 64, CPU)]


def test_what_is_measured_is_seconds_of_both_types_on_the_same_shape(monkeypatch):
    seconds = {torch.float32: iter([9.0, 3.0, 2.0, 4.0]), torch.bfloat16: iter([1.0, 1.0, 0.5, 1.0])}
    shapes = []

    def timed(entered, up, down):
        shapes.append((entered.shape, up.shape, down.shape))
        return next(seconds[entered.dtype])

    monkeypatch.setattr(screen, "_timed", timed)
    assert speedup(8, 24, CPU) == pytest.approx(2.0 / 0.5)
    assert set(shapes) == {((screen.TOKENS, 8), (8, 24), (24, 8))}
    monkeypatch.undo()
    assert speedup(8, 24, CPU) > 0


def test_the_shape_is_that_of_the_models_own_mlp(folder, tmp_path):
    assert mlp_shape(folder) == (HIDDEN, 64)
    assert mlp_shape(save_tiny(tmp_path / "gpt2", "gpt2", n_layers=2)) == (HIDDEN, 4 * HIDDEN)


def test_too_few_pairs_are_refused(folder):
    with pytest.raises(DataError, match="at least two"):
        run_screen(request(folder, pairs=PAIRS[:1]), quiet)


def test_the_model_is_given_back(folder):
    import gc
    import weakref

    kept = []
    real = screen.load_model

    def loading(*how):
        loaded = real(*how)
        kept.append(weakref.ref(loaded.model))
        return loaded

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(screen, "load_model", loading)
        run_screen(request(folder, numbers="bfloat16"), quiet)
    gc.collect()
    assert [each() for each in kept] == [None]


def write_pairs(path):
    path.write_text("".join(pair.model_dump_json() + "\n" for pair in PAIRS))
    return str(path)


def test_the_command_says_the_number_type_and_why_and_writes_nothing(folder, tmp_path, capfd):
    pairs = write_pairs(tmp_path / "pairs.jsonl")
    before = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert run_command(["extract", "--screen", "--pairs", pairs, "--model", str(folder), "--threads", "1"]) == 0
    told = capfd.readouterr().out
    numbers = next(name for name in ("float32", "bfloat16") if f"read in {name}" in told)
    assert f"{numbers} because bfloat16" in told
    assert "times as fast as float32 on cpu" in " ".join(told.split())
    assert "nothing was written" in told
    assert "split half cosine" in told
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == before
    assert run_command(["extract", "--screen", "--json", "--pairs", pairs, "--model", str(folder)]) == 0
    body = json.loads(capfd.readouterr().out)
    assert (body["speedup"] >= MIN_SPEEDUP) == (body["numbers"] == "bfloat16")
    assert len(body["layers"]) == 4


@pytest.mark.parametrize("how", [[], ["--screen", "--out", "v"]])
def test_the_command_wants_either_a_file_or_none(folder, tmp_path, capfd, how):
    pairs = write_pairs(tmp_path / "pairs.jsonl")
    assert run_command(["extract", "--pairs", pairs, "--model", str(folder), *how]) == 2
    assert "--screen" in capfd.readouterr().err
