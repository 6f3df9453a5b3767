"""Several vectors share one budget: the doses found are within it, keep what they say, and no grid finds better."""

import dataclasses
import itertools
import math
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch

from daemon.errors import DataError, MismatchError
from daemon.proof import combine
from daemon.proof.combine import evened, over_budget, ratio_interval, run_combine, run_joint, scale_within, search
from daemon.protocol import ExtractRequest, Placement
from daemon.protocol.combine import CombineReport, CombineRequest, CombineSettings, JointKl, Member
from daemon.steering.extract import run_extract
from daemon.steering.score import KL, kl_summary
from daemon.steering.vector_file import VectorFile, load, save
from tests.steering import oracle
from tests.steering.planted import make_pairs, neutral

LAYER, DOSE = 2, 0.12
LOOSE = {"bootstrap": 200, "kl_rmse_max": 100.0, "headroom": 1.0, "max_multiplier": 1.0}


@pytest.fixture
def vector(planted_model, tmp_path):
    request = ExtractRequest(model="unused", pairs=make_pairs(24, seed=1), out=tmp_path / "v", behaviour="planted")
    run_extract(planted_model, request, lambda _: None)
    return tmp_path / "v"


def member(name, path, seed=2, dose=DOSE, layer=LAYER, swap=False):
    def turned(pairs):
        if not swap:
            return pairs
        return tuple(p.model_copy(update={"positive": p.negative, "negative": p.positive}) for p in pairs)

    return Member(
        name=name,
        vector=path,
        placements=(Placement(layer=layer, dose=dose, coefficient=load(path).coefficient(layer, dose)),),
        validation=turned(make_pairs(8, seed=seed)),
        test=turned(make_pairs(12, seed=seed + 10)),
    )


def request_of(*members, **settings):
    return CombineRequest(
        model="unused",
        members=members,
        neutral_validation=neutral(seed=51),
        neutral_test=neutral(seed=51),
        settings=CombineSettings(**(LOOSE | settings)),
    )


def joint(loaded, *members, **settings):
    return run_joint(loaded, request_of(*members, **settings), lambda _: None)


def joint_on(loaded, texts, members):
    request = request_of(*members).model_copy(update={"neutral_validation": texts, "neutral_test": texts})
    return run_joint(loaded, request, lambda _: None).test


def combined(loaded, *members, **settings):
    return run_combine(loaded, request_of(*members, **settings), lambda _: None)


def neutral_kl(model, deltas):
    """One text at a time, whole passes."""
    from daemon.steering.text import encode_neutral
    from tests.tiny import tiny_tokenizer

    parts = []
    for text in neutral(seed=51):
        item = encode_neutral(tiny_tokenizer(), text)
        base, steered = (oracle.run(model, item.ids, d)[0][len(item.prompt_ids) - 1 : -1] for d in ({}, deltas))
        parts.append((base.exp() * (base - steered)).sum(dim=1))
    return kl_summary(torch.cat(parts))


# ---------------------------------------------------------------- the whole, on a tiny model


def test_one_vector_named_twice_shares_the_dose_of_one(planted_model, vector):
    """The budget is what it takes alone, so both together have room for one, and each behaviour keeps all of it."""
    delta = {LAYER: torch.from_numpy(load(vector).vectors[LAYER]) * load(vector).coefficient(LAYER, DOSE)}
    alone = neutral_kl(planted_model.model, delta)
    report = combined(planted_model, member("a", vector), member("b", vector, seed=3), kl_p95_max=alone.p95)
    assert report.common_scale == pytest.approx(0.5, rel=0.06)
    assert sum(report.chosen.multipliers) == pytest.approx(1.0, rel=0.06)
    assert [effect.kept for effect in report.joint] == pytest.approx([1, 1], abs=0.1)
    assert report.chosen.kept == pytest.approx((1, 1), abs=0.1)
    assert report.kl.p95 <= alone.p95
    assert (report.within_budget, report.reason) == (True, "")
    assert report.cosines == (pytest.approx((1, 1)), pytest.approx((1, 1)))
    assert [effect.share for effect in report.cross] == pytest.approx([1, 1, 1, 1])


def test_two_vectors_that_want_opposite_things_cancel_and_it_is_said(planted_model, vector, tmp_path):
    file = load(vector)
    save(tmp_path / "w", VectorFile(-file.vectors, file.metadata))
    report = combined(planted_model, member("a", vector), member("b", tmp_path / "w", seed=2, swap=True))
    assert report.cosines[0] == pytest.approx((1, -1))
    assert [effect.share for effect in report.cross if effect.behaviour != effect.vector] == pytest.approx(
        [-1, -1], abs=0.25
    )
    assert report.chosen.min_kept < 0.2
    assert min(effect.kept for effect in report.joint) < 0.2


