"""How is load tested without waiting for it? An event loop in which time passes only when all wait.

For tests of executors, of schedules, and of users' own scenarios against a fake: five minutes of
load take as long as the computer needs for the work in them, and come out the same every time.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from pytest_certload.engine.clock import Alarm

__all__ = ["VirtualClock", "VirtualTimeLoop", "run_virtual"]

T = TypeVar("T")


class _Selector(selectors.DefaultSelector):
    """Looks at the real files without waiting; where a real one would wait, time jumps."""

    loop: VirtualTimeLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("deadlock in virtual time: everything waits and no timer is set")
        if not ready and timeout:
            self.loop.advance(max(1, round(timeout * 1e9)))
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An asyncio event loop on virtual time, which begins at 0."""

    def __init__(self) -> None:
        self.nanoseconds = 0
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)
        # Half a nanosecond: a timer fires at its own nanosecond and not one earlier.
        self._clock_resolution = 5e-10

    def time(self) -> float:
        """Virtual seconds."""
        return self.nanoseconds / 1e9

    def advance(self, nanoseconds: int) -> None:
        """Let time jump."""
        self.nanoseconds += nanoseconds


class VirtualClock:
    """The engine's clock on a ``VirtualTimeLoop``; make it inside the running loop."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        self._loop = loop

    def now(self) -> int:
        """Virtual nanoseconds."""
        return self._loop.nanoseconds

    def alarm(self, ring: Callable[[], None]) -> Alarm:
        """See ``Clock.alarm``."""
        return _VirtualAlarm(self._loop, ring)


class _VirtualAlarm:
    def __init__(self, loop: VirtualTimeLoop, ring: Callable[[], None]) -> None:
        self._loop = loop
        self._ring = ring
        self._handle: asyncio.TimerHandle | None = None

    def set(self, when: int) -> None:
        self.cancel()
        self._handle = self._loop.call_at(when / 1e9, self._ring)

    def cancel(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def close(self) -> None:
        self.cancel()


def run_virtual(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(coroutine)
