"""Which executors are there? One file each, behind one protocol."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pytest_certload.engine.clock import Clock
from pytest_certload.errors import ConfigurationError
from pytest_certload.units import Duration, Rate

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
    def backlog(self) -> int:
        """Iterations that are due and wait for a slot."""

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

    def not_started(self) -> tuple[int, npt.NDArray[np.int64]]:
        """What became due and still waits: the first one's index, and their due times, in order."""


class Drive(Protocol):
    """What an executor is handed to work with."""

    clock: Clock
    #: When the load begins, warm-up included.
    begin: int
    #: Seeds what an executor draws.
    seed: int

    def iterate(
        self,
        index: int,
        due: int,
        vu: int,
        queued: bool = False,
        done: Callable[[int], None] | None = None,
    ) -> Coroutine[Any, Any, None]:
        """Run one iteration to its end; errors are recorded, not raised.

        ``done`` is called with the number of the VU, however the iteration ended.
        """

    def spawn(self, work: Coroutine[Any, Any, None], vu: int) -> None:
        """Run ``work`` in a task of its own, the only one of that VU."""

    def drop(self, index: int, due: int) -> None:
        """Record that an iteration was dropped."""


class Executor(Protocol):
    """Decides when iterations start and how many run at once. Frozen, reusable."""

    @property
    def kind(self) -> str:
        """The name in reports, such as ``constant_arrival_rate``."""

    @property
    def duration(self) -> Duration:
        """Length of the measured window; where iterations can run out, the longest it may be."""

    @property
    def warm_up(self) -> Duration:
        """Length of the load before it, which is offered but left out of the results."""

    @property
    def slots(self) -> int:
        """Most iterations in flight at once."""

    @property
    def planned(self) -> int | None:
        """How many iterations become due, warm-up included; None when the server's speed decides."""

    @property
    def scheduled(self) -> bool:
        """Whether iterations are due by the clock; in the closed model each begins when it can."""

    @property
    def ends_early(self) -> bool:
        """Whether the window ends with the last iteration instead of after its duration."""

    @property
    def parameters(self) -> Mapping[str, str | int | float]:
        """What reports say of it, flat."""

    def replaced(
        self,
        *,
        duration: Duration | None = None,
        rate: Rate | None = None,
        vus: int | None = None,
        warm_up: Duration | None = None,
    ) -> Executor:
        """The same with other values, where it has them; in a ramp the highest one is replaced.

        Raises:
            ConfigurationError: A value that cannot be used.
        """

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
