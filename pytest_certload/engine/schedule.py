"""When is each iteration due? Pure functions from parameters to int64 nanosecond offsets."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pytest_certload.units import Duration, Rate

__all__ = ["constant", "count_due"]

_INT64_SAFE = 2**62


def count_due(rate: Rate, duration: Duration) -> int:
    """How many iterations a constant rate makes due in ``[0, duration)``: ``ceil(rate * duration)``."""
    numerator = rate.per_second.numerator * int(duration)
    denominator = rate.per_second.denominator * 1_000_000_000
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
    whole, rest = divmod(rate.per_second.denominator * 1_000_000_000, numerator)
    if count * max(rest, 1) < _INT64_SAFE:
        index = np.arange(count, dtype=np.int64)
        return index * whole + index * rest // numerator
    # Only rates written with very many digits get here; Python's integers do not overflow.
    return np.fromiter((i * whole + i * rest // numerator for i in range(count)), np.int64, count)
