"""A change wakes the look early; everything else is left to polling."""

import threading

import pytest

from daemon.hints import Hints, watched


@pytest.fixture
def listening():
    """Starts hints over some paths and gives the event that a wake sets."""
    started = []

    def start(*paths):
        woken = threading.Event()
        hints = Hints(lambda: paths, woken.set)
        started.append(hints)
        hints.start()
        return woken

    yield start
    for hints in started:
        hints.stop()


def wakes(woken, change):
    """Whether `change`, made again every second (the threads may not listen yet), wakes within half a minute."""
    for _ in range(30):
        change()
        if woken.wait(1):
            woken.clear()
            return True
    return False


def test_a_change_deep_in_a_folder_wakes(tmp_path, listening):
    (tmp_path / "projects" / "one").mkdir(parents=True)
    log = tmp_path / "projects" / "one" / "session.jsonl"
    assert wakes(listening(tmp_path / "projects"), lambda: log.write_text("{}\n"))


def test_a_file_that_is_replaced_wakes_and_its_neighbour_does_not(tmp_path, listening):
    memory, neighbour = tmp_path / "memory.json", tmp_path / "photo.jpg"
    memory.write_text("{}")

    def replace():
        (tmp_path / "new").write_text("{}")
        (tmp_path / "new").replace(memory)

    woken = listening(memory)
    assert wakes(woken, replace)
    assert wakes(woken, replace)  # now of another inode than the one that was there first
    woken.wait(3)
    woken.clear()
    neighbour.write_text("x")
    assert not woken.wait(3)


def test_what_is_not_there_yet_is_left_to_polling(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    paths = [tmp_path / "folder", tmp_path / "file", tmp_path / "gone" / "file"]
    assert watched(paths, folders=True) == {tmp_path / "folder": frozenset()}
    assert watched(paths, folders=False) == {tmp_path: frozenset({tmp_path / "file"})}
