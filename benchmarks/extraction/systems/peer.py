"""What the peers share: the model as transformers loads it, float32, and pairs with the chat template around them."""

from pathlib import Path
from typing import Any

import cases
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


class Peer:
    """A causal language model, its tokenizer, and the pairs that were read last."""

    def __init__(self, folder: Path, threads: int) -> None:
        torch.set_num_threads(threads)
        self.model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
        self.model.eval()
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self.pairs: list[cases.Rendered] = []
        with torch.no_grad():
            self.model(input_ids=torch.tensor([[1]]))  # weights are read from the file when they are first used

    def read(self, pairs: str) -> dict[str, int]:
        """Take the pairs of a file; tells how many tokens they have as one text each."""
        self.pairs = cases.rendered(self.tokenizer, cases.read(Path(pairs)))
        return {"tokens": sum(len(self.tokenizer(text).input_ids) for pair in self.texts() for text in pair)}

    def texts(self) -> list[tuple[str, str]]:
        """Each pair's two texts, positive first."""
        return [(pair.prompt + pair.positive, pair.prompt + pair.negative) for pair in self.pairs]
