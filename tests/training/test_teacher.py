"""Teacher and objective: clean weights only, the steered state at the steered layer, gradients that are numbers."""

from pathlib import Path

import pytest
import torch
from tiny import LAYER, QUICK, placed
from tiny import request as request_for

from daemon.errors import DataError, MismatchError
from daemon.protocol import TrainRequest
from daemon.steering.loading import load_model
from daemon.training import objective
from daemon.training.checkpoint import Ledger
from daemon.training.objective import reply_loss, retain_loss
from daemon.training.prepare import Bake, prepare
from daemon.training.teacher import Base, Teacher, read_base, read_teacher
from daemon.training.texts import Watch, joined, past_the_first, read


@pytest.fixture(scope="module", params=[(LAYER,), (LAYER, LAYER + 2)], ids=["one layer", "two layers"])
def job(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> TrainRequest:
    made = request_for(tmp_path_factory.mktemp("teacher"))
    return made.model_copy(update={"placements": placed(made.vector, *request.param)})


@pytest.fixture
def bake(job: TrainRequest, tmp_path: Path) -> Bake:
    return prepare(load_model(job.model), job, Ledger(tmp_path, "one", lambda _: None), lambda _: None)


def both(bake: Bake) -> tuple[Base, Teacher]:
    base = Base(**read_base(bake.subject, bake.train, QUICK))
    return base, Teacher(**read_teacher(bake.subject, bake.subject.shifts, bake.train, base))


def test_a_teacher_from_weights_that_were_baked_already_is_refused(bake: Bake) -> None:
    base, clean = both(bake)
    with torch.no_grad():
        bake.subject.weights.parameters[bake.subject.places[LAYER].down_name].add_(0.01)
    with pytest.raises(MismatchError, match="changed since the base was loaded"):
        read_teacher(bake.subject, bake.subject.shifts, bake.train, base)
    with pytest.raises(MismatchError, match="changed since the base was loaded"):
        read_base(bake.subject, bake.train, QUICK)
    bake.subject.weights.assert_clean = lambda: None  # type: ignore[method-assign]
    wrong = Teacher(**read_teacher(bake.subject, bake.subject.shifts, bake.train, base))
    assert abs(wrong.kl_start - clean.kl_start) > 1e-4 * clean.kl_start, "without the check nothing would tell"


def test_a_teacher_inside_a_change_is_refused_and_clean_again_after_it(bake: Bake) -> None:
    base, _ = both(bake)
    change = bake.subject.rank1(bake.subject.shifts, base.gates)
    with bake.subject.changed(change), pytest.raises(MismatchError):
        read_teacher(bake.subject, bake.subject.shifts, bake.train, base)
    bake.subject.weights.assert_clean()


def test_the_teachers_state_at_its_first_layer_is_the_bases_plus_the_shift(bake: Bake) -> None:
    base, taught = both(bake)
    shift = bake.subject.shifts[LAYER]
    moved = joined(taught.pairs, f"block.{LAYER}") - joined(base.pairs, f"block.{LAYER}")
    assert torch.allclose(moved, shift.expand_as(moved), atol=1e-4)
    assert taught.distance[LAYER] == pytest.approx(float(shift.square().sum()), rel=1e-3)


def test_what_is_matched_is_every_place_and_some_blocks_above_the_last(bake: Bake, job: TrainRequest) -> None:
    places = {at.layer for at in job.placements}
    _, taught = both(bake)
    assert set(bake.subject.matched) == set(taught.distance) == places | {min(max(places) + 4, 5)}


def test_the_closed_form_adds_each_blocks_shift_where_its_gate_opens(bake: Bake) -> None:
    base, _ = both(bake)
    change = bake.subject.rank1(bake.subject.shifts, base.gates)
    assert set(change) == {place.down_name for place in bake.subject.places.values()}
    for layer, place in bake.subject.places.items():
        entered = bake.subject.read(bake.train.pairs.items, Watch({}, {"down": place.down}))
        features = joined(entered, "down").double()
        opening = features @ base.gates[layer]
        assert float(opening.mean()) == pytest.approx(1)
        added = features @ change[place.down_name].double().T
        assert torch.allclose(added, torch.outer(opening, bake.subject.shifts[layer].double()), atol=1e-4)


def test_random_shifts_are_as_long_as_the_vectors_and_are_their_own_at_each_block(bake: Bake) -> None:
    drawn = bake.subject.random_shifts(3)
    for layer, shift in bake.subject.shifts.items():
        assert float(drawn[layer].norm()) == pytest.approx(float(shift.norm()), rel=1e-5)
        assert abs(float(torch.cosine_similarity(drawn[layer], shift, dim=0))) < 0.9
    kinds = {tuple(each.div(each.norm()).tolist()) for each in drawn.values()}
    assert len(kinds) == len(drawn)


def test_a_vector_that_changes_nothing_cannot_teach(bake: Bake) -> None:
    base, _ = both(bake)
    with pytest.raises(DataError, match="changes nothing"):
        read_teacher(
            bake.subject,
            {layer: torch.zeros_like(shift) for layer, shift in bake.subject.shifts.items()},
            bake.train,
            base,
        )


def trainable(bake: Bake) -> list[torch.nn.Parameter]:
    parameters = [bake.subject.weights.parameters[name] for name in bake.subject.trained]
    for parameter in parameters:
        parameter.requires_grad_(True)
    return parameters


def test_the_reply_loss_starts_at_one_and_a_weight_on_activations(bake: Bake) -> None:
    _, taught = both(bake)
    loss = reply_loss(bake.subject, bake.train.pairs.items, taught.pairs, taught, QUICK)
    assert float(loss) == pytest.approx(1 + QUICK.activation_weight, rel=1e-4)
    with bake.subject.hooked(bake.subject.shifts):
        perfect = reply_loss(bake.subject, bake.train.pairs.items, taught.pairs, taught, QUICK)
    assert float(perfect) == pytest.approx(0, abs=1e-5)


def test_the_retain_loss_is_one_at_the_hook(bake: Bake) -> None:
    base, taught = both(bake)
    with bake.subject.hooked(bake.subject.shifts):
        loss = retain_loss(bake.subject, bake.train.neutral, base.neutral, taught, QUICK)
    assert float(loss) == pytest.approx(QUICK.retain_weight, rel=1e-3)


def test_a_student_that_has_not_moved_gets_no_gradient_from_the_retain_loss_rather_than_nan(
    bake: Bake, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, taught = both(bake)
    parameters = trainable(bake)

    def gradients() -> list[torch.Tensor]:
        for parameter in parameters:
            parameter.grad = None
        loss = retain_loss(bake.subject, bake.train.neutral, base.neutral, taught, QUICK)
        loss.backward()
        return [parameter.grad for parameter in parameters if parameter.grad is not None]

    assert all(bool(torch.isfinite(each).all()) and float(each.norm()) < 1e-2 for each in gradients())
    monkeypatch.setattr(objective, "_TINY", 0.0)
    monkeypatch.setattr(objective, "kl", lambda a, b: (a - b).sum(dim=-1) * 0)
    assert not all(bool(torch.isfinite(each).all()) for each in gradients()), "a bare root would give NaN"


def test_a_walk_whose_first_batches_are_all_retained_text_still_learns(bake: Bake) -> None:
    """The published optimizer never moves again after a first step of zero gradient."""
    from daemon.training.apollo import make_optimizer

    _, taught = both(bake)
    parameters = trainable(bake)
    optimizer = make_optimizer("apollo", list(parameters), QUICK)
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = reply_loss(bake.subject, bake.train.pairs.items, taught.pairs, taught, QUICK)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]


def test_more_weight_on_neutral_text_gives_another_gate(bake: Bake) -> None:
    gates = [
        read_base(bake.subject, bake.train, QUICK.model_copy(update={"gate_neutral_weight": weight}))["gates"][LAYER]
        for weight in (0.1, 10.0)
    ]
    assert not torch.allclose(gates[0], gates[1], rtol=1e-2)


def test_position_0_has_no_part_in_the_gate(bake: Bake) -> None:
    kept = past_the_first(bake.train.neutral)
    plain = [item for item in bake.train.neutral if len(item.prompt_ids) == 1]
    assert plain
    assert int((~kept).sum()) == len(plain)
    assert bool(past_the_first(bake.train.pairs.items).all())


def test_the_vectors_of_both_replies_do_not_depend_on_how_they_are_packed(bake: Bake) -> None:
    subject, items = bake.subject, bake.train.pairs.items
    packed, apart = (joined(read(subject.layout, items, tries), "final") for tries in (True, False))
    assert torch.allclose(packed, apart, atol=1e-4)
    alone = torch.cat([read(subject.layout, [item], False)[0]["final"] for item in items])
    assert torch.allclose(packed, alone, atol=1e-4)


def test_no_hook_stays_behind(bake: Bake) -> None:
    both(bake)
    modules = [*(place.down for place in bake.subject.places.values()), *bake.subject.layout.blocks]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in modules)
