"""How is a constant number of VUs kept busy? The closed model: a VU asks again once it is answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from pytest_certload.engine.vus import Pause, VuExecutor, VuLoad
from pytest_certload.units import Duration, Rate, parse_duration

from . import Drive, Load, check_slots, check_window

__all__ = ["ConstantVUs"]


@dataclass(frozen=True, kw_only=True, init=False)
class ConstantVUs(VuExecutor):
    """A fixed number of VUs, each running iterations one after the other.

    The load follows the server's speed: a slow server is asked less often. Use an arrival rate
    to say how much is offered; use VUs to say how many are there.

    Args:
        vus: How many.
        duration: Measured window; no iteration starts after it.
        pacing, think_time: As for ``VuExecutor``.
        warm_up: Load before the measured window, left out of the results.

    Raises:
        ConfigurationError: A value that is not one.
    """

    kind = "constant_vus"
    planned: ClassVar[None] = None
    ends_early: ClassVar[bool] = False

    vus: int
    duration: Duration
    pacing: Pause
    think_time: Pause
    warm_up: Duration

    def __init__(
        self,
        *,
        vus: int,
        duration: object,
        pacing: object = 0,
        think_time: object = 0,
        warm_up: object = 0,
    ) -> None:
        object.__setattr__(self, "vus", check_slots(vus, "vus"))
        object.__setattr__(self, "duration", parse_duration(duration))
        self._set_pauses(pacing=pacing, think_time=think_time)
        object.__setattr__(self, "warm_up", parse_duration(warm_up, name="warm_up"))
        check_window(self.duration)

    @property
    def parameters(self) -> Mapping[str, str | int | float]:
        """See ``Executor.parameters``."""
        return {
            "vus": self.vus,
            "duration_seconds": self.duration.total_seconds,
            **self._pauses,
            "warm_up_seconds": self.warm_up.total_seconds,
        }

    def replaced(
        self,
        *,
        duration: Duration | None = None,
        rate: Rate | None = None,
        vus: int | None = None,
        warm_up: Duration | None = None,
    ) -> ConstantVUs:
        """See ``Executor.replaced``."""
        return ConstantVUs(
            vus=self.vus if vus is None else vus,
            duration=self.duration if duration is None else duration,
            pacing=self.pacing,
            think_time=self.think_time,
            warm_up=self.warm_up if warm_up is None else warm_up,
        )

    def begin(self, drive: Drive) -> Load:
        """See ``Executor.begin``."""
        life = [(drive.begin, drive.begin + self.warm_up + self.duration)]
        return VuLoad(
            drive, lives=[life] * self.vus, pacing=self.pacing, think_time=self.think_time
        )
