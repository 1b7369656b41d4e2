"""What time is it, and who wakes us? Everything below the face asks a ``Clock``."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from typing import Protocol

__all__ = ["Alarm", "Clock", "SystemClock"]


class Alarm(Protocol):
    """Wakes its owner, one time for each ``set``."""

    def set(self, when: int) -> None:
        """Ring once ``when`` is reached, never earlier; replaces what was set before."""

    def cancel(self) -> None:
        """Do not ring."""

    def close(self) -> None:
        """Do not ring any more, and let go of what the alarm holds."""


class Clock(Protocol):
    """Whole nanoseconds that never go back, and alarms on the same scale."""

    def now(self) -> int:
        """The present, nanoseconds since an arbitrary origin."""

    def alarm(self, ring: Callable[[], None]) -> Alarm:
        """A new alarm that calls ``ring`` from the running event loop."""


class SystemClock:
    """The machine's monotonic clock.

    Alarms are as exact as the platform allows: on Linux a timer of the kernel with a resolution of
    nanoseconds (timerfd), elsewhere the event loop's own. How late one rings is measured, not hidden.
    """

    #: The function itself: one call fewer for every time that is read.
    now = staticmethod(time.monotonic_ns)

    def alarm(self, ring: Callable[[], None]) -> Alarm:
        """See ``Clock.alarm``."""
        loop = asyncio.get_running_loop()
        if sys.platform != "linux":
            return _LoopAlarm(loop, ring)
        from .timerfd import TimerfdAlarm

        return TimerfdAlarm(loop, ring)


class _LoopAlarm:
    """An alarm made of the event loop's timers: a grain of about 1 ms."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        self._loop = loop
        self._ring = ring
        self._handle: asyncio.TimerHandle | None = None
        self._when = 0

    def set(self, when: int) -> None:
        self.cancel()
        self._when = when
        delay = max(0, when - time.monotonic_ns()) / 1e9
        self._handle = self._loop.call_later(delay, self._due)

    def cancel(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def close(self) -> None:
        self.cancel()

    def _due(self) -> None:
        self._handle = None
        if time.monotonic_ns() < self._when:
            # An event loop counts a timer as due up to its clock's grain too early.
            self.set(self._when)
        else:
            self._ring()
