"""When is a request overdue? One timer for all requests of a client that have the same timeout.

PYTEST_DONT_REWRITE: this is the hot path.
"""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

__all__ = ["Deadlines", "Overdue"]


class Overdue(Protocol):
    """What can be overdue."""

    def expire(self) -> None:
        """Called once, when the deadline has passed; must not raise."""


class Deadlines:
    """Expires what takes longer than a timeout.

    With one timeout for all, deadlines pass in the order in which they were set. So it is enough
    to watch the first, and a request costs an entry in a dict, not a timer of the event loop.

    Args:
        loop: The event loop.
        timeout: Nanoseconds that each may take; 0 for no limit.
    """

    __slots__ = ("_entries", "_loop", "_timeout", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, timeout: int) -> None:
        self._loop = loop
        self._timeout = timeout
        self._entries: dict[Overdue, int] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def timeout(self) -> int:
        """Nanoseconds that each may take; 0 for no limit."""
        return self._timeout

    def begin(self, entry: Overdue, now: int) -> int:
        """Watch ``entry`` from ``now`` on (``time.monotonic_ns()``).

        One that is begun again with the instant of its first begin is noticed when those before it
        are, which is later by no more than the time in between.

        Returns:
            Its deadline on the same clock; 0 when there is none.
        """
        if not self._timeout:
            return 0
        deadline = self._entries[entry] = now + self._timeout
        if self._timer is None:
            self._timer = self._loop.call_later(self._timeout / 1e9, self._sweep)
        return deadline

    def end(self, entry: Overdue) -> None:
        """Forget ``entry``: it is over. Nothing happens when it is not watched."""
        self._entries.pop(entry, None)

    def close(self) -> None:
        """Forget all of them."""
        self._entries.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _sweep(self) -> None:
        self._timer = None
        now = time.monotonic_ns()
        for entry, deadline in list(self._entries.items()):
            if deadline > now:
                break
            # One that is expired may have ended others.
            if self._entries.pop(entry, None) is not None:
                entry.expire()
        first = next(iter(self._entries.values()), None)
        if first is not None and self._timer is None:
            self._timer = self._loop.call_later(max(0, first - now) / 1e9, self._sweep)
