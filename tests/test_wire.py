"""The line between the two processes carries what JSON has no word for."""

import math

import orjson
from hypothesis import given
from hypothesis import strategies as st

from daemon.protocol import SideEffects
from daemon.protocol.wire import from_line, to_line

TEXT = st.text(st.characters(codec=None), max_size=20)  # lone surrogates too: names of files may have them
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(TEXT, VALUES, max_size=4))
def test_a_message_is_one_line_and_comes_back_whole(message):
    line = to_line(message)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert from_line(line) == message


def test_a_measurement_without_a_number_arrives_as_one():
    """orjson would make it null, which no report takes: the measurement would be lost, and made again for ever."""
    nothing = float("nan")
    told = SideEffects(
        kl_mean=nothing, kl_p95=nothing, kl_rmse=math.inf, perplexity=math.inf, perplexity_base=2.0, n_positions=9
    )
    body = from_line(to_line({"report": told.model_dump(mode="json")}))["report"]
    back = SideEffects.model_validate(body)
    assert math.isnan(back.kl_p95)
    assert back.perplexity == math.inf
    assert orjson.loads(orjson.dumps(told.model_dump(mode="json")))["kl_p95"] is None
