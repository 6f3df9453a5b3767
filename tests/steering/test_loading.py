"""A model is loaded from its folder alone, in float32, or refused with the reason."""

import pytest
import torch

from daemon.errors import DataError, NoInputError
from daemon.steering.loading import load_model
from daemon.steering.model_folder import model_digest, template_digest
from tests.tiny import HIDDEN, save_tiny, tiny_model


def test_a_loaded_model_is_float32_frozen_and_knows_itself(tmp_path, capfd):
    folder = save_tiny(tmp_path, model=tiny_model("llama", 2).to(torch.bfloat16))
    capfd.readouterr()
    loaded = load_model(folder)
    assert {p.dtype for p in loaded.model.parameters()} == {torch.float32}
    assert not loaded.model.training
    assert not any(p.requires_grad for p in loaded.model.parameters())
    assert loaded.model.config._attn_implementation == "sdpa"
    assert (loaded.digest, loaded.template_digest) == (model_digest(folder), template_digest(folder))
    assert (loaded.layout.n_layers, loaded.layout.hidden_size) == (2, HIDDEN)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused_by_name(tmp_path, value):
    model = tiny_model("llama", 2)
    model.model.layers[1].mlp.up_proj.weight[3, 4] = value
    with pytest.raises(DataError, match=r"model.layers.1.mlp.up_proj.weight holds NaN or infinity"):
        load_model(save_tiny(tmp_path, model=model))


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(NoInputError, match=r"no config.json"):
        load_model(tmp_path)
    with pytest.raises(NoInputError, match="no such folder"):
        load_model(tmp_path / "nowhere")


def test_torn_weights_are_refused(tmp_path):
    weights = save_tiny(tmp_path, n_layers=2) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(DataError, match=r"model.safetensors: torn"):
        load_model(tmp_path)


def test_an_unknown_architecture_is_refused_in_one_line(tmp_path):
    config = save_tiny(tmp_path, n_layers=2) / "config.json"
    config.write_text(config.read_text().replace('"llama"', '"no_such_thing"'))
    with pytest.raises(DataError, match=r"cannot be loaded.*no_such_thing") as caught:
        load_model(tmp_path)
    assert "\n" not in str(caught.value)


def test_the_number_of_threads_is_set(tmp_path):
    before = torch.get_num_threads()
    try:
        load_model(save_tiny(tmp_path, n_layers=2), threads=1)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
