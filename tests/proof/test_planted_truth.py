"""What is there is found, what is not is refused, and what only looks like it is refused for what it is.

Short versions of `benchmarks/proof`, which has the numbers over many more seeds.
"""

import pytest

from daemon.proof.confounds import against, examine
from tests.proof.made import MAKERS, PLAIN, confounded, nothing_found, planted, proved, truth_found

pytestmark = pytest.mark.slow

SEEDS = range(10)
OPEN = PLAIN.model_copy(update={"min_coherence": -1.0, "min_split_half": -1.0, "min_d_prime": 0.0})


def test_planted_directions_are_verified_and_recovered(tmp_path):
    found = [truth_found(seed, tmp_path) for seed in SEEDS]
    assert sum(report.verdict == "verified" for report, _ in found) >= 9
    assert min(cosine for _, cosine in found) > 0.4


def test_labels_that_mean_nothing_are_refused_before_anything_is_steered(tmp_path):
    for seed in SEEDS:
        report = nothing_found(seed, tmp_path, PLAIN, meaningful_test=False)
        assert report.reason.startswith("not one direction")
        assert report.effect is None


def test_without_the_bars_before_steering_chance_is_what_refuses(tmp_path):
    """In the same models: effects are measured, and stay below what chance does."""
    found = [nothing_found(seed, tmp_path, OPEN, meaningful_test=False) for seed in SEEDS]
    measured = [report for report in found if report.null_test is not None]
    assert len(measured) >= 5
    assert all(report.verdict == "refused" for report in found)
    assert all(report.effect <= report.null_test.bar for report in measured)


@pytest.mark.parametrize(
    ("kind", "begins"), [("length", "length alone"), ("letter", "the letter"), ("topic", "the topic")]
)
def test_planted_confounds_are_refused_for_what_they_are(kind, begins, tmp_path):
    loaded = planted(0).loaded
    for seed in SEEDS:
        sides = tuple(confounded(kind, n, 10 * seed + i, 0.97) for i, n in enumerate((24, 8, 12)))
        report, _ = proved(loaded, tmp_path, sides)
        assert report.verdict == "refused"
        assert report.reason.startswith(f"{begins} tells the sides apart")
        assert report.effect is None


@pytest.mark.parametrize("kind", list(MAKERS))
def test_the_same_words_without_the_confound_pass(kind):
    refused = 0
    for seed in range(100):
        pairs = confounded(kind, 32, seed, 0.0)
        refused += against(examine(pairs, [(len(p.positive), len(p.negative)) for p in pairs]), 0.9) != ""
    assert refused <= 2