def test_what_is_reported_is_what_the_chosen_doses_do_one_sequence_at_a_time(planted_model, vector, tmp_path):
    file = load(vector)
    rolled = torch.from_numpy(file.vectors).roll(3, dims=0).numpy().copy()
    rolled[1] += 0.5 * file.vectors[1]
    save(tmp_path / "w", VectorFile(rolled, file.metadata))
    members = member("a", vector), member("b", tmp_path / "w", seed=5, layer=1)
    report = combined(planted_model, *members, kl_p95_max=0.4)
    deltas = {}
    for each, told in zip(members, report.joint, strict=True):
        (place,) = told.placements
        assert place.dose == pytest.approx(told.multiplier * each.placements[0].dose)
        deltas[place.layer] = torch.from_numpy(load(each.vector).vectors[place.layer]) * place.coefficient
    kl = neutral_kl(planted_model.model, deltas)
    assert (report.kl.mean, report.kl.p95, report.kl.rmse) == pytest.approx(tuple(kl), rel=2e-3)
    from tests.tiny import tiny_tokenizer

    def gap(pair, added):
        from daemon.steering.text import encode

        good, bad = (encode(tiny_tokenizer(), pair.prompt, reply) for reply in (pair.positive, pair.negative))
        return oracle.reply_logprob(planted_model.model, good, added) - oracle.reply_logprob(
            planted_model.model, bad, added
        )

    for each, told in zip(members, report.joint, strict=True):
        place = each.placements[0]
        own = {place.layer: torch.from_numpy(load(each.vector).vectors[place.layer]) * place.coefficient}
        base = [gap(pair, {}) for pair in each.test]
        for value, added in ((told.single, own), (told.joint, deltas)):
            wanted = sum(gap(pair, added) - b for pair, b in zip(each.test, base, strict=True)) / len(base)
            assert value == pytest.approx(wanted, abs=2e-4)
        assert told.kept == pytest.approx(told.joint / told.single)
        assert told.kept_interval[0] <= told.kept <= told.kept_interval[1]
        assert told.n == 12


def test_every_point_of_the_frontier_is_within_its_budget_and_a_larger_one_never_keeps_less(planted_model, vector):
    report = combined(planted_model, member("a", vector), member("b", vector, seed=3), kl_p95_max=0.02)
    assert [point.budget for point in report.frontier] == [0.25, 0.5, 0.75, 1.0]
    for point in report.frontier:
        assert point.kl_p95 <= point.budget * 0.02
        assert point.min_kept == min(point.kept)
        assert max(point.multipliers) <= 1
    kept = [point.min_kept for point in report.frontier]
    assert kept == sorted(kept)
    assert report.chosen == report.frontier[-1]


@pytest.mark.parametrize("hold", [False, True])
def test_the_budget_holds_on_test_text_too_where_that_is_asked_for(planted_model, vector, hold):
    members = member("a", vector), member("b", vector, seed=3)
    texts = sorted(
        (neutral(seed=seed) for seed in (51, 52)), key=lambda text: joint_on(planted_model, text, members).p95
    )
    budget = 0.15 * joint_on(planted_model, texts[0], members).p95
    settings = {"kl_p95_max": budget, "hold_on_test_text": hold}
    request = request_of(*members, **settings).model_copy(
        update={"neutral_validation": texts[0], "neutral_test": texts[1]}
    )
    report = run_combine(planted_model, request, lambda _: None)
    assert report.within_budget is hold
    assert report.kl.p95 == pytest.approx(budget, rel=0.02) if hold else report.kl.p95 > budget
    assert report.chosen.kl_p95 == pytest.approx(budget, rel=0.02)


@pytest.mark.parametrize("place", [0, 1])
def test_of_several_texts_the_worst_counts_and_no_number_is_worst(monkeypatch, place):
    found = iter([KL(1.0, 2.0, 9.0), KL(3.0, 1.0, math.nan)][:: 1 - 2 * place])
    monkeypatch.setattr(combine, "kl_summary", lambda _: next(found))
    texts = tuple(SimpleNamespace(divergences=lambda parts: parts) for _ in range(2))
    worst = combine.Bench((), (), (), texts, torch.zeros(0)).kl(())
    assert worst[:2] == (3.0, 2.0)
    assert math.isnan(worst.rmse)


