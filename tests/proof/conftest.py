"""The tiny models of the steering tests, and their hash memory."""

from tests.steering.conftest import cache_of_the_test, llama, planted_model

__all__ = ["cache_of_the_test", "llama", "planted_model"]
