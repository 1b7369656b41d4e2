"""How many VUs are there when their number rises and falls? In stages, each a straight line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import ClassVar

from pytest_certload.engine.stages import Stage, check_stages
from pytest_certload.engine.vus import Pause, VuExecutor, VuLoad
from pytest_certload.errors import ConfigurationError
from pytest_certload.units import Duration, Rate, parse_duration

from . import Drive, Load

__all__ = ["RampingVUs"]


@dataclass(frozen=True, kw_only=True, init=False)
class RampingVUs(VuExecutor):
    """VUs whose number changes in straight lines, from stage to stage.

    VU *k* (from 0) is there while the line is above *k*. One that is to go ends its iteration first.

    Args:
        stages: ``[Stage("1m", 200), Stage("5m", 200), Stage("1m", 0)]``.
        start_vus: How many there are at the begin, and in the warm-up; default 0.
        pacing, think_time: As for ``VuExecutor``.
        warm_up: Load before the measured window, left out of the results.

    Raises:
        ConfigurationError: A value that is not one, or a ramp on which nobody is ever there.
    """

    kind = "ramping_vus"
    planned: ClassVar[None] = None
    ends_early: ClassVar[bool] = False

    stages: tuple[Stage, ...]
    start_vus: int
    vus: int  # the most that are there at once
    duration: Duration
    pacing: Pause
    think_time: Pause
    warm_up: Duration

    def __init__(
        self,
        *,
        stages: Sequence[Stage],
        start_vus: int = 0,
        pacing: object = 0,
        think_time: object = 0,
        warm_up: object = 0,
    ) -> None:
        parts = check_stages(stages)
        numbers = tuple(Stage(part.duration, _number(part.target, "stages")) for part in parts)
        object.__setattr__(self, "stages", numbers)
        object.__setattr__(self, "start_vus", _number(start_vus, "start_vus"))
        object.__setattr__(self, "vus", max(self._targets))
        object.__setattr__(self, "duration", Duration(sum(part.duration for part in parts)))
        self._set_pauses(pacing=pacing, think_time=think_time)
        object.__setattr__(self, "warm_up", parse_duration(warm_up, name="warm_up"))
        if not self.vus:
            raise ConfigurationError("stages: the number of VUs is always 0, so there is no load")

    @property
    def alarms(self) -> int:
        """See ``VuExecutor.alarms``: all but the first wait until they are there."""
        return self.vus

    @property
    def _targets(self) -> list[int]:
        targets = (stage.target for stage in self.stages)
        return [self.start_vus, *(target for target in targets if isinstance(target, int))]

    @property
    def parameters(self) -> Mapping[str, str | int | float]:
        """See ``Executor.parameters``."""
        return {
            "start_vus": self.start_vus,
            "stages": ", ".join(f"{stage.target} in {stage.duration}" for stage in self.stages),
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
    ) -> RampingVUs:
        """See ``Executor.replaced``: the same shape, longer or higher."""
        time = Fraction(1) if duration is None else Fraction(int(duration), int(self.duration))
        height = Fraction(1) if vus is None else Fraction(vus, self.vus)
        numbers = [round(target * height) for target in self._targets]
        return RampingVUs(
            stages=[
                Stage(Duration(max(1, round(stage.duration * time))), number)
                for stage, number in zip(self.stages, numbers[1:], strict=True)
            ],
            start_vus=numbers[0],
            pacing=self.pacing,
            think_time=self.think_time,
            warm_up=self.warm_up if warm_up is None else warm_up,
        )

    def begin(self, drive: Drive) -> Load:
        """See ``Executor.begin``."""
        return VuLoad(
            drive,
            lives=[self._life(vu, drive.begin) for vu in range(self.vus)],
            pacing=self.pacing,
            think_time=self.think_time,
        )

    def _life(self, vu: int, begin: int) -> list[tuple[int, int]]:
        """The spans in which the line is above the VU's number, joined where they touch."""
        lines = [
            (int(self.warm_up), self.start_vus),
            *zip(self._lengths, self._targets[1:], strict=True),
        ]
        spans: list[tuple[int, int]] = []
        at, height = begin, self.start_vus
        for length, target in lines:
            span = _above(vu, height, target, length)
            if span is not None:
                first, last = at + span[0], at + span[1]
                if spans and spans[-1][1] == first:
                    first = spans.pop()[0]
                spans.append((first, last))
            at, height = at + length, target
        return spans

    @property
    def _lengths(self) -> list[int]:
        return [int(stage.duration) for stage in self.stages]


def _above(level: int, begin: int, end: int, length: int) -> tuple[int, int] | None:
    """When a line from ``begin`` to ``end`` is above a level: from, to; None when it never is."""
    if max(begin, end) <= level or not length:
        return None
    if min(begin, end) > level or begin == end:
        return 0, length
    crossing = ceil(Fraction(length * abs(level - begin), abs(end - begin)))
    span = (crossing, length) if end > begin else (0, crossing)
    return span if span[0] < span[1] else None


def _number(value: object, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ConfigurationError(f"{name}: {value!r} is not a number of VUs; write a whole number")
    return value
