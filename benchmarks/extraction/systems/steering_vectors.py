"""steering-vectors as it is: `train_steering_vector`, by default one pair a batch, the mean difference at the end."""

import numpy as np
from steering_vectors import train_steering_vector

from systems.peer import Peer


class System(Peer):
    """Mean differences of block outputs at the last token."""

    def extract(self, layers: list[int], batch: int) -> np.ndarray:
        """Its vectors at `layers`."""
        found = train_steering_vector(
            self.model, self.tokenizer, self.texts(), layers=layers, batch_size=batch
        ).layer_activations
        return np.stack([found[layer].double().numpy() for layer in layers])
