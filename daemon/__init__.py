"""The process and its stages: from evidence to vectors, proof, serving and weights."""

__version__ = "0.1.0"
