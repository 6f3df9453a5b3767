"""The embedded real model, for tests that measure effects."""

import os
from pathlib import Path

import pytest

from daemon.steering.loading import LoadedModel, load_model


def embedded_model() -> LoadedModel:
    """From the folder that the environment names; without one the test is skipped."""
    folder = os.environ.get("REFLEXD_TEST_MODEL")
    if not folder:
        pytest.skip("REFLEXD_TEST_MODEL does not name the folder of the embedded model; scripts/test provides it")
    return load_model(Path(folder))
