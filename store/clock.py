"""The one clock: wall time as UTC integer milliseconds, and monotonic seconds. Injected wherever time matters."""

import time
from dataclasses import dataclass
from typing import Protocol


class Clock(Protocol):
    """What the rest of the program may ask about time."""

    def wall_ms(self) -> int:
        """UTC, milliseconds since 1970."""

    def monotonic(self) -> float:
        """Seconds that never go back; their zero means nothing."""


class SystemClock:
    """The machine's own clock."""

    def wall_ms(self) -> int:
        """UTC, milliseconds since 1970."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()


@dataclass
class ManualClock:
    """A clock that moves when told to, for tests and replays."""

    now_ms: int = 1_700_000_000_000

    def wall_ms(self) -> int:
        """The time it was set to."""
        return self.now_ms

    def monotonic(self) -> float:
        """The same, in seconds."""
        return self.now_ms / 1000

    def advance(self, milliseconds: int) -> None:
        """Move forward."""
        self.now_ms += milliseconds
