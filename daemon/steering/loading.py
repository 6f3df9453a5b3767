"""A model in memory: evaluation mode, from a local folder, on one device, refused when a weight is not finite."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from daemon.errors import DataError
from daemon.models.folder import check_model_folder
from daemon.steering.device import find_device
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

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self.layout.device


def load_model(folder: Path, threads: int = 0, device: str = "cpu", dtype: torch.dtype = torch.float32) -> LoadedModel:
    """Load the model in `folder` onto `device` ("auto", "cpu", "cuda", "cuda:N"); nothing is downloaded.

    `threads` 0 leaves torch its own choice. Whatever is measured or written is so in float32; other types are for
    `daemon.steering.screen`.

    Raises:
        UnavailableError: The device is not there.
        NoInputError: There is no model in the folder.
        DataError: It cannot be read, or is no causal language model, or a tensor, which is named, is not finite.
    """
    check_model_folder(folder)
    place = find_device(device)
    if threads:
        torch.set_num_threads(threads)
    try:
        with _quiet():
            model = AutoModelForCausalLM.from_pretrained(
                folder, dtype=dtype, local_files_only=True, use_safetensors=True
            )
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        told = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise DataError(f"{folder}: cannot be loaded: {told}; provide the model again") from error
    require_finite(model, folder)
    model.train(False).requires_grad_(False).to(place)
    return LoadedModel(model, tokenizer, find_layout(model), model_digest(folder), template_digest(folder))


def require_finite(model: torch.nn.Module, folder: Path) -> None:
    """Refuse a model with NaN or infinity in it.

    Raises:
        DataError: The message names the first such tensor.
    """
    for name, tensor in model.named_parameters():
        if not torch.isfinite(tensor).all():
            raise DataError(f"{folder}: {name} holds NaN or infinity; provide the model again")


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars and no remarks of transformers, whose settings are as before afterwards."""
    level, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.ERROR)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]
