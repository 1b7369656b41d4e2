"""Which iteration starts now? The one open loop: arrivals by the clock, a bounded number at once.

PYTEST_DONT_REWRITE: this is the hot path.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt

from .clock import Clock

__all__ = ["Dispatcher", "Launch"]


class Launch(Protocol):
    """Starts an iteration; must lead to one ``completed(slot)`` call."""

    def __call__(self, index: int, due: int, slot: int, queued: bool, /) -> None:
        """Start iteration ``index`` in a slot; ``queued`` says that it had to wait for one."""


#: A completion is seen a turn or two of the event loop after what it waited for; before an arrival is
#: refused, completions of the same instant have these many turns to free its slot.
_TURNS_BEFORE_DROP = 2


class Dispatcher:
    """Starts iterations in order as they become due and a slot is free.

    Late arrivals wait in a backlog, or are dropped. As they are started in order, the backlog is two
    numbers (how many arrived, how many are settled) and needs no memory of its own. A completion at
    instant *t* frees its slot before an arrival at *t* is looked at.

    Args:
        due: Absolute due times, int64 nanoseconds of ``clock``, ascending.
        slots: Most iterations in flight at once.
        launch: Starts an iteration.
        drop: Told ``(index, due)`` of an arrival that finds no slot; None lets it wait instead.
        clock: Tells the time and wakes the dispatcher.

    Attributes:
        finished: Set when every arrival is settled and none is in flight.
        arrived, started, dropped, in_flight: Counts so far.
        backlog_peak, in_flight_peak: The highest they were.
    """

    def __init__(
        self,
        *,
        due: npt.NDArray[np.int64],
        slots: int,
        launch: Launch,
        clock: Clock,
        drop: Callable[[int, int], None] | None = None,
    ) -> None:
        self._due = np.ascontiguousarray(due).data
        self._total = len(due)
        self._free = list(range(slots - 1, -1, -1))
        self._launch = launch
        self._drop = drop
        self._now = clock.now
        self._alarm = clock.alarm(self._ring)
        self._alarm_for = -1
        self._pumping = False
        self._dropping = False
        self._stopped = False
        self._settled = 0  # started or dropped: what comes next has this index
        self.finished = asyncio.Event()
        self.arrived = 0
        self.started = 0
        self.dropped = 0
        self.in_flight = 0
        self.backlog_peak = 0
        self.in_flight_peak = 0

    @property
    def backlog(self) -> int:
        """Iterations that are due and wait for a slot."""
        return self.arrived - self._settled

    @property
    def settled(self) -> int:
        """Iterations that were started or dropped: the first of all, as they come in order."""
        return self._settled

    def pump(self) -> None:
        """Take in what is due, start what fits, and set the next wake-up."""
        if self._stopped or self._pumping:
            return
        # An iteration that is over at once comes back here before its launch has returned.
        self._pumping = True
        due, total, free, launch = self._due, self._total, self._free, self._launch
        now = self._now()
        waiting = arrived = self.arrived
        while arrived < total and due[arrived] <= now:
            arrived += 1
        self.arrived = arrived
        while free and self._settled < arrived:
            index = self._settled
            self._settled = index + 1
            self.started += 1
            self.in_flight += 1
            if self.in_flight > self.in_flight_peak:
                self.in_flight_peak = self.in_flight
            launch(index, due[index], free.pop(), index < waiting)
        self._pumping = False
        backlog = arrived - self._settled
        if backlog:
            if self._drop is not None:
                self._drop_soon(arrived)
            elif backlog > self.backlog_peak:
                self.backlog_peak = backlog
        if arrived < total:
            if self._alarm_for != arrived:
                self._alarm_for = arrived
                self._alarm.set(due[arrived])
        elif self._settled == total and not self.in_flight:
            self.finished.set()

    def completed(self, slot: int) -> None:
        """An iteration is over: its slot is free."""
        self.in_flight -= 1
        self._free.append(slot)
        self.pump()

    def stop(self) -> None:
        """Start nothing any more."""
        self._stopped = True
        self._alarm.close()

    def _ring(self) -> None:
        self._alarm_for = -1
        self.pump()

    def _drop_soon(self, arrived: int) -> None:
        if not self._dropping:
            self._dropping = True
            self._after_turns(_TURNS_BEFORE_DROP, arrived)

    def _after_turns(self, turns: int, arrived: int) -> None:
        if turns:
            asyncio.get_running_loop().call_soon(self._after_turns, turns - 1, arrived)
            return
        self._dropping = False
        while self._settled < arrived and not self._stopped:
            index = self._settled
            self._settled = index + 1
            self.dropped += 1
            self._drop(index, self._due[index])  # type: ignore[misc]  # None never gets here
        self.pump()
