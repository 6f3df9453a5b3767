"""Records of finished steps: durable, adopted by a later attempt, refused when torn, foreign or not plain."""

import errno
import os
from pathlib import Path

import pytest
import torch

from daemon.errors import FullError
from daemon.training.checkpoint import Ledger


def ledger(attempt: Path, inputs: str = "one", told: list[int] | None = None) -> Ledger:
    return Ledger(attempt, inputs, (told if told is not None else []).append)


def never() -> None:
    raise AssertionError("computed again")


def test_a_finished_step_is_not_computed_again(tmp_path: Path) -> None:
    value = {"u": torch.arange(3.0), "scale": 1.4, "names": ["a"], "n": {14: 2.0}}
    ledger(tmp_path).recall("gate", lambda: value)
    found = ledger(tmp_path).recall("gate", never)
    assert torch.equal(found["u"], value["u"])  # type: ignore[arg-type]
    assert (found["scale"], found["names"], found["n"]) == (1.4, ["a"], {14: 2.0})


def test_milestones_grow_over_attempts(tmp_path: Path) -> None:
    told: list[int] = []
    first = ledger(tmp_path / "1", told=told)
    first.recall("base", lambda: 1)
    first.recall("teacher", lambda: 2)
    second = ledger(tmp_path / "2", told=told)
    assert "went on after milestone 2" in second.adopt(tmp_path / "1")
    second.recall("base", never)
    second.recall("rank1", lambda: 3)
    assert told == [1, 2, 2, 3]


def test_of_a_running_loop_the_last_two_are_kept_and_go_when_it_is_done(tmp_path: Path) -> None:
    own = ledger(tmp_path)
    for step in (4, 8, 12):
        own.save_step("trained", step, step)
    names = sorted(path.name for path in own.folder.iterdir())
    assert names == ["trained-000008.pt", "trained-000012.pt"]
    assert own.last_step("trained") == 12
    own.recall("trained", lambda: "done", replacing="trained")
    assert [path.name for path in own.folder.iterdir()] == ["trained.pt"]


def test_records_of_other_inputs_are_no_records(tmp_path: Path) -> None:
    ledger(tmp_path / "1").recall("base", lambda: 1)
    other = ledger(tmp_path / "2", inputs="two")
    assert "started from the beginning" in other.adopt(tmp_path / "1")
    assert other.recall("base", lambda: 2) == 2


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_torn_record_is_no_record_and_the_one_before_it_counts(tmp_path: Path, damage: str) -> None:
    own = ledger(tmp_path)
    own.save_step("trained", 4, torch.arange(1000.0))
    own.save_step("trained", 8, torch.ones(1000))
    path = own.folder / "trained-000008.pt"
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle] ^= 0xFF
    path.write_bytes({"cut": content[:middle], "flipped": content, "empty": b""}[damage])
    assert torch.equal(ledger(tmp_path).last_step("trained"), torch.arange(1000.0))


class Surprise:
    """Something that a pickle could run."""


def test_a_record_that_is_not_plain_is_never_unpickled(tmp_path: Path) -> None:
    own = ledger(tmp_path)
    own.save("base", 1)
    torch.save({"inputs": "one", "milestone": 1, "value": Surprise()}, own.folder / "base.pt")
    assert ledger(tmp_path).recall("base", lambda: 2) == 2


@pytest.mark.parametrize("call", ["replace", "fsync"])
def test_a_full_disk_is_one_line_and_the_old_record_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    told: list[int] = []
    own = ledger(tmp_path, told=told)
    own.save("base", 1)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path if call == "replace" else os, call, full)
        with pytest.raises(FullError, match=r"base\.pt: cannot be written: No space left on device; make room"):
            own.save("base", 2)
    assert told == [1]
    assert [path.name for path in own.folder.iterdir()] == ["base.pt"]
    assert ledger(tmp_path).recall("base", never) == 1


def test_an_adopted_record_survives_the_end_of_the_earlier_folder(tmp_path: Path) -> None:
    ledger(tmp_path / "1").save("base", 7)
    second = ledger(tmp_path / "2")
    second.adopt(tmp_path / "1")
    (tmp_path / "1" / "checkpoint" / "base.pt").unlink()
    assert second.recall("base", never) == 7
