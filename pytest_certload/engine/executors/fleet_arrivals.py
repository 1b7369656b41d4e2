"""How does a fleet come? Every member at its own pace, whatever the others do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from pytest_certload.engine import schedule
from pytest_certload.engine.arrivals import ArrivalExecutor, WhenFull
from pytest_certload.errors import ConfigurationError
from pytest_certload.units import Duration, Rate, parse_duration, parse_rate

from . import check_slots, check_window

__all__ = ["FleetArrivals"]


@dataclass(frozen=True, kw_only=True, init=False)
class FleetArrivals(ArrivalExecutor):
    """Each member of a fleet comes again and again, at a pace of its own: agents, meters, phones.

    A member's first arrival is anywhere in the first interval, and each further one comes an
    interval later, more or less by the jitter. The run's seed decides them all.

    Args:
        members: How many there are.
        every: The interval between two arrivals of one member: ``"60s"``.
        duration: Measured window: ``"5m"``, ``300`` (seconds), ``minutes(5)``.
        jitter: By what share of it an interval may be shorter or longer, evenly drawn; 0.1 is ±10 %.
        max_in_flight, when_full, warm_up: As for ``ArrivalExecutor``.

    Attributes:
        size: How many members there are.

    Raises:
        ConfigurationError: A value that is not one.
    """

    kind = "fleet_arrivals"

    size: int
    every: Duration
    jitter: float
    duration: Duration
    max_in_flight: int
    when_full: WhenFull
    warm_up: Duration

    def __init__(
        self,
        *,
        members: int,
        every: object,
        duration: object,
        jitter: object = 0,
        max_in_flight: int = 100,
        when_full: WhenFull = "queue",
        warm_up: object = 0,
    ) -> None:
        if isinstance(jitter, bool) or not isinstance(jitter, (int, float)) or not 0 <= jitter < 1:
            raise ConfigurationError(
                f"jitter: {jitter!r} is no share of an interval; write a number from 0 to below 1"
            )
        object.__setattr__(self, "size", check_slots(members, "members"))
        object.__setattr__(self, "every", parse_duration(every, name="every"))
        object.__setattr__(self, "jitter", float(jitter))
        object.__setattr__(self, "duration", parse_duration(duration))
        self._set_common(max_in_flight=max_in_flight, when_full=when_full, warm_up=warm_up)
        check_window(self.duration)
        if not self.every:
            raise ConfigurationError("every: 0s is no interval; write more")

    @property
    def rate(self) -> Rate:
        """Arrivals a second of the whole fleet, on average."""
        return parse_rate(Fraction(self.size * 1_000_000_000, int(self.every)))

    @property
    def parameters(self) -> Mapping[str, str | int | float]:
        """See ``Executor.parameters``."""
        return {
            "members": self.size,
            "every_seconds": self.every.total_seconds,
            "jitter": self.jitter,
            **self._common_parameters,
        }

    def replaced(
        self,
        *,
        duration: Duration | None = None,
        rate: Rate | None = None,
        vus: int | None = None,
        warm_up: Duration | None = None,
    ) -> FleetArrivals:
        """See ``Executor.replaced``; another rate is that of another number of members."""
        members = self.size
        if rate is not None:
            members = max(1, round(rate.per_second * int(self.every) / 1_000_000_000))
        return FleetArrivals(
            members=members,
            every=self.every,
            jitter=self.jitter,
            duration=self.duration if duration is None else duration,
            max_in_flight=self.max_in_flight,
            when_full=self.when_full,
            warm_up=self.warm_up if warm_up is None else warm_up,
        )

    def due(self, seed: int) -> npt.NDArray[np.int64]:
        """See ``ArrivalExecutor.due``."""
        return self._arrivals(seed)[0]

    def members(self, seed: int = 0) -> npt.NDArray[np.int64]:
        """Whose arrival each iteration is: ``members()[iteration.index]``, from 0.

        A shorter run is the begin of a longer one.

        Args:
            seed: The run's.
        """
        return self._arrivals(seed)[1]

    def _arrivals(self, seed: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        return schedule.fleet(
            self.size,
            every=self.every,
            jitter=self.jitter,
            duration=Duration(self.warm_up + self.duration),
            seed=seed,
        )
