"""How is a ramp written? Stages: in so much time, in a straight line, to such a value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_certload.errors import ConfigurationError
from pytest_certload.units import Duration, parse_duration

__all__ = ["Stage", "check_stages"]


@dataclass(frozen=True, init=False)
class Stage:
    """A part of a ramp.

    Args:
        duration: How long it takes: ``"2m"``, ``120`` (seconds).
        target: Where it leads: an arrival rate or a number of VUs.

    Raises:
        ConfigurationError: The duration is not one, or is 0.
    """

    duration: Duration
    target: object

    def __init__(self, duration: object, target: object) -> None:
        object.__setattr__(self, "duration", parse_duration(duration, name="Stage"))
        object.__setattr__(self, "target", target)
        if self.duration == 0:
            raise ConfigurationError(
                f"Stage({duration!r}, {target!r}) takes no time; begin with another value instead"
            )


def check_stages(stages: object) -> tuple[Stage, ...]:
    """The stages of a ramp.

    Raises:
        ConfigurationError: There are none, or something else is among them.
    """
    if (
        not isinstance(stages, Sequence)
        or not stages
        or not all(isinstance(s, Stage) for s in stages)
    ):
        raise ConfigurationError(
            f'stages: {stages!r} is no list of stages; write such as [Stage("1m", 200), Stage("5m", 200)]'
        )
    return tuple(stages)
