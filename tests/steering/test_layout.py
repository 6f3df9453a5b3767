"""Decoder, blocks, head and roles are found from the model itself, whatever its family calls them."""

import pytest
import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    MixtralConfig,
    Qwen3NextConfig,
    SiglipVisionConfig,
)

from daemon.errors import DataError
from daemon.steering.layout import find_layout
from daemon.steering.targets import find_targets, mlp_down
from tests.steering.oracle import block_list
from tests.tiny import FAMILIES, HIDDEN, tiny_config, tiny_model

WRITERS = {
    "llama": ("self_attn.o_proj", "mlp.down_proj"),
    "qwen2": ("self_attn.o_proj", "mlp.down_proj"),
    "qwen3": ("self_attn.o_proj", "mlp.down_proj"),
    "gemma3": ("self_attn.o_proj", "mlp.down_proj"),
    "gpt2": ("attn.c_proj", "mlp.c_proj"),
    "gptneox": ("attention.dense", "mlp.dense_4h_to_h"),
}


def short(target):
    return target.name.split(f".{target.layer}.")[1]


def test_blocks_decoder_and_head_are_those_of_the_family(loaded):
    layout = loaded.layout
    assert list(layout.blocks) == list(block_list(loaded.model))
    assert layout.decoder is loaded.model.base_model
    assert layout.head is loaded.model.get_output_embeddings()
    assert (layout.n_layers, layout.hidden_size) == (4, HIDDEN)


def with_vision_tower(vision_layers):
    vision = SiglipVisionConfig(
        hidden_size=HIDDEN,
        intermediate_size=48,
        num_hidden_layers=vision_layers,
        num_attention_heads=2,
        image_size=28,
        patch_size=14,
    )
    config = Gemma3Config(
        text_config=tiny_config("gemma3"), vision_config=vision, mm_tokens_per_image=4, image_token_index=250
    )
    torch.manual_seed(0)
    return Gemma3ForConditionalGeneration(config).train(False)


@pytest.mark.parametrize("vision_layers", [4, 9])
def test_a_vision_tower_does_not_win(vision_layers):
    model = with_vision_tower(vision_layers)
    assert list(find_layout(model).blocks) == list(model.model.language_model.layers)


def test_a_vision_tower_does_not_win_even_when_the_model_calls_everything_its_decoder(monkeypatch):
    model = with_vision_tower(4)
    monkeypatch.setattr(model, "get_decoder", lambda: model.model)
    assert list(find_layout(model).blocks) == list(model.model.language_model.layers)


def test_a_model_without_such_blocks_is_refused():
    model = tiny_model("llama")
    model.config.num_hidden_layers = 4
    model.model.layers = nn.ModuleList(list(model.model.layers)[:3])
    with pytest.raises(DataError, match="no list of 4 blocks"):
        find_layout(model)


def test_writers_are_attention_output_and_mlp_down_of_every_block_up_to_the_last(loaded):
    family = next(
        name for name in FAMILIES if loaded.model.config.model_type.replace("_text", "").replace("_", "") == name
    )
    found = find_targets(loaded.model, loaded.layout, "writers", 2)
    assert [target.layer for target in found] == [0, 0, 1, 1, 2, 2]
    assert [short(target) for target in found] == list(WRITERS[family]) * 3
    assert all(dict(loaded.model.named_modules())[target.name] is target.module for target in found)


def test_the_mlp_down_projection_of_one_layer(loaded):
    writers = find_targets(loaded.model, loaded.layout, "writers", 3)
    assert [mlp_down(loaded.model, loaded.layout, layer) for layer in range(4)] == [t.module for t in writers[1::2]]


def test_the_down_projection_is_the_last_map_even_when_all_are_as_wide():
    model = tiny_model("llama", intermediate_size=HIDDEN)
    assert mlp_down(model, find_layout(model), 1) is model.model.layers[1].mlp.down_proj


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "gemma3"])
def test_query_is_neither_key_nor_value(family):
    model = tiny_model(family)
    found = find_targets(model, find_layout(model), "query", 1)
    assert [short(target) for target in found] == ["self_attn.q_proj"] * 2


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_roles_do_not_follow_names(family):
    """The same maps under misleading names: what they do decides."""
    model = tiny_model(family)
    attention = model.model.layers[0].self_attn
    attention.k_proj, attention.q_proj = attention.q_proj, attention.k_proj
    forward = attention.forward

    def swapped(*args, **kwargs):
        attention.k_proj, attention.q_proj = attention.q_proj, attention.k_proj
        try:
            return forward(*args, **kwargs)
        finally:
            attention.k_proj, attention.q_proj = attention.q_proj, attention.k_proj

    attention.forward = swapped
    query = find_targets(model, find_layout(model), "query", 0)[0]
    assert query.name.endswith("k_proj")
    assert query.module.weight.shape[0] == 4 * 8  # four query heads, two key heads


@pytest.mark.parametrize("family", ["gpt2", "gptneox"])
def test_a_fused_query_is_refused(family):
    model = tiny_model(family)
    with pytest.raises(DataError, match="no separate query map"):
        find_targets(model, find_layout(model), "query", 3)


def test_hybrid_blocks_are_each_judged_by_themselves():
    """Three of four blocks are linear attention: they have writers, but a query map of their own they do not have."""
    torch.manual_seed(0)
    config = Qwen3NextConfig(
        vocab_size=64,
        hidden_size=HIDDEN,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size=64,
        linear_num_key_heads=2,
        linear_num_value_heads=2,
        linear_key_head_dim=8,
        linear_value_head_dim=8,
        num_experts=0,
        pad_token_id=0,
        initializer_range=0.15,
    )
    model = AutoModelForCausalLM.from_config(config).train(False)
    layout = find_layout(model)
    assert [short(t) for t in find_targets(model, layout, "query", 3)] == ["self_attn.q_proj"]
    writers = find_targets(model, layout, "writers", 3)
    assert [short(t) for t in writers if t.layer == 0] == ["linear_attn.out_proj", "mlp.down_proj"]
    assert [short(t) for t in writers if t.layer == 3] == ["self_attn.o_proj", "mlp.down_proj"]


def test_fused_experts_leave_the_attention_output_as_the_only_writer():
    torch.manual_seed(0)
    config = MixtralConfig(
        vocab_size=64,
        hidden_size=HIDDEN,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        num_local_experts=4,
        num_experts_per_tok=2,
        pad_token_id=0,
    )
    model = AutoModelForCausalLM.from_config(config).train(False)
    layout = find_layout(model)
    assert {short(t) for t in find_targets(model, layout, "writers", 1)} == {"self_attn.o_proj"}
    with pytest.raises(DataError, match="has no MLP that ends in one linear map"):
        mlp_down(model, layout, 0)


def test_looking_for_roles_leaves_nothing_behind(loaded):
    def hooks():
        return [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in loaded.model.modules()]

    before = hooks()
    find_targets(loaded.model, loaded.layout, "writers", 3)
    find_layout(loaded.model)
    assert hooks() == before
