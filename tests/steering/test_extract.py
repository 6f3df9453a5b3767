"""One vector a layer, of the pairs and nothing else: same pairs, same bytes."""

import hashlib

import numpy as np
import orjson
import pytest
import torch

from daemon.errors import DataError
from daemon.protocol import ExtractRequest
from daemon.steering.extract import run_extract
from daemon.steering.text import encode
from daemon.steering.vector_file import load
from graph.schema import pairs_digest
from tests.steering import oracle
from tests.steering.planted import make_pairs, planted_direction
from tests.tiny import HIDDEN, tiny_tokenizer

PAIRS = make_pairs(10)


def extract(loaded, out, pairs=PAIRS, **changes):
    request = ExtractRequest(model="unused", pairs=pairs, out=out, behaviour="planted", **changes)
    return run_extract(loaded, request, lambda _: None)


def test_a_vector_is_the_mean_difference_of_replies(loaded, tmp_path):
    report = extract(loaded, tmp_path / "v")
    found, tokenizer = load(tmp_path / "v"), tiny_tokenizer()
    for layer in range(4):
        rows = [
            oracle.reply_mean(loaded.model, encode(tokenizer, pair.prompt, pair.positive), layer)
            - oracle.reply_mean(loaded.model, encode(tokenizer, pair.prompt, pair.negative), layer)
            for pair in PAIRS
        ]
        wanted = torch.stack(rows).mean(0).float()
        torch.testing.assert_close(torch.from_numpy(found.vectors[layer]), wanted, atol=1e-4, rtol=1e-3)
        assert report.layers[layer].vector_norm == pytest.approx(float(wanted.norm()), rel=1e-3)


def test_the_report_says_what_the_file_holds(llama, tmp_path):
    report = extract(llama, tmp_path / "v")
    found = load(report.path)
    assert report.sha256 == hashlib.sha256(found.vectors.astype("<f4").tobytes()).hexdigest()
    assert (report.n_layers, report.hidden_size, report.n_pairs) == (4, HIDDEN, 10)
    assert report.pairs_digest == found.metadata["pairs_digest"] == pairs_digest(PAIRS)
    assert (report.model_digest, report.template_digest) == (llama.digest, llama.template_digest)
    assert [layer.median_residual_norm for layer in report.layers] == found.median_residual_norm
    assert [layer.coherence for layer in report.layers] == found.coherence
    assert orjson.loads(found.metadata["groups"]) == sorted({pair.group for pair in PAIRS})


@pytest.mark.parametrize("aggregator", ["mean_difference", "pca", "logistic"])
def test_the_same_pairs_in_any_order_give_the_same_bytes(llama, tmp_path, aggregator):
    extract(llama, tmp_path / "one", aggregator=aggregator)
    extract(llama, tmp_path / "two", PAIRS[::-1], aggregator=aggregator)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("aggregator", ["mean_difference", "pca", "logistic"])
def test_a_planted_direction_is_found_by_every_aggregator(planted_model, tmp_path, aggregator):
    extract(planted_model, tmp_path / "v", make_pairs(24), aggregator=aggregator)
    vectors = load(tmp_path / "v").vectors
    cosine = vectors @ planted_direction().numpy() / np.linalg.norm(vectors, axis=1)
    assert (cosine[:3] > 0.45).all()  # of 32 dimensions, by chance: 0.18


def test_coherence_tells_one_direction_from_none(planted_model, tmp_path):
    straight = extract(planted_model, tmp_path / "one", make_pairs(24)).layers[2]
    mixed = extract(planted_model, tmp_path / "two", make_pairs(24, swap=True)).layers[2]
    assert straight.coherence > 0.4
    assert mixed.coherence < 0.1
    assert straight.split_half_cosine > 0.8


def test_fewer_than_two_pairs_are_no_evidence(llama, tmp_path):
    with pytest.raises(DataError, match="1 pairs; at least two"):
        extract(llama, tmp_path / "v", PAIRS[:1])
    assert not (tmp_path / "v").exists()


def test_progress_ends_at_all_pairs(llama, tmp_path):
    told = []
    request = ExtractRequest(model="unused", pairs=PAIRS, out=tmp_path / "v", behaviour="planted")
    run_extract(llama, request, told.append)
    assert (told[-1].done, told[-1].total) == (10, 10)
