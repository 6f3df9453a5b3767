"""`reflexd evaluate`: the verdict for people, each condition a line, and the exit code for scripts."""

import numpy as np
import pytest

from daemon.offline import held_out_request
from daemon.steering.vector_file import VectorFile, describe, load, save
from graph.schema import Pair
from tests.pipeline.test_bad_input import pairs_file


def test_a_proof_is_told_for_people_too(tiny_folder, tmp_path, place):
    pairs, vector = pairs_file(tmp_path / "pairs.jsonl"), tmp_path / "v.safetensors"
    place.reflexd("extract", "--pairs", str(pairs), "--model", str(tiny_folder), "--out", str(vector))
    held_out = pairs_file(tmp_path / "held-out.jsonl", name="h")
    done = place.reflexd(
        *("evaluate", "--vector", str(vector), "--pairs", str(held_out), "--model", str(tiny_folder)), check=False
    )
    assert done.returncode == 1
    assert "refused" in done.stdout
    assert "length alone tells the sides apart" in " ".join(done.stdout.split())
    assert "nothing was steered" in done.stdout
    assert "predictions" not in done.stdout


def test_a_quick_proof_leaves_out_what_takes_long_and_knows_the_built_in_cues(tmp_path, planted_vector):
    pairs, vector = planted_vector
    whole, quick = (held_out_request(tmp_path, vector, pairs, tmp_path / "p", 1, quick) for quick in (False, True))
    assert (whole.settings.generations, whole.settings.checks, whole.settings.gate) == (8, True, True)
    assert (quick.settings.generations, quick.settings.checks, quick.settings.gate) == (0, False, False)
    assert whole.behaviour.name == "listening"
    assert {pair.group for pair in (*whole.validation, *whole.test)}.isdisjoint(load(vector).groups)


@pytest.fixture
def planted_vector(tmp_path):
    """A vector file of the first half of some pairs, and all of them."""
    pairs = [
        Pair(behaviour="listening", prompt=f"p{i}", positive=f"yes {i}", negative=f"not {i}", group=f"g{i // 2}")
        for i in range(24)
    ]
    path = tmp_path / "v.safetensors"
    metadata = describe("listening", pairs[:12], "a" * 64, "t", [1.0], [0.5], "mean_difference")
    save(path, VectorFile(np.ones((1, 4), dtype="<f4"), metadata))
    return pairs, path
