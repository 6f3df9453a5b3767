"""`reflexd evaluate`: the verdict for people, each condition a line, and the exit code for scripts."""

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
