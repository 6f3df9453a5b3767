"""Providing models: the embedded one from its wheel, a folder in place, a GGUF file converted, a hub id downloaded.

    spec ──▶ spec.parse_spec ──▶ embedded | gguf ──▶ conversion (a child process) ──┐
                              ├▶ hub ───────────────────────────────────────────────┼▶ <models folder>/<name>/
                              └▶ folder, used where it stands                         └ whole or not there at all

A model is a folder with config.json, float weights as safetensors, and a tokenizer. Pickle is never read. Nothing is
downloaded unless a person named it. No torch in this process.
"""

from daemon.models.provide import ProvidedModel, provide, resolve

__all__ = ["ProvidedModel", "provide", "resolve"]
