"""Models that the benchmark makes: one of Gemma-3-270m's shape, whose head is most of it, and a shallow one.

Their weights are random or cut off, so what they say means nothing; what they cost is what is measured.
"""

from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, Gemma3TextConfig
from transformers.utils import logging

logging.set_verbosity_error()
logging.disable_progress_bar()


def gemma(folder: Path, tokenizer: Path) -> Path:
    """Gemma-3-270m's shape with random weights and the tokenizer of the model in `tokenizer`; made if missing."""
    if (folder / "model.safetensors").exists():
        return folder
    torch.manual_seed(0)
    config = Gemma3TextConfig(
        vocab_size=262_144,
        hidden_size=640,
        intermediate_size=2048,
        num_hidden_layers=18,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=256,
        sliding_window=512,
        query_pre_attn_scalar=256,
        max_position_embeddings=32_768,
        tie_word_embeddings=True,
        pad_token_id=2,
        bos_token_id=1,
        eos_token_id=2,
    )
    AutoModelForCausalLM.from_config(config).to(torch.float32).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tokenizer, local_files_only=True).save_pretrained(folder)
    return folder


def shallow(folder: Path, model: Path, layers: int) -> Path:
    """The first `layers` blocks of the model in `model`; made if missing."""
    if (folder / "model.safetensors").exists():
        return folder
    config = AutoConfig.from_pretrained(model, local_files_only=True, num_hidden_layers=layers)
    cut = AutoModelForCausalLM.from_pretrained(model, config=config, dtype=torch.float32, local_files_only=True)
    cut.save_pretrained(folder)
    AutoTokenizer.from_pretrained(model, local_files_only=True).save_pretrained(folder)
    return folder
