"""Where on a plot does a value lie? Axes: linear, logarithmic, of time, and of percentiles."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from . import words

__all__ = ["Axis", "Tick", "linear", "logarithmic", "percentiles", "time"]


@dataclass(frozen=True)
class Tick:
    """A place on an axis, 0 to 1, and what is written there."""

    at: float
    label: str


@dataclass(frozen=True, kw_only=True)
class Axis:
    """From what to what a plot goes.

    Attributes:
        low, high: The values at its ends, as ``scale`` has them.
        scale: From a value to what is even along the axis.
        ticks: What is written along it.
        unit: What its values are, in words, for who cannot see it.
    """

    low: float
    high: float
    scale: Callable[[float], float]
    ticks: tuple[Tick, ...]
    unit: str

    def place(self, value: float) -> float:
        """Where a value lies, 0 to 1; what is beyond an end lies at it."""
        return min(1.0, max(0.0, (self.scale(value) - self.low) / (self.high - self.low)))


def _same(value: float) -> float:
    return value


def _axis(
    low: float,
    high: float,
    scale: Callable[[float], float],
    marks: Iterable[tuple[float, str]],
    unit: str,
) -> Axis:
    bare = Axis(low=low, high=high, scale=scale, ticks=(), unit=unit)
    ticks = tuple(Tick(bare.place(value), label) for value, label in marks)
    return Axis(low=low, high=high, scale=scale, ticks=ticks, unit=unit)


def linear(
    high: float, show: Callable[[float], str], *, unit: str, whole: bool = False, most: int = 4
) -> Axis:
    """From 0 to a round number that is not below ``high``, with up to ``most`` steps."""
    step = _round_step((high or 1) / most)
    if whole:
        step = max(1.0, step)
    steps = max(1, math.ceil((high or 1) / step - 1e-9))
    marks = [(number * step, show(number * step)) for number in range(steps + 1)]
    # Room above the last mark, or a line that lies on it is cut.
    return _axis(0.0, steps * step * 1.04, _same, marks, unit)


def _round_step(least: float) -> float:
    power = 10.0 ** math.floor(math.log10(least))
    return next(
        factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= least * (1 - 1e-9)
    )


#: What is written in each decade, by how many decades there are at most.
_IN_A_DECADE = ((0.8, (1, 1.5, 2, 3, 4, 5, 6, 8)), (1.6, (1, 2, 3, 5)), (3.2, (1, 3)), (99, (1,)))


def _log(value: float) -> float:
    return math.log10(max(value, 1.0))


def logarithmic(
    low: float, high: float, show: Callable[[float], str] = words.duration, *, unit: str
) -> Axis:
    """Both ends included, in even steps of factors; values below 1 count as 1."""
    low, high = max(low, 1.0), max(high, 1.0)
    if high < low * 2:
        low, high = max(low / 1.5, 1.0), low * 2
    span = math.log10(high / low)
    factors = next(factors for decades, factors in _IN_A_DECADE if span <= decades)
    candidates = [
        factor * 10.0**power
        for power in range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
        for factor in factors
        if factor * 10.0**power == 1 or factor * 10.0**power >= 2
    ]
    first = max((c for c in candidates if c <= low * (1 + 1e-9)), default=low)
    # The end is where the values end, so that no third of the plot is empty.
    last = high * 10 ** (span * 0.04)
    marks = [(c, show(c)) for c in candidates if first <= c <= last]
    return _axis(_log(first), _log(last), _log, marks, unit)


def time(begin: float, end: float, *, most: int = 6) -> Axis:
    """Seconds of a load; 0 is the begin of the measured window."""
    steps = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200)
    span = end - begin
    step = next((s for s in steps if span / s <= most), math.ceil(span / most / 7200) * 7200)
    marks = []
    for number in range(math.ceil(begin / step - 1e-9), math.floor(end / step + 1e-9) + 1):
        at = number * step
        marks.append((at, words.clock(at) if step >= 1 else f"{at:.1f} s"))
    return _axis(begin, end, _same, marks, "minutes:seconds into the measured window")


def percentiles(greatest: float) -> Axis:
    """Percentages by the logarithm of 1/(1 - p): each nine has as much room as the one before.

    Args:
        greatest: The last one below 100, which itself has its place a little further.
    """
    last = -math.log10(1 - min(greatest, 99.999999) / 100)
    end = last + max(0.3, last * 0.06)

    def scale(value: float) -> float:
        return end if value >= 100 else -math.log10(1 - value / 100)

    marks = [
        (value, words.percent(value))
        for value in (0, 50, 90, 99, 99.9, 99.99, 99.999)
        if value == 0 or (value <= greatest and scale(value) < end * 0.9)
    ]
    return _axis(0.0, end, scale, [*marks, (100, "max")], "percentile, log scale of 1/(1 − p)")
