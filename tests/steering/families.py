"""Tiny random models of the architectures that people run, and what is known of each from its paper, not from trying.

`tries`: whether a token may be moved to another column as long as its position and what it sees stay the same. So it
is with attention whose positions are numbers. Not where a window counts (the text of the tests is longer than it), a
bias grows with the column (ALiBi), a state runs through the columns (recurrence, convolution), or no mask is taken but
one of whole columns (GPT-1).
"""

import functools
from dataclasses import dataclass
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedConfig

from daemon.steering.loading import LoadedModel
from tests.tiny import HIDDEN, VOCABULARY, tiny_loaded

WINDOW = 8  # tokens; every text of the tests is longer
WIDE = 512  # tokens; no text of the tests is as long

_SHARED = {
    "vocab_size": VOCABULARY,
    "max_position_embeddings": WIDE,
    "initializer_range": 0.15,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_USUAL = {"hidden_size": HIDDEN, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 64}
_GROUPED = _USUAL | {"num_key_value_heads": 2}
_HEADS = _GROUPED | {"head_dim": 8}
_GPT2 = {"n_embd": HIDDEN, "n_layer": 4, "n_head": 4, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
_GPTJ = _GPT2 | {"rotary_dim": 4, "n_positions": WIDE}
_NEO = {
    "hidden_size": HIDDEN,
    "num_layers": 4,
    "num_heads": 4,
    "intermediate_size": 64,
    "attention_types": [[["global", "local"], 2]],
    "resid_dropout": 0.0,
    "embed_dropout": 0.0,
    "attention_dropout": 0.0,
}
_FALCON = _USUAL | {"hidden_dropout": 0.0, "attention_dropout": 0.0}
_OPT = {
    "hidden_size": HIDDEN,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "ffn_dim": 64,
    "dropout": 0.0,
    "init_std": 0.15,
}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
_LOCAL_EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
_LATENT = {
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "n_shared_experts": 1,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "q_lora_rank": 8,
    "kv_lora_rank": 8,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
}
_DELTA = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}
_STATES = {
    "mamba_n_heads": 4,
    "mamba_d_head": 16,
    "mamba_n_groups": 1,
    "mamba_d_state": 8,
    "mamba_d_conv": 4,
    "mamba_expand": 2,
    "mamba_chunk_size": 16,
}
_GEMMA2 = {"query_pre_attn_scalar": 8, "attn_logit_softcapping": 0.5, "final_logit_softcapping": 3.0}
_LOCAL_AND_GLOBAL = {"layer_types": ["sliding_attention", "full_attention"] * 2}
_VISION = {
    "hidden_size": HIDDEN,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}


@dataclass(frozen=True)
class Family:
    """How transformers calls the architecture, its settings, and whether tries are exact in it."""

    model_type: str
    settings: dict[str, Any]
    tries: bool = True


COMMON = {
    "llama": Family("llama", _GROUPED),
    "qwen2": Family("qwen2", _GROUPED),
    "qwen3": Family("qwen3", _HEADS),
    "qwen3-moe": Family("qwen3_moe", _HEADS | _EXPERTS),
    "qwen3-next": Family("qwen3_next", _HEADS | _DELTA | {"num_experts": 0}, tries=False),
    "gemma2": Family("gemma2", _HEADS | _GEMMA2 | {"sliding_window": WIDE}),
    "gemma3-window": Family(
        "gemma3_text",
        _HEADS | _LOCAL_AND_GLOBAL | {"sliding_window": WINDOW, "query_pre_attn_scalar": 8},
        tries=False,
    ),
    "gemma4": Family(
        "gemma4_text",
        _HEADS
        | _LOCAL_AND_GLOBAL
        | {
            "sliding_window": WIDE,
            "global_head_dim": 8,
            "hidden_size_per_layer_input": 8,
            "vocab_size_per_layer_input": VOCABULARY,
            "num_kv_shared_layers": 2,
        },
    ),
    "mistral": Family("mistral", _GROUPED | {"sliding_window": None}),
    "mistral-window": Family("mistral", _GROUPED | {"sliding_window": WINDOW}, tries=False),
    "mixtral": Family("mixtral", _GROUPED | _LOCAL_EXPERTS),
    "gpt2": Family("gpt2", _GPT2),
    "gpt-neo": Family("gpt_neo", _NEO | {"window_size": 256}),
    "gpt-neox": Family("gpt_neox", _USUAL | {"hidden_dropout": 0.0}),
    "gpt-oss-window": Family("gpt_oss", _HEADS | _LOCAL_EXPERTS | {"sliding_window": WINDOW}, tries=False),
    "phi": Family("phi", _GROUPED),
    "olmo2": Family("olmo2", _GROUPED),
    "granite": Family(
        "granite",
        _GROUPED
        | {"embedding_multiplier": 6.0, "attention_multiplier": 0.2, "residual_multiplier": 0.4, "logits_scaling": 4.0},
    ),
    "smollm3": Family("smollm3", _GROUPED | {"no_rope_layer_interval": 2}),
    "falcon-alibi": Family(
        "falcon", _FALCON | {"new_decoder_architecture": False, "multi_query": False, "alibi": True}, tries=False
    ),
    "bloom": Family(
        "bloom",
        {"hidden_size": HIDDEN, "n_layer": 4, "n_head": 4, "hidden_dropout": 0.0, "attention_dropout": 0.0},
        tries=False,
    ),
    "mpt": Family(
        "mpt", {"d_model": HIDDEN, "n_layers": 4, "n_heads": 4, "max_seq_len": WIDE, "expansion_ratio": 2}, tries=False
    ),
    "llama4": Family(
        "llama4_text",
        _HEADS
        | {
            "intermediate_size_mlp": 64,
            "num_local_experts": 2,
            "num_experts_per_tok": 1,
            "attention_chunk_size": WIDE,
        },
    ),
    "mamba": Family("mamba", {"hidden_size": HIDDEN, "num_hidden_layers": 4, "state_size": 8}, tries=False),
    "recurrent-gemma": Family(
        "recurrent_gemma",
        _GROUPED | {"lru_width": HIDDEN, "attention_window_size": WIDE, "num_hidden_layers": 4},
        tries=False,
    ),
    "lfm2": Family(
        "lfm2",
        _GROUPED | {"layer_types": ["conv", "full_attention"] * 2, "block_ff_dim": 64, "conv_L_cache": 3},
        tries=False,
    ),
    "modernbert-decoder": Family("modernbert-decoder", _USUAL | {"local_attention": WIDE}),
    "gemma3-with-vision": Family(
        "gemma3",
        {
            "text_config": _SHARED
            | _HEADS
            | _LOCAL_AND_GLOBAL
            | {"sliding_window": WIDE, "query_pre_attn_scalar": 8, "model_type": "gemma3_text"},
            "vision_config": _VISION | {"model_type": "siglip_vision_model"},
            "mm_tokens_per_image": 4,
            "image_token_index": 255,
            "boi_token_index": 256,
            "eoi_token_index": 257,
        },
    ),
}

OTHERS = {
    "phi3": Family("phi3", _GROUPED | {"sliding_window": None}),
    "opt": Family("opt", _OPT | {"word_embed_proj_dim": HIDDEN}),
    "olmo3-window": Family("olmo3", _GROUPED | {"sliding_window": WINDOW}, tries=False),
    "gemma2-window": Family("gemma2", _HEADS | _GEMMA2 | {"sliding_window": WINDOW}, tries=False),
    "gemma3": Family("gemma3_text", _HEADS | _LOCAL_AND_GLOBAL | {"sliding_window": WIDE, "query_pre_attn_scalar": 8}),
    "falcon": Family("falcon", _FALCON | {"new_decoder_architecture": True, "num_kv_heads": 2, "alibi": False}),
    "stablelm": Family("stablelm", _GROUPED),
    "cohere": Family("cohere", _GROUPED),
    "deepseek-v3": Family("deepseek_v3", _USUAL | _LATENT),
    "granite-hybrid": Family(
        "granitemoehybrid",
        _GROUPED
        | _STATES
        | {"layer_types": ["mamba", "attention"] * 2, "num_local_experts": 0, "shared_intermediate_size": 32},
        tries=False,
    ),
    "gemma": Family("gemma", _HEADS),
    "vaultgemma": Family("vaultgemma", _HEADS | {"sliding_window": WIDE}),
    "qwen2-window": Family(
        "qwen2",
        _GROUPED | {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 2},
        tries=False,
    ),
    "qwen2-moe": Family("qwen2_moe", _GROUPED | _EXPERTS | {"shared_expert_intermediate_size": 16}),
    "qwen3.5": Family("qwen3_5_text", _HEADS | _DELTA, tries=False),
    "ministral-window": Family("ministral", _HEADS | {"sliding_window": WINDOW}, tries=False),
    "ministral3": Family("ministral3", _HEADS),
    "gpt-neo-window": Family("gpt_neo", _NEO | {"window_size": WINDOW}, tries=False),
    "gptj": Family("gptj", _GPTJ),
    "codegen": Family("codegen", _GPTJ),
    "gpt-bigcode": Family("gpt_bigcode", _GPT2),
    "gpt-oss": Family("gpt_oss", _HEADS | _LOCAL_EXPERTS | {"sliding_window": WIDE}),
    "phi3-window": Family("phi3", _GROUPED | {"sliding_window": WINDOW}, tries=False),
    "phimoe": Family("phimoe", _GROUPED | _LOCAL_EXPERTS),
    "olmo": Family("olmo", _GROUPED),
    "olmoe": Family("olmoe", _GROUPED | _EXPERTS),
    "olmo-hybrid": Family("olmo_hybrid", _GROUPED | _DELTA, tries=False),
    "granite-moe": Family("granitemoe", _GROUPED | _LOCAL_EXPERTS | {"residual_multiplier": 0.5}),
    "granite-window": Family("granite_swa", _GROUPED | {"sliding_window": WINDOW}, tries=False),
    "falcon-7b": Family("falcon", _FALCON | {"multi_query": True, "alibi": False}),
    "falcon-mamba": Family(
        "falcon_mamba", {"hidden_size": HIDDEN, "num_hidden_layers": 4, "state_size": 8}, tries=False
    ),
    "falcon-h1": Family("falcon_h1", _GROUPED | _STATES | {"mamba_d_ssm": 64}, tries=False),
    "opt-350m": Family("opt", _OPT | {"word_embed_proj_dim": 16, "do_layer_norm_before": False}),
    "xglm": Family(
        "xglm",
        {"d_model": HIDDEN, "num_layers": 4, "attention_heads": 4, "ffn_dim": 64, "dropout": 0.0, "init_std": 0.15},
    ),
    "biogpt": Family("biogpt", _USUAL | {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}),
    "cohere2-window": Family("cohere2", _GROUPED | {"sliding_window": WINDOW}, tries=False),
    "mamba2": Family(
        "mamba2",
        {
            "hidden_size": HIDDEN,
            "num_hidden_layers": 4,
            "num_heads": 4,
            "head_dim": 16,
            "state_size": 8,
            "n_groups": 1,
            "chunk_size": 16,
        },
        tries=False,
    ),
    "recurrent-gemma-window": Family(
        "recurrent_gemma",
        _GROUPED | {"lru_width": HIDDEN, "attention_window_size": WINDOW, "num_hidden_layers": 4},
        tries=False,
    ),
    "bamba": Family("bamba", _GROUPED | _STATES | {"attn_layer_indices": [1, 3]}, tries=False),
    "jamba": Family(
        "jamba",
        _GROUPED
        | {
            "num_experts": 2,
            "num_experts_per_tok": 1,
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "expert_layer_period": 2,
            "expert_layer_offset": 1,
            "use_mamba_kernels": False,
            "mamba_d_state": 8,
            "mamba_dt_rank": 4,
        },
        tries=False,
    ),
    "minimax": Family(
        "minimax",
        _HEADS
        | {
            "num_local_experts": 2,
            "num_experts_per_tok": 1,
            "block_size": 8,
            "layer_types": ["linear_attention", "full_attention"] * 2,
        },
        tries=False,
    ),
    "rwkv": Family(
        "rwkv",
        {
            "hidden_size": HIDDEN,
            "num_hidden_layers": 4,
            "attention_hidden_size": HIDDEN,
            "intermediate_size": 64,
            "context_length": WIDE,
        },
        tries=False,
    ),
    "starcoder2": Family("starcoder2", _GROUPED | {"sliding_window": None}),
    "deepseek-v2": Family("deepseek_v2", _USUAL | _LATENT | {"topk_method": "greedy"}),
    "llama4-chunks": Family(
        "llama4_text",
        _HEADS
        | {
            "intermediate_size_mlp": 64,
            "num_local_experts": 2,
            "num_experts_per_tok": 1,
            "attention_chunk_size": WINDOW,
        },
        tries=False,
    ),
    "nemotron": Family("nemotron", _GROUPED),
    "glm4": Family("glm4", _HEADS),
    "ernie4.5": Family("ernie4_5", _HEADS),
    "exaone4-window": Family(
        "exaone4", _GROUPED | {"sliding_window": WINDOW, "sliding_window_pattern": 2}, tries=False
    ),
    "seed-oss": Family("seed_oss", _HEADS),
    "hunyuan": Family("hunyuan_v1_dense", _HEADS),
    "minicpm3": Family("minicpm3", _USUAL | {k: v for k, v in _LATENT.items() if k.endswith(("rank", "dim"))}),
    "openai-gpt": Family("openai-gpt", _GPT2, tries=False),
    "modernbert-decoder-window": Family("modernbert-decoder", _USUAL | {"local_attention": WINDOW}, tries=False),
}

ALL = COMMON | OTHERS


def family_config(family: Family) -> PreTrainedConfig:
    """The configuration of a tiny model: hidden size 32, four blocks."""
    shared = {} if "text_config" in family.settings else _SHARED
    return CONFIG_MAPPING[family.model_type](**shared | family.settings)


def family_model(family: Family, seed: int = 0) -> Any:
    """A random float32 model; attention as transformers itself would choose it, weights large enough to matter."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(family_config(family))
    model = model.to(torch.float32).train(False).requires_grad_(False)
    drawn = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        if weight.ndim >= 2 and weight.numel() > 1 and weight.std() < 0.12:
            weight.copy_(0.15 * torch.randn(weight.shape, generator=drawn))
        elif name.endswith("bias") and not weight.any():
            weight.copy_(0.05 * torch.randn(weight.shape, generator=drawn))
    return model


def fresh(name: str) -> LoadedModel:
    """A model of that family of which nothing has been found out yet."""
    return tiny_loaded(model=family_model(ALL[name]))


shared_model = functools.cache(fresh)
