"""Contrastive activation addition as its paper has it (Rimsky et al., arXiv:2312.06681), written anew.

One prompt a forward pass of the whole causal language model, all its hidden states; the mean difference at the answer's
last token.
"""

import numpy as np
import torch
from torch import Tensor

from systems.peer import Peer


class System(Peer):
    """`batch` is taken for the others' sake, and is one."""

    def extract(self, layers: list[int], batch: int = 1) -> np.ndarray:
        """Mean differences at `layers`."""
        if batch != 1:
            raise ValueError("one prompt a forward pass is what this is")
        differences = [
            self._last(positive, layers) - self._last(negative, layers) for positive, negative in self.texts()
        ]
        return torch.stack(differences).double().mean(dim=0).numpy()

    def _last(self, text: str, layers: list[int]) -> Tensor:
        """(layers, hidden): hidden states at the last token."""
        with torch.no_grad():
            found = self.model(**self.tokenizer(text, return_tensors="pt"), output_hidden_states=True).hidden_states
        return torch.stack([found[layer + 1][0, -1] for layer in layers])
