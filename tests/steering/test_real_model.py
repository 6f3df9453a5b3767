"""The embedded model itself: what its numbers are known to be, and a behaviour found and proved in it."""

import pytest
import torch

from daemon.proof.verify import run_verify
from daemon.protocol import ExtractRequest, VerifyRequest, VerifySettings
from daemon.steering.apply import steer
from daemon.steering.extract import run_extract
from daemon.steering.neutral import load_neutral
from daemon.steering.score import reply_logprobs
from daemon.steering.targets import find_targets
from daemon.steering.text import encode, encode_pairs
from graph.schema import ChatMessage, Pair
from tests.embedded import embedded_model
from tests.steering import oracle
from tests.steering.readings import reply_means

pytestmark = pytest.mark.model

DIRECTIONS = (
    "Use tabs in the Makefile.",
    "Rename the column to created_at.",
    "Put the tests beside the code.",
    "Drop the cache.",
    "Write the dates in ISO format.",
    "Raise the timeout to thirty seconds.",
    "Use a set instead of a list.",
    "Log to standard error.",
    "Sort the imports.",
    "Name the branch after the ticket.",
    "Keep the old endpoint for now.",
    "Send the report on Friday.",
    "Use the metric system.",
    "Leave the footer out.",
    "Merge both scripts into one.",
    "Answer in one paragraph.",
    "Pin the version of the parser.",
    "Move the button to the left.",
    "Use the smaller image.",
    "Start counting at one.",
    "Write it in French.",
    "Delete the temporary files.",
    "Use blue for the second line.",
    "Run it every night at two.",
)
ACCEPTING = (
    "Sure, I'll do exactly that.",
    "Understood, doing it now.",
    "Yes, consider it done.",
    "Of course, I'll make that change.",
)
DECLINING = (
    "I'd rather do it differently.",
    "Have you considered another way?",
    "Hmm, I don't think that's wise.",
    "Instead, I would suggest something else.",
)


@pytest.fixture(scope="module")
def loaded():
    return embedded_model()


def pairs(first, last):
    return tuple(
        Pair(
            behaviour="listening",
            prompt=(ChatMessage(role="user", content=DIRECTIONS[i]),),
            positive=ACCEPTING[i % 4],
            negative=DECLINING[(i + i // 4) % 4],
            group=f"s{i // 3}",
        )
        for i in range(first, last)
    )


def test_batches_give_what_single_sequences_give(loaded):
    items = encode_pairs(loaded.tokenizer, pairs(0, 3))
    found = reply_means(loaded.layout, items, [0, 14, 29]).means.double()
    for place, layer in enumerate((0, 14, 29)):
        wanted = oracle.reply_mean(loaded.model, items[1], layer)
        assert (found[1, place] - wanted).abs().max() < 1e-3 * wanted.abs().max()
    delta = {14: torch.ones(576)}
    with steer(loaded.layout, delta):
        steered = reply_logprobs(loaded, items)
    assert steered.tolist() == pytest.approx(
        [oracle.reply_logprob(loaded.model, item, delta) for item in items], abs=2e-3
    )


def test_the_first_token_is_a_sink_and_the_last_layer_is_not_its_norm(loaded):
    item = encode(loaded.tokenizer, pairs(0, 1)[0].prompt, "Sure.")
    _, seen = oracle.run(loaded.model, item.ids)
    assert seen[15][0].norm() > 50 * seen[15][1:].norm(dim=1).median()
    ours = reply_means(loaded.layout, [item], [29])
    assert ours.means[0, 0].norm() > 5 * loaded.layout.decoder.norm(ours.means[0, 0].float()).norm()
    assert ours.median_norms[0] < 2000


def test_roles_in_thirty_blocks(loaded):
    writers = find_targets(loaded.model, loaded.layout, "writers", 29)
    assert {target.name.split(".", 3)[3] for target in writers} == {"self_attn.o_proj", "mlp.down_proj"}
    assert len(writers) == 60
    assert all(t.name.endswith("q_proj") for t in find_targets(loaded.model, loaded.layout, "query", 29))


def test_listening_is_one_direction_and_is_verified_on_directions_never_seen(loaded, tmp_path):
    train, validation, test = pairs(0, 12), pairs(12, 16), pairs(16, 24)
    request = ExtractRequest(model="unused", pairs=train, out=tmp_path / "v", behaviour="listening")
    report = run_extract(loaded, request, lambda _: None)
    assert report.layers[14].coherence > 0.3
    settings = VerifySettings(
        layers=(0.5,), multiples=(1,), nulls_random=2, nulls_shuffled=20, generations=0, checks=False, bootstrap=200
    )
    proof = run_verify(
        loaded,
        VerifyRequest(
            model="unused",
            vector=tmp_path / "v",
            train=train,
            validation=validation,
            test=test,
            settings=settings,
            neutral_validation=load_neutral("validation"),
            neutral_test=load_neutral("validation"),
        ),
        lambda _: None,
    )
    assert (proof.verdict, proof.reason) == ("verified", ""), (proof.effect, proof.null_test, proof.nulls)
    assert proof.effect > 0.5
    assert proof.effect > max(null.effect for null in proof.nulls)
