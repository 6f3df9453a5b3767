"""What is known before anything is steered, and what is refused for it."""

import pytest
import torch

from daemon.proof.predict import predict, separations, steerable
from daemon.protocol import ExtractRequest, LayerPrediction
from daemon.steering.contrast import contrast
from daemon.steering.extract import run_extract
from daemon.steering.text import encode
from daemon.steering.vector_file import load
from tests.steering import oracle
from tests.steering.planted import SETTINGS, make_pairs
from tests.tiny import tiny_tokenizer

TRAIN, HELD_OUT = make_pairs(24, seed=1), make_pairs(8, seed=2)


@pytest.fixture
def file(planted_model, tmp_path):
    request = ExtractRequest(model="unused", pairs=TRAIN, out=tmp_path / "v", behaviour="planted")
    run_extract(planted_model, request, lambda _: None)
    return load(tmp_path / "v")


def read(loaded, pairs, folder):
    return contrast(loaded, pairs, loaded.layout.n_layers, folder, lambda _: None)


def test_the_separation_of_held_out_replies_is_that_of_one_sequence_at_a_time(planted_model, file, tmp_path):
    found = separations(read(planted_model, HELD_OUT, tmp_path), torch.from_numpy(file.vectors))
    tokenizer = tiny_tokenizer()
    for layer in range(4):
        vector = torch.from_numpy(file.vectors[layer]).double()
        along = [
            [
                float(oracle.reply_mean(planted_model.model, encode(tokenizer, pair.prompt, reply), layer) @ vector)
                for reply in (pair.positive, pair.negative)
            ]
            for pair in HELD_OUT
        ]
        good, bad = (torch.tensor(side) for side in zip(*along, strict=True))
        wanted = (good.mean() - bad.mean()) / ((good.var() + bad.var()) / 2).sqrt()
        assert found[layer] == pytest.approx(float(wanted), rel=1e-3)


def test_pairs_that_agree_are_told_from_pairs_that_do_not(planted_model, file, tmp_path):
    mixed = make_pairs(24, seed=1, swap=True)
    held_out = read(planted_model, HELD_OUT, tmp_path)
    good = predict(file, read(planted_model, TRAIN, tmp_path), held_out, 0)
    bad = predict(file, read(planted_model, mixed, tmp_path), held_out, 0)
    assert good[2].coherence > 0.3 > 0.1 > bad[2].coherence
    assert good[2].split_half_cosine > 0.8 > 0.3 > bad[2].split_half_cosine
    assert good[2].d_prime > 2


def test_without_training_pairs_the_file_says_how_coherent_they_were(planted_model, file, tmp_path):
    found = predict(file, None, read(planted_model, HELD_OUT, tmp_path), 0)
    assert [each.coherence for each in found] == file.coherence
    assert {each.split_half_cosine for each in found} == {None}


def known(layer, coherence=0.5, halves=0.9, d=2.0):
    return LayerPrediction(layer=layer, coherence=coherence, split_half_cosine=halves, d_prime=d)


def test_only_layers_that_meet_every_bar_are_tried():
    told = (known(0, coherence=0.0), known(1, halves=0.0), known(2, d=0.1), known(3), known(4, d=-2.0))
    assert steerable(told, [0, 1, 2, 3, 4], SETTINGS) == ([3, 4], "")  # polarity is settled later
    assert steerable((known(0, coherence=None, halves=None),), [0], SETTINGS) == ([0], "")


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        (
            (known(0, coherence=0.02), known(1, coherence=0.05)),
            "mean cosine of a pair's difference to that of the others 0.05 at layer 1, at least 0.1 is asked",
        ),
        ((known(0, halves=0.2),), "not one direction: cosine between the vectors of two halves of the pairs 0.20"),
        ((known(0, d=0.3),), "not one direction: separation (d′) of held-out replies 0.30 at layer 0"),
        ((known(0, 0.0, 0.0), known(1, d=0.4)), "0.40 at layer 1"),  # the nearest miss is told
        ((known(0, d=float("nan")),), "d′"),
        ((known(0, coherence=float("nan")),), "mean cosine"),
    ],
)
def test_the_nearest_miss_is_the_reason(told, reason):
    layers, why = steerable(told, list(range(len(told))), SETTINGS)
    assert layers == []
    assert reason in why
