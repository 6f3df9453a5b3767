"""What this machine could do at best: its rate of float32 matrix products, and how many operations the work needs.

    needed = Σ over unique tokens  2 · (weights of the blocks up to the deepest wanted layer)
                                 + 4 · (attention heads × head size) · (tokens it sees) for each of those blocks

A token is unique if no other sequence has the same tokens up to it: what two sequences share need be computed once.
The scores of a block whose window is shorter than the text are counted within the window.
"""

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import cases
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

ROWS = 1024


class System:
    """A model's shape without its weights."""

    def __init__(self, folder: Path, threads: int) -> None:
        torch.set_num_threads(threads)
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        self.config: Any = config.get_text_config()
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        with torch.device("meta"):
            blocks = AutoModelForCausalLM.from_config(config).model.layers
        self.weights = [sum(each.numel() for each in block.parameters() if each.ndim > 1) for block in blocks]
        hidden, inner = int(self.config.hidden_size), int(self.config.intermediate_size)
        self.one, self.two = torch.randn(ROWS, hidden), torch.randn(hidden, inner)

    def rate(self, seconds: float = 2.0) -> float:
        """Floating-point operations a CPU second of products like those of the model's feed-forward layers."""
        for _ in range(3):
            torch.mm(self.one, self.two)
        began, products = time.process_time(), 0
        while time.process_time() - began < seconds:
            torch.mm(self.one, self.two)
            products += 1
        return products * 2 * ROWS * self.two.numel() / (time.process_time() - began)

    def read(self, pairs: str) -> dict[str, int]:
        """Take the pairs of a file; tells how many of their tokens are unique."""
        self.depths = _unique_depths(self._sequences(Path(pairs)))
        return {"tokens": len(self.depths)}

    def needed(self, layers: list[int]) -> float:
        """Floating-point operations for the pairs that were read."""
        deepest = max(layers)
        heads = int(self.config.num_attention_heads)
        width = heads * int(getattr(self.config, "head_dim", None) or self.config.hidden_size // heads)
        products = 2.0 * sum(self.weights[: deepest + 1]) * len(self.depths)
        scores = sum(4.0 * width * min(depth, self._window(i)) for i in range(deepest + 1) for depth in self.depths)
        return products + scores

    def _sequences(self, path: Path) -> Iterator[list[int]]:
        for pair in cases.rendered(self.tokenizer, cases.read(path)):
            prompt, *replies = (
                self.tokenizer(text, add_special_tokens=False).input_ids
                for text in (pair.prompt, pair.positive, pair.negative)
            )
            yield from (prompt + reply for reply in replies)

    def _window(self, layer: int) -> int:
        """How many tokens a token of block `layer` sees at most."""
        kinds = getattr(self.config, "layer_types", None)
        slides = kinds is not None and kinds[layer] == "sliding_attention"
        return int(self.config.sliding_window) if slides else 1 << 62


def _unique_depths(sequences: Iterable[list[int]]) -> list[int]:
    """How many tokens each unique token sees, itself included."""
    places: dict[tuple[int, int], int] = {}
    depths: list[int] = []
    for sequence in sequences:
        node = -1
        for depth, token in enumerate(sequence, start=1):
            node = places.setdefault((node, token), len(depths))
            if node == len(depths):
                depths.append(depth)
    return depths
