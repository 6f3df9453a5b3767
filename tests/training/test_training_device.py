"""A training on another device: everything is brought there, checkpoints too, and the files are those of the CPU."""

import pytest
import torch
from tiny import QUICK_NO_CONTROL, request
from torch.nn.attention import SDPBackend, sdpa_kernel

from daemon.steering.loading import load_model
from daemon.training.run import run_train
from tests.far import FAR, FarDevice


@pytest.fixture(autouse=True)
def one_kernel():
    """Attention by the one way that any device has: the CPU's own kernel rounds otherwise."""
    with sdpa_kernel(SDPBackend.MATH):
        yield


class Killed(Exception):
    """The process died here."""


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["apollo", "adamw"])
def test_training_elsewhere_killed_and_resumed_gives_the_same_bytes(tmp_path, monkeypatch, optimizer):
    settings = QUICK_NO_CONTROL.model_copy(update={"steps": 2, "checkpoint_every": 1, "optimizer": optimizer})
    near = run_train(request(tmp_path, settings), lambda _: None, lambda _: None)
    monkeypatch.setattr("daemon.steering.loading.find_device", {"elsewhere": FAR, str(FAR): FAR}.get)

    def die_between_steps(told):
        if told.stage == "trained" and told.done == 2:
            raise Killed

    with FarDevice():
        with pytest.raises(Killed):
            run_train(request(tmp_path, settings, token=2), die_between_steps, lambda _: None, "elsewhere")
        resumed = request(tmp_path, settings, token=3, resume=tmp_path / "1" / "2")
        far = run_train(resumed, lambda _: None, lambda _: None, "elsewhere")
    assert far.delta_sha256 == near.delta_sha256
    assert far.rows == near.rows
    monkeypatch.undo()
    one, two = (load_model(report.weights).model.state_dict() for report in (far, near))
    assert all(torch.equal(one[name], two[name]) for name in two)
