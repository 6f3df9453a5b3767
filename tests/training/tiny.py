"""A model folder of a few thousand parameters, with a byte-level tokenizer and a chat template, and requests on it."""

from pathlib import Path

import numpy as np
import orjson
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from daemon.protocol import GateSettings, NeutralText, Placement, TrainRequest, TrainSettings
from daemon.steering.model_folder import model_digest, template_digest
from daemon.steering.vector_file import from_parts, load, save
from graph.schema import ChatMessage, Pair

HIDDEN, LAYERS, LAYER = 16, 6, 1
TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
LOOSE = GateSettings(
    min_effect_ratio=-99.0,
    max_effect_ratio=99.0,
    max_neutral_kl_ratio=99.0,
    max_perplexity_ratio=99.0,
    max_control_ratio=99.0,
    min_retention=-99.0,
)
QUICK = TrainSettings(
    rank=4,
    steps=5,
    warmup=1,
    learning_rate=2e-3,
    pairs_per_step=2,
    neutral_per_step=2,
    projection_gap=3,
    gate_scales=(0.5, 1.0),
    delta_scales=(0.8, 1.0),
    checkpoint_every=2,
    control_steps=3,
    bootstrap=50,
    gates=LOOSE,
)
QUICK_NO_CONTROL = QUICK.model_copy(update={"control": False})


def tokenizer() -> PreTrainedTokenizerFast:
    """Every byte is a token."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    raw = Tokenizer(models.BPE(vocab={character: i for i, character in enumerate(alphabet)}, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=raw, chat_template=TEMPLATE)


def write_model(folder: Path, family: str = "llama", seed: int = 0) -> Path:
    """A random model; its residual stream is large enough for a vector to matter."""
    torch.manual_seed(seed)
    if family == "llama":
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=256,
                hidden_size=HIDDEN,
                intermediate_size=24,
                num_hidden_layers=LAYERS,
                num_attention_heads=4,
                num_key_value_heads=2,
                tie_word_embeddings=True,
                initializer_range=0.2,
                bos_token_id=None,
                eos_token_id=None,
            )
        )
    else:
        model = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=256,
                n_embd=HIDDEN,
                n_layer=LAYERS,
                n_head=4,
                n_positions=256,
                initializer_range=0.2,
                bos_token_id=None,
                eos_token_id=None,
            )
        )
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def pairs(split: str, n: int) -> tuple[Pair, ...]:
    """Pairs of `n` groups that differ between splits."""
    return tuple(
        Pair(
            behaviour="listening",
            prompt=(ChatMessage(role="user", content=f"{split} do {i}"),),
            positive=f"yes {i}",
            negative=f"no, {split[i % 3]}",
            group=f"{split}-{i // 2}",
        )
        for i in range(n)
    )


def neutral(split: str, n: int) -> tuple[NeutralText, ...]:
    chat = ({"role": "user", "content": f"{split}?"}, {"role": "assistant", "content": "It is so."})
    plain = [NeutralText(kind="plain", text=f"{split} text {i} goes on") for i in range(n - 1)]
    return (*plain, NeutralText(kind="chat", messages=chat))


def write_vector(path: Path, model: Path, seed: int = 5, hidden: int = HIDDEN) -> Path:
    matrix = np.random.default_rng(seed).standard_normal((LAYERS, hidden)).astype(np.float32)
    layer = {"median_residual_norm": 1.0, "coherence": 0.5}
    lineage = orjson.dumps({"layers": [layer] * LAYERS, "aggregator": "mean_difference", "code_version": "0"}).decode()
    file = from_parts(matrix, "listening", pairs("train", 6), model_digest(model), template_digest(model), lineage)
    save(path, file)
    return path


def placed(vector: Path, *layers: int, dose: float = 2.0) -> tuple[Placement, ...]:
    """The vector at those blocks, at one dose in each."""
    file = load(vector)
    return tuple(Placement(layer=at, dose=dose, coefficient=file.coefficient(at, dose)) for at in layers)


def request(root: Path, settings: TrainSettings = QUICK, *, token: int = 1, **changes: object) -> TrainRequest:
    """A job on the tiny model in `root`, made there if it is missing. The vector's sign is such that it helps."""
    model, vector = root / "base", root / "vector.safetensors"
    if not model.exists():
        write_model(model)
    if not vector.exists():
        write_vector(vector, model)
    fields: dict[str, object] = {
        "job": 1,
        "token": token,
        "model": model,
        "base_digest": model_digest(model),
        "vector": vector,
        "placements": placed(vector, LAYER),
        "behaviour": "listening",
        "train": pairs("train", 6),
        "validation": pairs("validation", 4),
        "test": pairs("test", 4),
        "neutral_train": neutral("train", 4),
        "neutral_validation": neutral("validation", 3),
        "neutral_test": neutral("test", 3),
        "settings": settings,
        "folder": root / "1" / str(token),
    }
    return TrainRequest(**{**fields, **changes})  # type: ignore[arg-type]
