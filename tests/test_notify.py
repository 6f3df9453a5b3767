"""systemd hears what it is told, and nothing at all happens where it is not there."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon import notify


@pytest.fixture(params=["path", "abstract"])
def listener(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[socket.socket]:
    address = str(tmp_path / "notify") if request.param == "path" else f"@reflexd-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.settimeout(2)
        heard.bind(address.replace("@", "\0", 1) if address.startswith("@") else address)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        yield heard


def test_systemd_hears_each_message_whole(listener: socket.socket) -> None:
    assert notify.send("READY=1\nSTATUS=looking")
    assert listener.recv(4096) == b"READY=1\nSTATUS=looking"


def test_without_systemd_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert notify.send("READY=1") is False


def test_a_listener_that_is_gone_is_no_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    assert notify.send("WATCHDOG=1") is False
    monkeypatch.setenv("NOTIFY_SOCKET", "vsock:2:1")
    assert notify.send("WATCHDOG=1") is False


@pytest.mark.parametrize(
    ("microseconds", "process", "seconds"),
    [
        ("180000000", None, 90.0),
        ("180000000", "me", 90.0),
        ("180000000", "1", None),
        ("0", None, None),
        ("x", None, None),
    ],
)
def test_the_watchdog_is_fed_at_half_of_its_patience(
    monkeypatch: pytest.MonkeyPatch, microseconds: str, process: str | None, seconds: float | None
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", microseconds)
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    if process:
        monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()) if process == "me" else process)
    assert notify.watchdog_interval() == seconds


def test_without_a_watchdog_there_is_no_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    assert notify.watchdog_interval() is None


def _logged(journal: bool) -> list[str]:
    program = (
        "import logging, structlog; from daemon.logs import configure_logs; configure_logs();"
        "structlog.get_logger().info('vector trained', vector='listening@3', attempt=1);"
        "logging.getLogger('library').warning('odd %s', 'thing'); structlog.get_logger().debug('unseen')"
    )
    environment = {key: value for key, value in os.environ.items() if key != "JOURNAL_STREAM"}
    if journal:
        environment["JOURNAL_STREAM"] = "8:1"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_the_journal_gets_json_lines_with_their_priority() -> None:
    ours, theirs = _logged(journal=True)
    assert ours.startswith("<6>")
    assert theirs.startswith("<4>")
    line = json.loads(ours[3:])
    assert {key: line[key] for key in ("event", "vector", "attempt", "level")} == {
        "event": "vector trained",
        "vector": "listening@3",
        "attempt": 1,
        "level": "info",
    }
    assert json.loads(theirs[3:])["event"] == "odd thing"


def test_a_terminal_gets_keys_and_values() -> None:
    ours, theirs = _logged(journal=False)
    assert "level='info' event='vector trained' vector='listening@3' attempt=1" in ours
    assert "event='odd thing'" in theirs
