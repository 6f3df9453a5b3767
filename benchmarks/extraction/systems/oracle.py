"""What the vectors are: one sequence a forward pass, hooks on the blocks' outputs, float64 mean differences.

Written from the definition alone, and shares nothing with any system but transformers' model.
"""

from typing import Any

import cases
import numpy as np
import torch
from torch import Tensor

from systems.peer import Peer


class System(Peer):
    """Two readings of the same passes: the reply's last token, and the mean over the reply's tokens."""

    def read(self, pairs: str) -> dict[str, int]:
        """As the peers do; tells the tokens of prompt and reply apart, too."""
        together = super().read(pairs)["tokens"]
        ids = [self._ids(pair, reply) for pair in self.pairs for reply in (pair.positive, pair.negative)]
        return {"tokens": sum(len(given) + len(scored) for given, scored in ids), "as_one_text": together}

    def extract(self, layers: list[int]) -> np.ndarray:
        """(2, layers, hidden) float64: by the last token, by the mean."""
        total = torch.zeros(2, len(layers), self.model.config.get_text_config().hidden_size, dtype=torch.float64)
        for pair in self.pairs:
            total += self._read(pair, pair.positive, layers) - self._read(pair, pair.negative, layers)
        return (total / len(self.pairs)).numpy()

    def _ids(self, pair: cases.Rendered, reply: str) -> tuple[list[int], list[int]]:
        return tuple(self.tokenizer(text, add_special_tokens=False).input_ids for text in (pair.prompt, reply))

    def _read(self, pair: cases.Rendered, reply: str, layers: list[int]) -> Tensor:
        given, scored = self._ids(pair, reply)
        found: dict[int, Tensor] = {}
        blocks = self.model.model.layers

        def keep(layer: int) -> Any:
            def hook(_block: object, _args: object, output: Any) -> None:
                hidden = output[0] if isinstance(output, tuple) else output
                found[layer] = hidden[0, len(given) :].double()

            return hook

        handles = [blocks[layer].register_forward_hook(keep(layer)) for layer in layers]
        try:
            with torch.no_grad():
                self.model(input_ids=torch.tensor([given + scored]), use_cache=False, logits_to_keep=1)
        finally:
            for handle in handles:
                handle.remove()
        rows = [found[layer] for layer in layers]
        return torch.stack([torch.stack([row[-1] for row in rows]), torch.stack([row.mean(dim=0) for row in rows])])
