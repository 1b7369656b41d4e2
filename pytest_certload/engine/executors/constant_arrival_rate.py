"""How is a constant arrival rate offered? The open model: arrivals do not wait for answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pytest_certload.engine import schedule
from pytest_certload.engine.dispatcher import Dispatcher
from pytest_certload.units import Duration, Rate, parse_duration, parse_rate

from . import Drive, Load, check_slots, check_window

__all__ = ["ConstantArrivalRate"]


@dataclass(frozen=True, kw_only=True, init=False)
class ConstantArrivalRate:
    """Iterations evenly spaced in time, whether or not earlier ones are answered.

    Args:
        rate: ``167``, ``"167/s"``, ``"100/min"``.
        duration: Measured window: ``"5m"``, ``300`` (seconds), ``minutes(5)``.
        max_in_flight: Most iterations at once; later ones wait in the backlog, and their
            response time counts from their due time.
        warm_up: Load before the measured window, left out of the results.

    Raises:
        ConfigurationError: A value that is not one, or a window in which nothing becomes due.
    """

    rate: Rate
    duration: Duration
    max_in_flight: int
    warm_up: Duration

    def __init__(
        self,
        *,
        rate: object,
        duration: object,
        max_in_flight: int = 100,
        warm_up: object = 0,
    ) -> None:
        object.__setattr__(self, "rate", parse_rate(rate))
        object.__setattr__(self, "duration", parse_duration(duration))
        object.__setattr__(self, "max_in_flight", check_slots(max_in_flight, "max_in_flight"))
        object.__setattr__(self, "warm_up", parse_duration(warm_up, name="warm_up"))
        check_window(self.duration)

    @property
    def kind(self) -> str:
        """See ``Executor.kind``."""
        return "constant_arrival_rate"

    @property
    def slots(self) -> int:
        """See ``Executor.slots``."""
        return self.max_in_flight

    @property
    def iterations(self) -> int:
        """How many iterations become due in the measured window."""
        return schedule.count_due(self.rate, self.duration)

    @property
    def parameters(self) -> Mapping[str, str | int | float]:
        """See ``Executor.parameters``."""
        return {
            "rate": str(self.rate),
            "duration_seconds": self.duration.total_seconds,
            "max_in_flight": self.max_in_flight,
            "warm_up_seconds": self.warm_up.total_seconds,
        }

    def begin(self, drive: Drive) -> Load:
        """See ``Executor.begin``."""
        whole = Duration(self.warm_up + self.duration)
        return _ArrivalLoad(drive, schedule.constant(self.rate, whole) + drive.begin, self.slots)


class _ArrivalLoad:
    """A ``Load`` made by the dispatcher."""

    def __init__(self, drive: Drive, due: npt.NDArray[np.int64], slots: int) -> None:
        self._drive = drive
        self._due = due
        self._dispatcher = Dispatcher(due=due, slots=slots, launch=self._launch, clock=drive.clock)
        self._dispatcher.pump()

    def _launch(self, index: int, due: int) -> None:
        self._drive.spawn(self._drive.run(index, due), self._dispatcher.completed)

    @property
    def offered(self) -> int:
        return self._dispatcher.arrived

    @property
    def started(self) -> int:
        return self._dispatcher.started

    @property
    def in_flight(self) -> int:
        return self._dispatcher.in_flight

    @property
    def in_flight_peak(self) -> int:
        return self._dispatcher.in_flight_peak

    @property
    def backlog_peak(self) -> int:
        return self._dispatcher.backlog_peak

    async def wait(self) -> None:
        await self._dispatcher.finished.wait()

    def stop(self) -> None:
        self._dispatcher.stop()

    def not_started(self) -> npt.NDArray[np.int64]:
        return self._due[self._dispatcher.started : self._dispatcher.arrived]
