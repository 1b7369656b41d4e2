"""Which iteration starts now? The one open loop: arrivals by the clock, a bounded number at once.

PYTEST_DONT_REWRITE: this is the hot path.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from .clock import Clock, Timer

__all__ = ["Dispatcher"]


class Dispatcher:
    """Starts iterations in order as they become due and a slot is free.

    Late arrivals wait in a backlog. As they are started in order, the backlog is two numbers
    (how many arrived, how many started) and needs no memory of its own. A completion at
    instant *t* frees its slot before an arrival at *t* is looked at.

    Args:
        due: Absolute due times, int64 nanoseconds of ``clock``, ascending.
        slots: Most iterations in flight at once.
        launch: Starts iteration ``(index, due)``; must lead to one ``completed()`` call later.
        clock: Tells the time and wakes the dispatcher.
    """

    def __init__(
        self,
        *,
        due: npt.NDArray[np.int64],
        slots: int,
        launch: Callable[[int, int], None],
        clock: Clock,
    ) -> None:
        self._due = np.ascontiguousarray(due).data
        self._total = len(due)
        self._slots = slots
        self._launch = launch
        self._clock = clock
        self._timer: Timer | None = None
        self._stopped = False
        self.finished = asyncio.Event()
        self.arrived = 0
        self.started = 0
        self.in_flight = 0
        self.backlog_peak = 0
        self.in_flight_peak = 0

    @property
    def backlog(self) -> int:
        """Iterations that are due and wait for a slot."""
        return self.arrived - self.started

    def pump(self) -> None:
        """Take in what is due, start what fits, and set the next wake-up."""
        if self._stopped:
            return
        now = self._clock.now()
        due, total = self._due, self._total
        arrived = self.arrived
        while arrived < total and due[arrived] <= now:
            arrived += 1
        self.arrived = arrived
        while self.started < arrived and self.in_flight < self._slots:
            index = self.started
            self.started = index + 1
            self.in_flight += 1
            self._launch(index, due[index])
        if self.in_flight > self.in_flight_peak:
            self.in_flight_peak = self.in_flight
        if arrived - self.started > self.backlog_peak:
            self.backlog_peak = arrived - self.started
        if arrived < total:
            if self._timer is None:
                self._timer = self._clock.call_at(due[arrived], self._wake)
        elif self.started == total and self.in_flight == 0:
            self.finished.set()

    def completed(self) -> None:
        """An iteration is over: its slot is free."""
        self.in_flight -= 1
        self.pump()

    def stop(self) -> None:
        """Start nothing any more."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wake(self) -> None:
        self._timer = None
        self.pump()
