"""Where a model computes: everything is brought there and back, and a device that is not there is refused."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from daemon.errors import UnavailableError, UsageError
from daemon.proof.verify import run_verify
from daemon.protocol import ChooseRequest, ExtractRequest, VerifySettings
from daemon.steering import forward
from daemon.steering.choose import run_choose
from daemon.steering.device import find_device
from daemon.steering.extract import run_extract
from daemon.steering.loading import load_model
from daemon.steering.text import encode_pairs
from daemon.steering.trees import make_batches
from daemon.steering.vector_file import load
from tests.far import FAR, FarDevice
from tests.steering.planted import make_pairs, planted, verify_request
from tests.tiny import save_tiny, tiny_loaded, tiny_tokenizer

PAIRS = make_pairs(10)


@pytest.fixture(autouse=True)
def one_kernel():
    """Attention by the one way that any device has: the CPU's own kernel rounds otherwise."""
    with sdpa_kernel(SDPBackend.MATH):
        yield


def extract_request(out, aggregator="mean_difference"):
    return ExtractRequest(model="unused", pairs=PAIRS, out=out, behaviour="planted", aggregator=aggregator)


def proof_request(vector):
    quick = VerifySettings(
        layers=(0.6,), multiples=(-1, 1), nulls_random=2, nulls_shuffled=2, bootstrap=50, generations=0, checks=False
    )
    return verify_request(vector, train=PAIRS[:4], settings=quick)


def choose_request():
    prompts = tuple(pair.prompt for pair in PAIRS[:3])
    return ChooseRequest(model="unused", prompts=prompts, choices=("abc", "xyz"))


def on_far(loaded):
    loaded.model.to(FAR)
    assert loaded.device == FAR
    return loaded


def without_seconds(report):
    return report.model_copy(update={"seconds": 0.0})


@pytest.mark.parametrize(
    "family", ["llama", pytest.param("gpt2", marks=pytest.mark.slow), pytest.param("gemma3", marks=pytest.mark.slow)]
)
def test_vectors_of_a_model_elsewhere_are_those_of_one_on_the_cpu(tmp_path, family):
    near = run_extract(tiny_loaded(family), extract_request(tmp_path / "near"), lambda _: None)
    with FarDevice():
        far = run_extract(on_far(tiny_loaded(family)), extract_request(tmp_path / "far"), lambda _: None)
    assert far.sha256 == near.sha256
    assert far.layers == near.layers
    assert (near.device, far.device) == ("cpu", str(FAR))
    assert load(tmp_path / "far").vectors.tobytes() == load(tmp_path / "near").vectors.tobytes()


@pytest.mark.slow
def test_a_proof_by_a_model_elsewhere_is_that_of_one_on_the_cpu(tmp_path):
    run_extract(planted(), extract_request(tmp_path / "v"), lambda _: None)
    request = proof_request(tmp_path / "v")
    near = run_verify(planted(), request, lambda _: None)
    with FarDevice():
        far = run_verify(on_far(planted()), request, lambda _: None)
    assert near.dose_curve
    assert without_seconds(far) == without_seconds(near)


def test_choices_of_a_model_elsewhere_are_those_of_one_on_the_cpu():
    near = run_choose(planted(), choose_request(), lambda _: None)
    with FarDevice():
        far = run_choose(on_far(planted()), choose_request(), lambda _: None)
    assert far.logprobs == near.logprobs


def test_every_tensor_that_a_decoder_is_given_is_where_the_model_is(tmp_path, monkeypatch):
    seen = []

    def spied(layout, batch):
        def note(_module, args, kwargs):
            seen.extend(each.device for each in (*args, *kwargs.values()) if isinstance(each, torch.Tensor))

        handle = layout.decoder.register_forward_pre_hook(note, with_kwargs=True)
        try:
            return real(layout, batch)
        finally:
            handle.remove()

    real = forward.decode
    for module in ("capture", "exactness", "sweep", "score"):
        monkeypatch.setattr(f"daemon.steering.{module}.decode", spied)
    with FarDevice():
        loaded = on_far(planted())
        run_extract(loaded, extract_request(tmp_path / "v"), lambda _: None)
        run_choose(loaded, choose_request(), lambda _: None)
    assert len(seen) > 9
    assert set(seen) == {FAR}


@pytest.mark.parametrize(("tries", "blocks"), [(False, False), (True, False), (True, True)])
def test_on_the_cpu_nothing_is_copied_and_in_bfloat16_only_masks_change(tries, blocks):
    items = encode_pairs(tiny_tokenizer(), PAIRS[:2])
    (batch,) = make_batches(items, tries=tries, blocks=blocks)
    assert batch.to(torch.device("cpu")) is batch
    coarse = batch.to(torch.device("cpu"), torch.bfloat16)
    assert coarse.input_ids is batch.input_ids
    masks = [coarse.attention_mask, *(block.mask for block in coarse.blocks)]
    assert {mask.dtype for mask in masks} == ({torch.bfloat16} if tries else {torch.int64})


def test_the_cpu_is_always_there():
    assert find_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize(
    ("seen", "name", "wanted"),
    [(0, "auto", "cpu"), (1, "auto", "cuda:0"), (2, "auto", "cuda:0"), (1, "cuda", "cuda:0"), (2, "cuda:1", "cuda:1")],
)
def test_auto_takes_the_first_gpu_that_torch_sees(monkeypatch, seen, name, wanted):
    gpus(monkeypatch, seen)
    assert str(find_device(name)) == wanted


@pytest.mark.parametrize(("seen", "name", "told"), [(0, "cuda", "no CUDA GPU "), (1, "cuda:1", "1 CUDA GPU ")])
def test_a_device_that_is_not_there_is_refused_with_what_to_do(monkeypatch, seen, name, told):
    gpus(monkeypatch, seen)
    with pytest.raises(UnavailableError, match=rf"^device {name}: torch \S+ sees {told}.*process\.device") as refused:
        find_device(name)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["", "gpu", "cuda:", "cuda:-1", "cuda:1x", "CPU", "mps"])
def test_a_name_of_no_device_is_refused(name):
    with pytest.raises(UsageError, match="no such device"):
        find_device(name)


def gpus(monkeypatch, seen):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: seen > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: seen)


def test_a_model_is_loaded_where_it_is_asked_to_be(tmp_path, monkeypatch):
    monkeypatch.setattr("daemon.steering.loading.find_device", {"elsewhere": FAR}.get)
    folder = save_tiny(tmp_path, n_layers=2)
    with FarDevice():
        loaded = load_model(folder, device="elsewhere")
    assert {each.device for each in (*loaded.model.parameters(), *loaded.model.buffers())} == {FAR}
    assert loaded.layout.dtype == torch.float32


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here")
def test_vectors_and_proof_on_a_gpu_are_those_on_the_cpu_but_for_rounding(tmp_path):
    folder = save_tiny(tmp_path / "model", model=planted().model)
    reports = {}
    for device in ("cpu", "cuda"):
        loaded = load_model(folder, device=device)
        run_extract(loaded, extract_request(tmp_path / device), lambda _: None)
        reports[device] = run_verify(loaded, proof_request(tmp_path / device), lambda _: None)
    near, far = (torch.from_numpy(load(tmp_path / device).vectors) for device in ("cpu", "cuda"))
    torch.testing.assert_close(far, near, atol=1e-4, rtol=1e-3)
    assert (reports["cuda"].verdict, reports["cuda"].layer) == (reports["cpu"].verdict, reports["cpu"].layer)
    assert reports["cuda"].effect == pytest.approx(reports["cpu"].effect, rel=1e-2)
