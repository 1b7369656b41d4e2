"""How is a constant number of VUs kept busy? The closed model: a VU asks again once it is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pytest_certload.units import Duration, parse_duration

from . import Drive, Load, check_slots, check_window

__all__ = ["ConstantVUs"]


@dataclass(frozen=True, kw_only=True, init=False)
class ConstantVUs:
    """A fixed number of VUs, each running iterations one after the other without pause.

    The load follows the server's speed: a slow server is asked less often. Use an arrival rate
    to say how much is offered; use VUs to say how many are there.

    Args:
        vus: How many.
        duration: Measured window; no iteration starts after it.
        warm_up: Load before the measured window, left out of the results.

    Raises:
        ConfigurationError: A value that is not one.
    """

    vus: int
    duration: Duration
    warm_up: Duration

    def __init__(self, *, vus: int, duration: object, warm_up: object = 0) -> None:
        object.__setattr__(self, "vus", check_slots(vus, "vus"))
        object.__setattr__(self, "duration", parse_duration(duration))
        object.__setattr__(self, "warm_up", parse_duration(warm_up, name="warm_up"))
        check_window(self.duration)

    @property
    def kind(self) -> str:
        """See ``Executor.kind``."""
        return "constant_vus"

    @property
    def slots(self) -> int:
        """See ``Executor.slots``."""
        return self.vus

    @property
    def parameters(self) -> Mapping[str, str | int | float]:
        """See ``Executor.parameters``."""
        return {
            "vus": self.vus,
            "duration_seconds": self.duration.total_seconds,
            "warm_up_seconds": self.warm_up.total_seconds,
        }

    def begin(self, drive: Drive) -> Load:
        """See ``Executor.begin``."""
        return _VuLoad(drive, self)


class _VuLoad:
    """A ``Load`` made by VUs."""

    def __init__(self, drive: Drive, executor: ConstantVUs) -> None:
        self._drive = drive
        self._end = drive.begin + executor.warm_up + executor.duration
        self._running = executor.vus
        self._stopped = False
        self._finished = asyncio.Event()
        self.started = 0
        self.in_flight = 0
        self.in_flight_peak = 0
        for _ in range(executor.vus):
            drive.spawn(self._vu(), self._vu_over)

    async def _vu(self) -> None:
        clock, run = self._drive.clock, self._drive.run
        while not self._stopped and (now := clock.now()) < self._end:
            index = self.started
            self.started = index + 1
            self.in_flight += 1
            self.in_flight_peak = max(self.in_flight_peak, self.in_flight)
            try:
                await run(index, now)
            finally:
                self.in_flight -= 1
            # An iteration that never waits must not keep the other VUs from running.
            await asyncio.sleep(0)

    def _vu_over(self) -> None:
        self._running -= 1
        if self._running == 0:
            self._finished.set()

    @property
    def offered(self) -> int:
        """In the closed model what is started is what is offered."""
        return self.started

    @property
    def backlog_peak(self) -> int:
        """In the closed model nothing waits for a slot."""
        return 0

    async def wait(self) -> None:
        await self._finished.wait()

    def stop(self) -> None:
        self._stopped = True

    def not_started(self) -> npt.NDArray[np.int64]:
        return np.empty(0, np.int64)
