"""Do two runs differ, or is it noise? The interval of a difference, from each one's own interval."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Difference", "Estimate", "between", "in_proportion"]

#: No machine repeats a figure more exactly, as a share: equal runs of a minute on a server that always takes
#: 20 ms had medians up to 0.4 % apart, and intervals of the change of 0.3 to 0.5 % to either side.
_REPEATABLE = 0.005


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A figure of one run.

    Attributes:
        value: The estimate, in any unit.
        low, high: Where the true figure lies, 95 % sure; None: the samples do not bound it there.
    """

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How much higher the figure of one run is than another's.

    Attributes:
        value: The estimate.
        low, high: Where the true difference lies, 95 % sure; None: it is not bounded there.
        least, least_down: A difference that is no greater, upwards or downwards, is none.
    """

    value: float
    low: float | None
    high: float | None
    least: float = 0.0
    least_down: float = 0.0

    @property
    def verdict(self) -> str:
        """``higher``, ``lower``, ``same`` (no difference that the samples show) or ``unknown``."""
        if self.low is not None and self.low > self.least:
            return "higher"
        if self.high is not None and self.high < -self.least_down:
            return "lower"
        return "unknown" if self.low is None or self.high is None else "same"


def between(after: Estimate, before: Estimate) -> Difference:
    """``after - before``, of two runs that have nothing to do with each other.

    The variances of independent estimates add up, and how far an interval reaches to one side says what
    the variance is on that side ("method of variance estimates recovery": Zou and Donner, "Construction
    of confidence limits about effect measures: a general approach", Statistics in Medicine 27, 2008). For
    shares with Wilson's intervals it is the hybrid score interval (Newcombe, "Interval estimation for the
    difference between independent proportions", Statistics in Medicine 17, 1998, method 10).
    """
    value = after.value - before.value
    down = _together(_reach(after.value, after.low), _reach(before.value, before.high))
    up = _together(_reach(after.value, after.high), _reach(before.value, before.low))
    return Difference(
        value=value,
        low=None if down is None else value - down,
        high=None if up is None else value + up,
    )


def in_proportion(after: Estimate, before: Estimate) -> Difference:
    """``after / before - 1``, of two runs that have nothing to do with each other.

    Made on the scale of logarithms. A percentile estimate is asymptotically normal, and so is its
    logarithm (David and Nagaraja, "Order Statistics", 3rd ed., 2003, 10.3); its interval from order
    statistics, made for as many samples as are independent, carries its standard error, and how much
    the samples were alike. What differs from run to run of the same server on the same machine is in no
    run's interval: so a change that lies within half a per cent is none.

    Args:
        after, before: Figures above zero, such as nanoseconds.

    Raises:
        ValueError: A figure or an end of an interval is not above zero.
    """
    found = between(_logarithm(after), _logarithm(before))
    return Difference(
        value=math.expm1(found.value),
        low=None if found.low is None else math.expm1(found.low),
        high=None if found.high is None else math.expm1(found.high),
        least=_REPEATABLE,
        # As much on the scale of logarithms: the way back is as long.
        least_down=_REPEATABLE / (1 + _REPEATABLE),
    )


def _reach(value: float, end: float | None) -> float | None:
    return None if end is None else end - value


def _together(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else math.hypot(one, other)


def _logarithm(figure: Estimate) -> Estimate:
    return Estimate(
        value=math.log(figure.value),
        low=None if figure.low is None else math.log(figure.low),
        high=None if figure.high is None else math.log(figure.high),
    )
