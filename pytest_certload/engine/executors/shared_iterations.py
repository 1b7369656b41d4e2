"""How is a fixed amount of work done? VUs share a number of iterations until none is left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from pytest_certload.engine.vus import Pause, VuExecutor, VuLoad
from pytest_certload.units import Duration, Rate, parse_duration

from . import Drive, Load, check_slots, check_window

__all__ = ["SharedIterations"]


@dataclass(frozen=True, kw_only=True, init=False)
class SharedIterations(VuExecutor):
    """VUs that take iterations from a common heap until it is used up.

    The window ends with the last iteration. Iterations that are still on the heap after the longest
    duration were never started, and fail the run.

    Args:
        iterations: How many there are.
        vus: How many share them.
        duration: The longest it may take; default ten minutes.
        pacing, think_time: As for ``VuExecutor``.

    Raises:
        ConfigurationError: A value that is not one.
    """

    kind = "shared_iterations"
    ends_early: ClassVar[bool] = True
    warm_up: ClassVar[Duration] = Duration(0)

    iterations: int
    vus: int
    duration: Duration
    pacing: Pause
    think_time: Pause

    def __init__(
        self,
        *,
        iterations: int,
        vus: int,
        duration: object = "10m",
        pacing: object = 0,
        think_time: object = 0,
    ) -> None:
        object.__setattr__(self, "iterations", check_slots(iterations, "iterations"))
        object.__setattr__(self, "vus", check_slots(vus, "vus"))
        object.__setattr__(self, "duration", parse_duration(duration))
        self._set_pauses(pacing=pacing, think_time=think_time)
        check_window(self.duration)

    @property
    def planned(self) -> int:
        """See ``Executor.planned``."""
        return self.iterations

    @property
    def parameters(self) -> Mapping[str, str | int | float]:
        """See ``Executor.parameters``."""
        return {
            "iterations": self.iterations,
            "vus": self.vus,
            "longest_seconds": self.duration.total_seconds,
            **self._pauses,
        }

    def replaced(
        self,
        *,
        duration: Duration | None = None,
        rate: Rate | None = None,
        vus: int | None = None,
        warm_up: Duration | None = None,
    ) -> SharedIterations:
        """See ``Executor.replaced``."""
        return SharedIterations(
            iterations=self.iterations,
            vus=self.vus if vus is None else vus,
            duration=self.duration if duration is None else duration,
            pacing=self.pacing,
            think_time=self.think_time,
        )

    def begin(self, drive: Drive) -> Load:
        """See ``Executor.begin``."""
        life = [(drive.begin, drive.begin + self.duration)]
        return VuLoad(
            drive,
            lives=[life] * self.vus,
            pacing=self.pacing,
            think_time=self.think_time,
            limit=self.iterations,
        )
