"""repeng as it is: `ControlVector.train`, by default batches of 32 and PCA of the centred differences."""

import numpy as np
import torch
from repeng import ControlVector, DatasetEntry
from repeng.extract import batched_get_hiddens

from systems.peer import Peer


class System(Peer):
    """Directions of unit length, at the last token."""

    def extract(self, layers: list[int], batch: int) -> np.ndarray:
        """Its vectors at `layers`."""
        found = ControlVector.train(
            self.model, self.tokenizer, self._entries(), hidden_layers=layers, batch_size=batch
        ).directions
        return np.stack([found[layer] for layer in layers])

    def mean_difference(self, layers: list[int], batch: int) -> np.ndarray:
        """The mean difference of what it reads, without its PCA: whether it reads the right thing."""
        texts = [text for entry in self._entries() for text in (entry.positive, entry.negative)]
        with torch.inference_mode():
            found = batched_get_hiddens(self.model, self.tokenizer, texts, layers, batch)
        rows = (found[layer].astype(np.float64) for layer in layers)
        return np.stack([(each[0::2] - each[1::2]).mean(axis=0) for each in rows])

    def _entries(self) -> list[DatasetEntry]:
        return [DatasetEntry(positive=positive, negative=negative) for positive, negative in self.texts()]
