"""What was found out about a model once is not tried again by the next process."""

import orjson
import pytest

from daemon.steering import exactness, verdicts
from daemon.steering.exactness import Verdict, Way, verdict_of, way_of
from daemon.steering.text import encode
from daemon.steering.verdicts import NAME, keep, recall
from tests.tiny import tiny_loaded, tiny_tokenizer

ITEMS = [encode(tiny_tokenizer(), "Use tabs, please.", reply) for reply in ("Yes, at once", "No. Rather not", "Y")]


def tried(folder):
    """A folder that holds what was found out about one model, and the verdict."""
    layout = tiny_loaded("llama").layout
    assert way_of(layout, ITEMS) is Way.BLOCKS
    keep(layout, folder)
    return verdict_of(layout)


def test_another_process_takes_the_verdict(tmp_path, monkeypatch):
    verdict, layout = tried(tmp_path), tiny_loaded("llama").layout
    monkeypatch.setattr(exactness, "decode", lambda *_: pytest.fail("tried again"))
    recall(layout, tmp_path)
    assert verdict_of(layout) == verdict
    assert way_of(layout, ITEMS) is Way.BLOCKS


@pytest.mark.parametrize("other", [{"torch": "0.1"}, {"device": "cuda"}])
def test_a_verdict_made_with_another_library_or_device_does_not_count(tmp_path, other):
    tried(tmp_path)
    body = orjson.loads((tmp_path / NAME).read_bytes())
    (tmp_path / NAME).write_bytes(orjson.dumps(body | {"with": body["with"] | other}))
    layout = tiny_loaded("llama").layout
    recall(layout, tmp_path)
    assert verdict_of(layout).length == 0


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"way": "SIDEWAYS", "length": 1, "width": 1}', b'{"way": 1}'])
def test_a_file_that_says_nothing_sensible_counts_as_none(tmp_path, content):
    (tmp_path / NAME).write_bytes(content)
    layout = tiny_loaded("llama").layout
    recall(layout, tmp_path)
    assert verdict_of(layout).length == 0


def test_what_this_process_found_out_stands(tmp_path):
    tried(tmp_path)
    layout = tiny_loaded("llama").layout
    own = Verdict(Way.APART, 7, 9)
    exactness.remember_verdict(layout, own)
    recall(layout, tmp_path)
    assert verdict_of(layout) == own


def test_what_stands_there_already_is_not_written_again(tmp_path, monkeypatch):
    tried(tmp_path)
    layout = tiny_loaded("llama").layout
    recall(layout, tmp_path)
    monkeypatch.setattr(verdicts, "write_durably", lambda *_: pytest.fail("written again"))
    keep(layout, tmp_path)


def test_nothing_found_out_is_nothing_kept(tmp_path):
    keep(tiny_loaded("llama").layout, tmp_path)
    assert not (tmp_path / NAME).exists()
