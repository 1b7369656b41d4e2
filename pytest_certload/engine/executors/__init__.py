"""Which executors are there? One file each, behind one protocol."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pytest_certload.engine.clock import Clock
from pytest_certload.errors import ConfigurationError
from pytest_certload.units import Duration

__all__ = ["Drive", "Executor", "Load", "check_slots", "check_window"]


class Load(Protocol):
    """A load that is being made; numbers for the live line, and the way to end it."""

    @property
    def offered(self) -> int:
        """Iterations that have become due."""

    @property
    def started(self) -> int:
        """Iterations that have been started."""

    @property
    def in_flight(self) -> int:
        """Iterations that run now."""

    @property
    def in_flight_peak(self) -> int:
        """Most iterations that ran at once."""

    @property
    def backlog_peak(self) -> int:
        """Most iterations that waited for a slot at once."""

    async def wait(self) -> None:
        """Return when every iteration that was to be started is over."""

    def stop(self) -> None:
        """Start nothing any more."""

    def not_started(self) -> npt.NDArray[np.int64]:
        """Due times of iterations that became due and were never started, in order."""


#: Runs iteration ``(index, due)`` to its end; errors are recorded, not raised.
RunIteration = Callable[[int, int], Awaitable[Any]]


class Drive(Protocol):
    """What an executor is handed to work with."""

    clock: Clock
    begin: int

    def run(self, index: int, due: int) -> Awaitable[Any]:
        """Run one iteration to its end in the caller's task; errors are recorded, not raised."""

    def spawn(self, work: Awaitable[Any], done: Callable[[], None]) -> None:
        """Run ``work`` in a task of its own and call ``done`` when it is over, however it ended."""


class Executor(Protocol):
    """Decides when iterations start and how many run at once. Frozen, reusable."""

    @property
    def kind(self) -> str:
        """The name in reports, such as ``constant_arrival_rate``."""

    @property
    def duration(self) -> Duration:
        """Length of the measured window."""

    @property
    def warm_up(self) -> Duration:
        """Length of the load before it, which is offered but left out of the results."""

    @property
    def slots(self) -> int:
        """Most iterations in flight at once."""

    @property
    def parameters(self) -> Mapping[str, str | int | float]:
        """What reports say of it, flat."""

    def begin(self, drive: Drive) -> Load:
        """Begin to make the load; returns at once."""


def check_slots(value: object, name: str) -> int:
    """A whole number of at least one.

    Raises:
        ConfigurationError: It is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigurationError(f"{name}: {value!r} is not a whole number of at least 1")
    return value


def check_window(duration: Duration) -> None:
    """A window in which something can become due.

    Raises:
        ConfigurationError: It is empty.
    """
    if duration <= 0:
        raise ConfigurationError("duration: the load must last longer than 0 s, such as 20s or 5m")
