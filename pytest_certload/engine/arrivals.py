"""How is an open load made? What all executors with a schedule of arrivals have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt

from pytest_certload.errors import ConfigurationError
from pytest_certload.units import Duration, Rate, parse_duration, parse_rate

from . import schedule
from .dispatcher import Dispatcher
from .executors import Drive, Load, check_slots, check_window

__all__ = ["ArrivalExecutor", "RatedArrivals", "WhenFull"]

#: What becomes of an arrival that finds all slots taken.
WhenFull = Literal["queue", "drop"]


class ArrivalExecutor(ABC):
    """An executor whose iterations are due by a schedule, whether or not earlier ones are answered.

    A subclass has a ``duration`` and says what is ``due``.

    Args:
        max_in_flight: Most iterations at once.
        when_full: ``queue``: an arrival that finds no slot waits in the backlog, and its response
            time counts from its due time. ``drop``: it is dropped, as k6 does; dropped iterations
            fail the run.
        warm_up: Load before the measured window, left out of the results.

    Raises:
        ConfigurationError: A value that is not one.
    """

    kind: ClassVar[str]
    scheduled: ClassVar[bool] = True
    ends_early: ClassVar[bool] = False

    duration: Duration
    max_in_flight: int
    when_full: WhenFull
    warm_up: Duration

    def _set_common(self, *, max_in_flight: object, when_full: object, warm_up: object) -> None:
        if when_full not in ("queue", "drop"):
            raise ConfigurationError(
                f"when_full: {when_full!r} is neither 'queue' (late arrivals wait) nor 'drop'"
            )
        object.__setattr__(self, "max_in_flight", check_slots(max_in_flight, "max_in_flight"))
        object.__setattr__(self, "when_full", when_full)
        object.__setattr__(self, "warm_up", parse_duration(warm_up, name="warm_up"))

    @property
    def slots(self) -> int:
        """See ``Executor.slots``."""
        return self.max_in_flight

    @property
    def planned(self) -> int:
        """See ``Executor.planned``."""
        return len(self.due(0))

    @property
    def _common_parameters(self) -> dict[str, str | int | float]:
        return {
            "duration_seconds": self.duration.total_seconds,
            "max_in_flight": self.max_in_flight,
            "when_full": self.when_full,
            "warm_up_seconds": self.warm_up.total_seconds,
        }

    @abstractmethod
    def due(self, seed: int) -> npt.NDArray[np.int64]:
        """Due times of warm-up and window: int64 nanoseconds from the begin, ascending.

        Args:
            seed: For a schedule that is drawn.
        """

    def begin(self, drive: Drive) -> Load:
        """See ``Executor.begin``."""
        return _ArrivalLoad(drive, self.due(drive.seed) + drive.begin, self)


@dataclass(frozen=True, kw_only=True, init=False)
class RatedArrivals(ArrivalExecutor):
    """An executor with one rate for all of its duration.

    Args:
        rate: Iterations per second: ``167``, ``"167/s"``, ``"100/min"``.
        duration: Measured window: ``"5m"``, ``300`` (seconds), ``minutes(5)``.
        max_in_flight, when_full, warm_up: As for ``ArrivalExecutor``.

    Raises:
        ConfigurationError: A value that is not one, or a window in which nothing becomes due.
    """

    rate: Rate
    duration: Duration
    max_in_flight: int
    when_full: WhenFull
    warm_up: Duration

    def __init__(
        self,
        *,
        rate: object,
        duration: object,
        max_in_flight: int = 100,
        when_full: WhenFull = "queue",
        warm_up: object = 0,
    ) -> None:
        object.__setattr__(self, "rate", parse_rate(rate))
        object.__setattr__(self, "duration", parse_duration(duration))
        self._set_common(max_in_flight=max_in_flight, when_full=when_full, warm_up=warm_up)
        check_window(self.duration)

    @property
    def iterations(self) -> int:
        """How many iterations become due in the measured window; on average, where they are drawn."""
        return schedule.count_due(self.rate, self.duration)

    @property
    def planned(self) -> int:
        """See ``Executor.planned``."""
        return schedule.count_due(self.rate, Duration(self.warm_up + self.duration))

    @property
    def parameters(self) -> Mapping[str, str | int | float]:
        """See ``Executor.parameters``."""
        return {"rate": str(self.rate), **self._common_parameters}

    def replaced(
        self,
        *,
        duration: Duration | None = None,
        rate: Rate | None = None,
        vus: int | None = None,
        warm_up: Duration | None = None,
    ) -> Self:
        """See ``Executor.replaced``."""
        return type(self)(
            rate=self.rate if rate is None else rate,
            duration=self.duration if duration is None else duration,
            max_in_flight=self.max_in_flight,
            when_full=self.when_full,
            warm_up=self.warm_up if warm_up is None else warm_up,
        )


class _ArrivalLoad:
    """A ``Load`` made by the dispatcher."""

    def __init__(self, drive: Drive, due: npt.NDArray[np.int64], executor: ArrivalExecutor) -> None:
        self._drive = drive
        self._due = due
        self._dispatcher = Dispatcher(
            due=due,
            slots=executor.max_in_flight,
            launch=self._launch,
            drop=drive.drop if executor.when_full == "drop" else None,
            clock=drive.clock,
        )
        self._dispatcher.pump()

    def _launch(self, index: int, due: int, slot: int, queued: bool, /) -> None:
        drive = self._drive
        drive.spawn(drive.iterate(index, due, slot, queued, self._dispatcher.completed), slot)

    @property
    def offered(self) -> int:
        return self._dispatcher.arrived

    @property
    def started(self) -> int:
        return self._dispatcher.started

    @property
    def backlog(self) -> int:
        return self._dispatcher.backlog

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

    def not_started(self) -> tuple[int, npt.NDArray[np.int64]]:
        settled = self._dispatcher.settled
        return settled, self._due[settled : self._dispatcher.arrived]
