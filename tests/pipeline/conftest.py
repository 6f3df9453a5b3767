"""A whole reflexd in a temporary folder: a tiny random model, a small memory, gates that anything passes.

What is tested with it is the way of the data, not its numbers: those are measured on the real model. Its embeddings are
tied and its memory says yes or no, so that a vector has an effect at all.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from daemon.child import ModelProcess
from daemon.cli import run_command
from daemon.home import find_home
from store.engine import Store
from tests.pipeline.two_vectors import answer, extract_two, prove

LENIENT = """
state_dir = "state"
[extraction]
min_pairs = 4
[verification]
layers = [0.5]
kl_p95_max = 1000.0
kl_rmse_max = 1000.0
max_perplexity_ratio = 1e9
min_coherence = -1.0
min_split_half = -1.0
min_d_prime = 0.0
generations = 0
checks = false
gate = false
min_effect = -1000.0
max_anti_steerable = 1.0
nulls_random = 0
nulls_shuffled = 0
bootstrap = 50
[promotion]
versions = 1
min_sessions = 1
min_days = 1
min_cosine = -1.0
[training]
approval = "auto"
steps = 4
warmup = 1
rank = 4
checkpoint_every = 1
max_attempts = 20
retry_after_s = 0
control = false
bootstrap = 50
[training.gates]
min_effect_ratio = -1e9
max_effect_ratio = 1e9
max_neutral_kl_ratio = 1e9
max_perplexity_ratio = 1e9
max_control_ratio = 1e9
min_retention = -1e9
[behaviours.listening]
positive_cues = ["^yes"]
negative_cues = ["^no"]
[process]
threads = 1
nice = 0
"""


@dataclass(frozen=True)
class Place:
    """A home, and the command line in it."""

    folder: Path

    @property
    def config(self):
        return self.folder / "reflexd.toml"

    @property
    def database(self):
        return self.folder / "state" / "reflexd.db"

    def command(self, *arguments):
        return [sys.executable, "-m", "daemon", "--config", str(self.config), *arguments]

    def reflexd(self, *arguments, check=True):
        done = subprocess.run(self.command(*arguments), capture_output=True, text=True, env=environment(), timeout=300)
        if check:
            assert done.returncode == 0, done.stdout + done.stderr
        return done

    def json(self, *arguments):
        return json.loads(self.reflexd(*arguments, "--json").stdout)

    def sql(self, query):
        return self.json("sql", query)


def environment():
    own = {name: value for name, value in os.environ.items() if not name.startswith("REFLEXD_")}
    return own | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def memory(sessions=8, directions=4):
    """A small agent's memory: each direction once answered with another idea, and once as asked."""
    topics = [
        "the Makefile",
        "the parser",
        "the nightly job",
        "the index",
        "the report",
        "the pipeline",
        "the cache",
        "the form",
    ]
    nodes, edges = [], []

    def node(node_id, kind, text, ts, **more):
        nodes.append({"id": node_id, "kind": kind, "text": text, "ts": ts, "actor": "agent", **more})

    def edge(source, target, kind):
        edges.append({"source": source, "target": target, "key": 0, "kind": kind})

    for s in range(sessions):
        day = f"2026-03-{s + 1:02d}T09:00"
        node(f"s{s}", "session", f"work on {topics[s]}", f"{day}:00Z")
        for d in range(directions):
            key, ts = f"{s}-{d}", f"{day}:{d + 1:02d}Z"
            node(f"d{key}", "direction", f"please change {topics[s]} in way {'abcdef'[d]}", ts)
            edge(f"d{key}", f"s{s}", "part_of")
            for side, text, verdict in (
                ("a", f"not not {topics[s]} not not", "rejected_by"),  # as long as the other
                ("b", f"yes yes {topics[s]} yes yes", "accepted_by"),
            ):
                node(f"r{key}{side}", "response", text, ts)
                node(f"o{key}{side}", "outcome", "No." if side == "a" else "Thanks.", ts, signal="human_turn")
                edge(f"r{key}{side}", f"d{key}", "responds_to")
                edge(f"r{key}{side}", f"o{key}{side}", verdict)
                edge(f"r{key}{side}", f"s{s}", "part_of")
    return {"directed": True, "multigraph": True, "graph": {}, "nodes": nodes, "edges": edges}


def tiny_model(folder):
    """A random Llama of three blocks with a byte-level tokenizer and a chat template."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate(["<s>", "</s>", "<pad>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    fast.chat_template = (
        "{% for m in messages %}<s>{{ m['role'] }}: {{ m['content'] }}</s>{% endfor %}"
        "{% if add_generation_prompt %}<s>assistant: {% endif %}"
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
        initializer_range=0.2,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


@pytest.fixture
def command_line(capsys):
    """A command line in this process for a configuration: what was printed, or the error if it ends with a `code`."""

    def of(config):
        def call(*arguments, code=0):
            assert run_command(["--config", str(config), *arguments]) == code
            said = capsys.readouterr()
            return said.err if code else json.loads(said.out) if "--json" in arguments else said.out

        return call

    return of


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("tiny-model"))


@pytest.fixture
def place(tmp_path, tiny_folder):
    return furnished(tmp_path / "home", tiny_folder)


def furnished(folder, tiny_folder):
    """A home with the model, the memory, and nothing done yet."""
    folder.mkdir(parents=True)
    (folder / "reflexd.toml").write_text(LENIENT)
    (folder / "memory.json").write_text(json.dumps(memory()))
    home = Place(folder)
    home.reflexd("init", "--dir", str(folder))
    home.reflexd("model", "add", str(tiny_folder))
    home.reflexd("source", "add", "node-link", str(folder / "memory.json"))
    return home


@pytest.fixture(scope="session")
def two_extracted(tmp_path_factory, tiny_folder):
    """A home with vectors of two behaviours; what is done to a copy of it does not show here."""
    folder = tmp_path_factory.mktemp("two")
    extract_two(folder, LENIENT, memory(), tiny_folder)
    return folder


@pytest.fixture
def two_unproved(two_extracted, tmp_path):
    shutil.copytree(two_extracted, tmp_path / "home")
    return find_home(tmp_path / "home" / "reflexd.toml")


@pytest.fixture
def two_served(two_unproved, monkeypatch):
    """Both vectors verified and served; the model process answers in this one."""
    with Store.open(two_unproved.database) as store, store.write() as conn:
        for name in ("eager@1", "listening@1"):
            prove(conn, name, store.clock.wall_ms())
    monkeypatch.setattr(ModelProcess, "ask", answer)
    return two_unproved
