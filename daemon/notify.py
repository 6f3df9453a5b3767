"""Telling systemd how the daemon is: sd_notify(3) over a unix datagram. Without systemd every call does nothing.

Say READY=1 only after migrations and a first look into the store, and WATCHDOG=1 only while every tick is younger than
its deadline: a thread that only pings proves nothing.
"""

import os
import socket


def send(state: str) -> bool:
    """Send lines such as `READY=1` or `STATUS=looking`; whether somebody was there to hear them. Never raises."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.settimeout(1.0)  # a full queue must not hold up the daemon
            channel.connect("\0" + address[1:] if address[0] == "@" else address)  # "@" marks the abstract namespace
            channel.sendall(state.encode())
    except OSError:
        return False
    return True


def watchdog_interval() -> float | None:
    """How often WATCHDOG=1 is due, in seconds: half of what systemd allows. None when nobody watches this process."""
    allowed, watched = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", str(os.getpid()))
    if not allowed.isdecimal() or int(allowed) == 0 or watched != str(os.getpid()):
        return None
    return int(allowed) / 2_000_000
