"""How is an arrival rate offered that rises and falls? In stages, each a straight line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from pytest_certload.engine import schedule
from pytest_certload.engine.arrivals import ArrivalExecutor, WhenFull
from pytest_certload.engine.stages import Stage, check_stages
from pytest_certload.errors import ConfigurationError
from pytest_certload.units import Duration, Rate, parse_rate

__all__ = ["RampingArrivalRate"]


@dataclass(frozen=True, kw_only=True, init=False)
class RampingArrivalRate(ArrivalExecutor):
    """Iterations become due at a rate that changes in straight lines, from stage to stage.

    Iteration *i* is due when the integral of the rate reaches *i*, exactly.

    Args:
        stages: ``[Stage("1m", 200), Stage("5m", 200), Stage("30s", "0/s")]``.
        start_rate: The rate at the begin, and of the warm-up; default 0.
        max_in_flight, when_full, warm_up: As for ``ArrivalExecutor``.

    Raises:
        ConfigurationError: A value that is not one, or a ramp on which nothing becomes due.
    """

    kind = "ramping_arrival_rate"

    stages: tuple[Stage, ...]
    start_rate: Fraction
    duration: Duration
    max_in_flight: int
    when_full: WhenFull
    warm_up: Duration

    def __init__(
        self,
        *,
        stages: Sequence[Stage],
        start_rate: object = 0,
        max_in_flight: int = 100,
        when_full: WhenFull = "queue",
        warm_up: object = 0,
    ) -> None:
        parts = check_stages(stages)
        rates = tuple(Stage(part.duration, _rate(part.target, "stages")) for part in parts)
        object.__setattr__(self, "stages", rates)
        object.__setattr__(self, "start_rate", _rate(start_rate, "start_rate"))
        object.__setattr__(self, "duration", Duration(sum(part.duration for part in parts)))
        self._set_common(max_in_flight=max_in_flight, when_full=when_full, warm_up=warm_up)
        if not any(self._targets):
            raise ConfigurationError("stages: every rate is 0, so nothing ever becomes due")

    @property
    def _targets(self) -> list[Fraction]:
        targets = (stage.target for stage in self.stages)
        return [self.start_rate, *(t for t in targets if isinstance(t, Fraction))]

    @property
    def rate(self) -> Rate:
        """The highest rate."""
        return Rate(max(self._targets))

    @property
    def parameters(self) -> Mapping[str, str | int | float]:
        """See ``Executor.parameters``."""
        line = (
            f"{float(t):g}/s in {s.duration}"
            for s, t in zip(self.stages, self._targets[1:], strict=True)
        )
        return {
            "start_rate": f"{float(self.start_rate):g}/s",
            "stages": ", ".join(line),
            **self._common_parameters,
        }

    def replaced(
        self,
        *,
        duration: Duration | None = None,
        rate: Rate | None = None,
        vus: int | None = None,
        warm_up: Duration | None = None,
    ) -> RampingArrivalRate:
        """See ``Executor.replaced``: the same shape, longer or higher."""
        time = Fraction(1) if duration is None else Fraction(int(duration), int(self.duration))
        height = Fraction(1) if rate is None else rate.per_second / self.rate.per_second
        return RampingArrivalRate(
            stages=[
                Stage(Duration(max(1, round(s.duration * time))), t * height)
                for s, t in zip(self.stages, self._targets[1:], strict=True)
            ],
            start_rate=self.start_rate * height,
            max_in_flight=self.max_in_flight,
            when_full=self.when_full,
            warm_up=self.warm_up if warm_up is None else warm_up,
        )

    @property
    def planned(self) -> int:
        """See ``Executor.planned``."""
        return schedule.count_ramping(self.start_rate, self._corners)

    def due(self, seed: int) -> npt.NDArray[np.int64]:
        """See ``ArrivalExecutor.due``."""
        return schedule.ramping(self.start_rate, self._corners)

    @property
    def _corners(self) -> list[tuple[Duration, Fraction]]:
        corners = [(s.duration, t) for s, t in zip(self.stages, self._targets[1:], strict=True)]
        if self.warm_up:
            corners.insert(0, (self.warm_up, self.start_rate))
        return corners


def _rate(value: object, name: str) -> Fraction:
    """A rate that may be 0, as it may at the ends of a ramp."""
    if value in (0, "0", "0/s") and value is not False:
        return Fraction(0)
    return parse_rate(value, name=name).per_second
