"""Hash memory of the tests' own, and models that several tests share (none of them changes one)."""

import functools

import pytest

from daemon.steering.loading import LoadedModel
from tests.steering.planted import planted
from tests.tiny import FAMILIES, tiny_loaded


@pytest.fixture(autouse=True)
def cache_of_the_test(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@functools.cache
def model_of(family: str) -> LoadedModel:
    return planted() if family == "planted" else tiny_loaded(family)


@pytest.fixture
def llama() -> LoadedModel:
    return model_of("llama")


@pytest.fixture(params=FAMILIES)
def loaded(request) -> LoadedModel:
    return model_of(request.param)


@pytest.fixture
def planted_model() -> LoadedModel:
    return model_of("planted")
