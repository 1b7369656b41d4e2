"""What does the whole distribution look like? Its percentiles, closer together the rarer they are."""

from __future__ import annotations

from dataclasses import dataclass

from .distribution import Distribution

__all__ = ["Curve", "curve_of"]

#: Points for every halving of what is left, as HdrHistogram's percentile iterator has them.
_POINTS = 5


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A distribution's percentiles.

    Attributes:
        percents: From 0 to 100, ascending.
        values: Nanoseconds, one for each.
    """

    percents: tuple[float, ...]
    values: tuple[int, ...]


def curve_of(times: Distribution) -> Curve:
    """The percentiles up to the last that so many samples support, and the greatest; empty without any."""
    percents: list[float] = []
    left = 100.0
    while times.count and left * times.count >= 100:
        step = left / 2 / _POINTS
        # What prints like the percentage it is: the rank is that of the printed number.
        percents += [round(100 - left + number * step, 9) for number in range(_POINTS)]
        left /= 2
    if times.count:
        percents.append(100.0)
    values = times.percentiles(percents)
    return Curve(
        percents=tuple(percents), values=tuple(value for value in values if value is not None)
    )