def test_the_rmse_of_the_set_is_held_as_well(planted_model, vector):
    report = combined(planted_model, member("a", vector), member("b", vector, seed=3), kl_p95_max=100, kl_rmse_max=0.02)
    assert 0 < report.chosen.kl_rmse <= 0.02
    assert report.kl.rmse == pytest.approx(report.chosen.kl_rmse)


def test_test_pairs_are_looked_at_once_after_the_doses_are_fixed(planted_model, vector, monkeypatch):
    order, of, whole = [], combine.GatedPairs.of, combine.search

    def noted(_cls, loaded, pairs, layers, gates):
        order.append(pairs[0].group.split("-")[0])
        return of(loaded, pairs, layers, gates)

    def fixed(*args):
        found = whole(*args)
        order.append("fixed")
        return found

    monkeypatch.setattr(combine.GatedPairs, "of", classmethod(noted))
    monkeypatch.setattr(combine, "search", fixed)
    combined(planted_model, member("a", vector), member("b", vector, seed=3))
    assert order == ["g2", "g3", "fixed", "g12", "g13"]


def test_a_report_survives_the_way_between_processes(planted_model, vector):
    report = combined(planted_model, member("a", vector), member("b", vector, seed=3))
    assert CombineReport.model_validate_json(report.model_dump_json()) == report


def test_a_vector_without_an_effect_of_its_own_is_named(planted_model, vector):
    with pytest.raises(DataError, match=r"b: alone it has no effect on its own validation pairs \(-"):
        combined(planted_model, member("a", vector), member("b", vector, swap=True))


def test_weights_that_were_trained_further_are_measured_and_another_shape_is_refused(planted_model, vector):
    trained = dataclasses.replace(planted_model, digest="f" * 64)
    assert combined(trained, member("a", vector), member("b", vector, seed=3)).members == ("a", "b")
    deeper = member("b", vector).placements[0].model_copy(update={"layer": 9})
    for run in (run_combine, run_joint):
        request = request_of(member("a", vector), member("b", vector).model_copy(update={"placements": (deeper,)}))
        with pytest.raises(MismatchError, match="layers and width"):
            run(planted_model, request, lambda _: None)


def test_all_that_is_on_is_measured_as_it_is(planted_model, vector):
    """Two of the same vector are one of twice the coefficient."""
    one = member("a", vector)
    (at,) = one.placements
    twice = one.model_copy(update={"placements": (at.model_copy(update={"coefficient": 2 * at.coefficient}),)})
    still = one.model_copy(update={"placements": (at.model_copy(update={"coefficient": 0.0}),)})
    both = joint(planted_model, one, one)
    assert both.test == both.validation == joint(planted_model, twice, still).test  # the neutral text is one here
    assert both.test.p95 > joint(planted_model, one, still).test.p95 > 0
    assert both.reason == ""
    over = joint(planted_model, one, one, kl_p95_max=both.test.p95 * 0.9)
    assert over.reason.startswith(f"neutral KL p95 {both.test.p95:.2f} nat on validation text, over the")


# ---------------------------------------------------------------- the search


@dataclass
class Quadratic:
    """Divergence mᵀ A m, effects C m: what small doses do."""

    divergence: torch.Tensor
    effects: torch.Tensor
    asked: int = 0

    @property
    def members(self):
        return (None,) * len(self.effects)

    def kl(self, multipliers):
        self.asked += 1
        m = torch.tensor(multipliers, dtype=torch.float64)
        value = float(m @ self.divergence @ m)
        return KL(value / 3, value, value / 2)

    def kept(self, multipliers):
        return self.effects @ torch.tensor(multipliers, dtype=torch.float64)


def drawn(seed, m=2):
    draw = torch.Generator().manual_seed(seed)
    root = torch.randn(m, m, generator=draw, dtype=torch.float64) + torch.eye(m)
    cross = torch.randn(m, m, generator=draw, dtype=torch.float64) * 0.3
    return Quadratic(root @ root.T, cross.fill_diagonal_(1.0))


@pytest.mark.parametrize("seed", range(8))
def test_no_point_of_a_fine_grid_keeps_much_more_of_the_least(seed):
    bench, settings = drawn(seed), CombineSettings(headroom=1, budgets=(0.5, 1.0), rounds=6)
    _, frontier = search(bench, settings, lambda _: None)
    grid = [i / 100 for i in range(101)]
    for point in frontier:
        allowed = [m for m in itertools.product(grid, grid) if bench.kl(m).p95 <= point.budget]
        best = max(float(bench.kept(m).min()) for m in allowed)
        assert bench.kl(point.multipliers).p95 <= point.budget
        assert point.min_kept >= best - 0.06


