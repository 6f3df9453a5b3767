"""Tiny random language models of several families, and a byte-level tokenizer, made offline in milliseconds."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

from daemon.steering.layout import find_layout
from daemon.steering.loading import LoadedModel

HIDDEN = 32
VOCABULARY = 260
FAMILIES = ("llama", "qwen2", "qwen3", "gemma3", "gpt2", "gptneox")
SPECIALS = ("<|pad|>", "<|im_start|>", "<|im_end|>", "<|unk|>")
TEMPLATE = (
    "{% for m in messages %}"
    "{% if loop.first and m['role'] != 'system' %}<|im_start|>system\nBe brief.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tiny_model(family: str = "llama", n_layers: int = 4, seed: int = 0, **changes: Any) -> Any:
    """A random float32 model with hidden size 32; its weights are large enough for every part to matter."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(tiny_config(family, n_layers, **changes), attn_implementation="sdpa")
    return model.to(torch.float32).train(False).requires_grad_(False)


def tiny_config(family: str, n_layers: int = 4, **changes: Any) -> Any:
    """The configuration of `tiny_model`."""
    shared = {
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 512,
        "initializer_range": 0.15,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    gpt2 = {
        "n_embd": HIDDEN,
        "n_layer": n_layers,
        "n_head": 4,
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
    }
    usual = {"hidden_size": HIDDEN, "num_hidden_layers": n_layers, "num_attention_heads": 4, "intermediate_size": 64}
    grouped = usual | {"num_key_value_heads": 2}
    makers = {
        "llama": lambda more: LlamaConfig(**shared | grouped | more),
        "qwen2": lambda more: Qwen2Config(**shared | grouped | more),
        "qwen3": lambda more: Qwen3Config(**shared | grouped | {"head_dim": 8} | more),
        "gemma3": lambda more: Gemma3TextConfig(
            **shared | grouped | {"head_dim": 8, "sliding_window": 512, "query_pre_attn_scalar": 8} | more
        ),
        "gpt2": lambda more: GPT2Config(**shared | gpt2 | more),
        "gptneox": lambda more: GPTNeoXConfig(**shared | usual | {"hidden_dropout": 0.0} | more),
    }
    return makers[family](changes)


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte, four special tokens before them, a ChatML template with a default system message."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate((*SPECIALS, *alphabet))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<|unk|>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIALS))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|pad|>",
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        unk_token="<|unk|>",
        chat_template=TEMPLATE,
    )


def tiny_loaded(
    family: str = "llama", n_layers: int = 4, seed: int = 0, model: Any = None, **changes: Any
) -> LoadedModel:
    """The same as `load_model` would give for it, with made-up digests; `model` in place of a new one."""
    model = model if model is not None else tiny_model(family, n_layers, seed, **changes)
    return LoadedModel(model, tiny_tokenizer(), find_layout(model), "0" * 64, "1" * 64)


def save_tiny(folder: Path, family: str = "llama", n_layers: int = 4, seed: int = 0, model: Any = None) -> Path:
    """Write such a model and its tokenizer into `folder` as transformers does; returns the folder."""
    (model if model is not None else tiny_model(family, n_layers, seed)).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder
