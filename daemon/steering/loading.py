"""A model in memory: float32, evaluation mode, from a local folder, refused when a weight is not finite."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from daemon.errors import DataError
from daemon.steering.layout import Layout, find_layout
from daemon.steering.model_folder import model_digest, template_digest


@dataclass(frozen=True)
class LoadedModel:
    """A causal language model, its tokenizer, where its parts are, and which it is."""

    model: Any
    tokenizer: Any
    layout: Layout
    digest: str
    template_digest: str


def load_model(folder: Path, threads: int = 0) -> LoadedModel:
    """Load the model in `folder`; nothing is downloaded. `threads` 0 leaves torch's own choice.

    Raises:
        NoInputError: There is no model in the folder.
        DataError: It cannot be read, or holds NaN or infinity; the message names the tensor.
    """
    digest = model_digest(folder)
    if threads:
        torch.set_num_threads(threads)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, use_safetensors=True, attn_implementation="sdpa"
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise DataError(f"{folder}: cannot be loaded: {str(error).splitlines()[0]}; provide the model again") from error
    _require_finite(model, folder)
    model.eval().requires_grad_(False)
    return LoadedModel(model, tokenizer, find_layout(model), digest, template_digest(folder))


def _require_finite(model: torch.nn.Module, folder: Path) -> None:
    for name, tensor in model.named_parameters():
        if not torch.isfinite(tensor.sum()) and not torch.isfinite(tensor).all():
            raise DataError(f"{folder}: {name} holds NaN or infinity; provide the model again")
