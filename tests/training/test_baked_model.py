"""A bake of the example memory into the embedded model: the numbers that the project promises."""

import os
from collections import Counter
from pathlib import Path

import pytest

from daemon.protocol import ExtractRequest, Placement, TrainRequest, TrainSettings
from daemon.steering.extract import run_extract
from daemon.steering.loading import load_model
from daemon.steering.neutral import load_neutral
from daemon.steering.vector_file import load
from daemon.training.run import run_train
from graph.behaviours.builtin import LISTENING
from graph.mining.pairs import assign_splits, mine
from graph.outcomes import read_memory
from graph.schema import Pair, Split
from graph.sources import get_source

EXAMPLE = Path(__file__).parents[2] / "examples" / "listening" / "memory.json"


def evidence() -> dict[Split, tuple[Pair, ...]]:
    """The example's pairs by side of the split."""
    pairs, _ = mine(read_memory(get_source("node-link"), EXAMPLE).episodes("example"), LISTENING)
    sides = assign_splits(list(Counter(pair.group for pair in pairs).items()), {})
    return {
        side: tuple(pair for pair in pairs if sides[pair.group] == side) for side in ("train", "validation", "test")
    }


@pytest.mark.model
@pytest.mark.slow
@pytest.mark.parametrize(("layers", "dose"), [((14,), 0.25), ((9, 12, 15), 0.13)], ids=["one layer", "three layers"])
def test_listening_goes_into_the_weights_and_a_random_vector_does_not(
    tmp_path: Path, layers: tuple[int, ...], dose: float
) -> None:
    model = Path(os.environ["REFLEXD_TEST_MODEL"])
    sides = evidence()
    vector = tmp_path / "listening.safetensors"
    loaded = load_model(model)
    request = ExtractRequest(model=model, pairs=sides["train"], out=vector, behaviour="listening")
    run_extract(loaded, request, lambda _: None)
    file = load(vector)
    report = run_train(
        TrainRequest(
            job=1,
            token=1,
            model=model,
            base_digest=loaded.digest,
            vector=vector,
            placements=tuple(Placement(layer=at, dose=dose, coefficient=file.coefficient(at, dose)) for at in layers),
            behaviour="listening",
            train=sides["train"],
            validation=sides["validation"],
            test=sides["test"],
            neutral_train=load_neutral("train"),
            neutral_validation=load_neutral("validation"),
            neutral_test=load_neutral("test"),
            settings=TrainSettings(),
            folder=tmp_path / "1" / "1",
        ),
        lambda _: None,
        lambda _: None,
    )
    rows = {row.variant: row for row in report.rows}
    assert report.passed, report.reason
    assert rows["hook"].effect > 0.5
    assert rows[report.selected].effect_ratio >= 0.8
    assert rows[report.selected].neutral_kl_mean <= 0.2 * rows["hook"].neutral_kl_mean
    assert rows["trained"].kl_to_teacher_left < rows["rank1"].kl_to_teacher_left
    assert rows["control"].effect_ratio < 0.2
    assert load_model(report.weights).digest == report.weights_digest