def test_three_vectors_are_balanced_as_two_are():
    bench = Quadratic(torch.diag(torch.tensor([8.0, 2.0, 1.0]).double()), torch.eye(3).double())
    _, frontier = search(bench, CombineSettings(headroom=1, budgets=(1.0,), rounds=6), lambda _: None)
    assert frontier[0].multipliers == pytest.approx([11**-0.5] * 3, rel=0.06)


def test_the_common_scale_is_where_the_budget_is_used_up():
    bench = Quadratic(torch.tensor([[4.0, 2.0], [2.0, 8.0]]).double(), torch.eye(2).double())
    common, _ = search(bench, CombineSettings(headroom=1, kl_rmse_max=100), lambda _: None)
    assert common == pytest.approx(16**-0.5, rel=0.06)
    held, _ = search(bench, CombineSettings(headroom=1, kl_p95_max=100, kl_rmse_max=0.25), lambda _: None)
    assert held == pytest.approx((0.5 / 16) ** 0.5, rel=0.06)


def test_validation_leaves_room_for_test_text():
    bench = Quadratic(torch.tensor([[4.0, 2.0], [2.0, 8.0]]).double(), torch.eye(2).double())
    common, frontier = search(bench, CombineSettings(headroom=0.5, kl_rmse_max=100), lambda _: None)
    assert common == pytest.approx(32**-0.5, rel=0.06)
    assert all(point.kl_p95 <= 0.5 * point.budget for point in frontier)


def test_vectors_that_fit_together_as_they_are_stay_as_they_are():
    bench = Quadratic(torch.eye(2).double() * 0.1, torch.eye(2).double())
    common, frontier = search(bench, CombineSettings(headroom=1), lambda _: None)
    assert common == 1.0
    assert frontier[-1].multipliers == pytest.approx((1.0, 1.0), rel=1e-12)


def counted(load):
    asked = []

    def call(scale):
        asked.append(scale)
        return load(scale)

    return call, asked


@pytest.mark.parametrize("where", [0.9, 0.4, 0.05, 0.001])
@pytest.mark.parametrize("power", [1.0, 2.0, 3.5])
def test_a_scale_is_found_close_under_its_bar_in_eight_evaluations(where, power):
    load, asked = counted(lambda scale: (scale / where) ** power)
    found = scale_within(load, 1.0)
    assert found <= where
    assert load(found) >= 0.85
    assert len(asked) <= 9


def test_what_fits_at_once_takes_one_evaluation():
    load, asked = counted(lambda scale: scale / 3)
    assert scale_within(load, 1.0) == 1.0
    assert asked == [1.0]


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_load_that_is_no_number_is_too_much(broken):
    assert scale_within(lambda scale: broken if scale > 0.3 else 0.5, 1.0) == pytest.approx(0.29, abs=0.02)
    assert 0 < scale_within(lambda _: broken, 1.0) < 0.01


def test_balancing_gives_more_to_whoever_keeps_less():
    more, less = evened((0.5, 0.5), (0.4, 0.9), 1.0)
    assert more > 0.5 > less
    assert evened((0.5, 0.25), (0.7, 0.7), 1.0) == pytest.approx((0.5, 0.25))
    assert evened((1.0, 0.5), (-3.0, 0.9), 1.0)[0] == 1.0


# ---------------------------------------------------------------- what is said of it


def test_pairs_of_a_group_come_and_go_together_in_the_interval():
    lower = torch.ones(12, dtype=torch.float64)
    pairs = make_pairs(12, groups=2)
    upper = torch.tensor([1.0 if pair.group.endswith("0") else 0.0 for pair in pairs]).double()
    assert ratio_interval(upper, lower, pairs, 400, 0) == (0.0, 1.0)
    assert ratio_interval(2 * lower, lower, pairs, 400, 0) == (2.0, 2.0)
    assert ratio_interval(upper, -lower, pairs, 400, 0) is None


@pytest.mark.parametrize(
    ("p95", "rmse", "reason"),
    [(0.5, 0.4, ""), (1.2, 0.4, "neutral KL p95 1.20"), (0.5, 2.0, "neutral KL rmse 2.00"), (math.nan, 0.1, "p95 nan")],
)
def test_a_set_that_misses_the_budget_on_test_text_says_which_bar(p95, rmse, reason):
    found = over_budget(JointKl(mean=0.1, p95=p95, rmse=rmse, n_positions=9, p95_without_gates=0.0), CombineSettings())
    assert reason in found
    assert bool(found) is bool(reason)
