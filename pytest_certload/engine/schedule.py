"""When is each iteration due? Pure functions from parameters to int64 nanosecond offsets."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_certload.units import Duration, Rate

__all__ = ["constant", "count_due", "count_ramping", "fleet", "poisson", "ramping"]

_INT64_SAFE = 2**62
_SECOND = 1_000_000_000


def count_due(rate: Rate, duration: Duration) -> int:
    """How many iterations a constant rate makes due in ``[0, duration)``: ``ceil(rate * duration)``."""
    numerator = rate.per_second.numerator * int(duration)
    denominator = rate.per_second.denominator * _SECOND
    return -(-numerator // denominator)


def constant(rate: Rate, duration: Duration) -> npt.NDArray[np.int64]:
    """Evenly spaced due times: iteration *i* at ``floor(i / rate)`` nanoseconds.

    The arithmetic is exact, so no drift builds up however long the run is.

    Args:
        rate: Iterations per second.
        duration: Length of the window; due times lie in ``[0, duration)``.

    Returns:
        int64 offsets in nanoseconds, ascending, ``count_due(rate, duration)`` of them.
    """
    count = count_due(rate, duration)
    numerator = rate.per_second.numerator
    whole, rest = divmod(rate.per_second.denominator * _SECOND, numerator)
    if count * max(rest, 1) < _INT64_SAFE:
        index = np.arange(count, dtype=np.int64)
        return index * whole + index * rest // numerator
    # Only rates written with very many digits get here; Python's integers do not overflow.
    return np.fromiter((i * whole + i * rest // numerator for i in range(count)), np.int64, count)


def count_ramping(start: Fraction, corners: Sequence[tuple[Duration, Fraction]]) -> int:
    """How many iterations a ramp makes due, exactly; arguments as for ``ramping``."""
    rates = [start, *(target for _, target in corners)]
    area = (
        (rate + target) / 2 * Fraction(int(duration), _SECOND)
        for rate, (duration, target) in zip(rates, corners, strict=False)
    )
    return ceil(sum(area, Fraction(0)))


def ramping(start: Fraction, corners: Sequence[tuple[Duration, Fraction]]) -> npt.NDArray[np.int64]:
    """Due times of a rate that changes in straight lines: iteration *i* when its integral reaches *i*.

    How many there are, and in which line each lies, is exact; inside a line the time is the root of
    a quadratic in double precision, exact to less than a microsecond in an hour.

    Args:
        start: The rate at the begin, iterations per second, 0 or more.
        corners: For each line how long it is, and the rate, 0 or more, at its end.

    Returns:
        int64 offsets in nanoseconds, ascending.
    """
    parts = []
    begun, integral, rate = 0, Fraction(0), start
    for duration, target in corners:
        after = integral + (rate + target) / 2 * Fraction(int(duration), _SECOND)
        index = np.arange(ceil(after) - ceil(integral), dtype=np.int64)
        slope = abs(float((target - rate) / Fraction(int(duration), _SECOND)))
        # Always from the line's lower end, where the square root loses nothing.
        if target >= rate:
            seconds = _until(index + float(ceil(integral) - integral), float(rate), slope)
        else:
            remaining = float(after - ceil(integral)) - index
            seconds = duration.total_seconds - _until(remaining, float(target), slope)
        inside = np.clip(np.floor(seconds * _SECOND), 0, int(duration) - 1)
        parts.append(inside.astype(np.int64) + begun)
        begun, integral, rate = begun + int(duration), after, target
    return np.concatenate(parts)


def _until(count: npt.NDArray[Any], rate: float, slope: float) -> npt.NDArray[Any]:
    """Seconds until a rate that rises in a straight line has made ``count`` iterations due.

    ``2n / (r + sqrt(r^2 + 2kn))``: the form of the quadratic's root that does not cancel, also where
    the rate begins at 0 or does not change.
    """
    below = rate + np.sqrt(rate**2 + 2 * slope * count)
    # Without a rate and a slope nothing is asked for, or what is due at once.
    return np.where(below > 0, 2 * count / np.where(below > 0, below, 1), 0)


def poisson(rate: Rate, duration: Duration, seed: int) -> npt.NDArray[np.int64]:
    """Due times of a Poisson process: gaps are independent and exponentially distributed.

    Args:
        rate: Iterations per second on average.
        duration: Length of the window; due times lie in ``[0, duration)``.
        seed: The same one gives the same times, with the same numpy.

    Returns:
        int64 offsets in nanoseconds, ascending.
    """
    random = np.random.default_rng(seed)
    mean_gap = _SECOND / float(rate)
    expected = float(rate) * duration.total_seconds
    batch = int(expected + 5 * expected**0.5) + 16
    parts, reached = [], 0.0
    while reached < duration:
        times = reached + np.cumsum(random.exponential(mean_gap, batch))
        parts.append(times)
        reached = float(times[-1])
    due = np.concatenate(parts)
    return np.floor(due[due < duration]).astype(np.int64)


def fleet(
    members: int, *, every: Duration, jitter: float, duration: Duration, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Due times of a fleet whose members each come at an interval of their own.

    Args:
        members: How many there are.
        every: The interval.
        jitter: By what share of it an interval may be shorter or longer.
        duration: Length of the window; due times lie in ``[0, duration)``.
        seed: The same one gives the same times, with the same numpy; in a shorter window, the
            first of them.

    Returns:
        int64 offsets in nanoseconds, ascending, and whose arrival each is, from 0.
    """
    random = np.random.default_rng(seed)
    everyone = np.arange(members, dtype=np.int64)
    times = random.uniform(0, int(every), members)
    due, whose = [], []
    while (there := times < duration).any():
        due.append(np.floor(times[there]).astype(np.int64))
        whose.append(everyone[there])
        times = times + int(every) * random.uniform(1 - jitter, 1 + jitter, members)
    if not due:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    all_due, all_whose = np.concatenate(due), np.concatenate(whose)
    order = np.lexsort((all_whose, all_due))
    return all_due[order], all_whose[order]
