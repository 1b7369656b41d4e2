"""What time is it, and who wakes us? Everything below the face asks a ``Clock``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

__all__ = ["Clock", "SystemClock", "Timer"]


class Timer(Protocol):
    """A pending wake-up."""

    def cancel(self) -> None:
        """Forget the wake-up."""


class Clock(Protocol):
    """Whole nanoseconds that never go back, and wake-ups on the same scale."""

    def now(self) -> int:
        """The present, nanoseconds since an arbitrary origin."""

    def call_at(self, when: int, callback: Callable[[], None]) -> Timer:
        """Call ``callback`` from the event loop once ``when`` is reached, never earlier."""


class SystemClock:
    """The machine's monotonic clock and the running event loop's timers.

    A wake-up is at most as exact as the loop's timers (1 ms for asyncio on Linux); it is measured
    as lateness and never hidden.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    def now(self) -> int:
        """See ``Clock.now``."""
        return time.monotonic_ns()

    def call_at(self, when: int, callback: Callable[[], None]) -> Timer:
        """See ``Clock.call_at``."""
        return self._loop.call_later(max(0, when - time.monotonic_ns()) / 1e9, callback)
