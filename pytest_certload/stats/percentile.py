"""Which value do so many percent of the samples not exceed?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["counted_below", "percentile", "percentiles", "rank"]


def rank(count: int, percent: float) -> int:
    """The 1-based position of a percentile among ``count`` sorted samples.

    The nearest rank, ``ceil(percent / 100 * count)``, in exact arithmetic: in floating point
    99.9 % of 1,000 samples is the 1,000th instead of the 999th.

    Args:
        count: How many samples, at least 1.
        percent: From 0 to 100; read as it prints, so 99.9 means 999/1000.

    Raises:
        ValueError: The percentage is outside 0 to 100.
    """
    __tracebackhide__ = True
    if not 0 <= percent <= 100:
        raise ValueError(f"{percent!r} is not a percentage from 0 to 100")
    return max(1, math.ceil(Fraction(str(percent)) * count / 100))


def percentile(values: npt.NDArray[np.int64], percent: float) -> int | None:
    """A percentile by the nearest rank: always a value that was really measured.

    This is the first definition of Hyndman and Fan, "Sample Quantiles in Statistical Packages",
    The American Statistician 50 (1996): no interpolation, so no latency that nobody ever saw.

    Args:
        values: int64, in any order; sorted ones are not sorted again.
        percent: From 0 to 100.

    Returns:
        The value; None when there are none.

    Raises:
        ValueError: The percentage is outside 0 to 100.
    """
    __tracebackhide__ = True
    if not len(values):
        rank(1, percent)  # a bad percentage is an error with and without samples
        return None
    position = rank(len(values), percent) - 1
    ordered: npt.NDArray[Any] = values if _is_sorted(values) else np.partition(values, position)
    return int(ordered[position])


def percentiles(
    values: npt.NDArray[np.int64], percents: Sequence[float], *, overwrite: bool = False
) -> list[int | None]:
    """Several percentiles of values in any order, for little more than one; see ``percentile``.

    Args:
        values: int64, in any order.
        percents: Each from 0 to 100.
        overwrite: The values are nobody else's, and may be put into another order.
    """
    __tracebackhide__ = True
    if not len(values):
        return [percentile(values, percent) for percent in percents]
    positions = [rank(len(values), percent) - 1 for percent in percents]
    placed = values if overwrite else values.copy()
    placed.partition(sorted({*positions}))
    return [int(placed[position]) for position in positions]


def counted_below(
    values: npt.NDArray[np.int64], edges: Sequence[int] | npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """How many values are below each of some ascending edges; without sorting the values, which are many."""
    bins = np.searchsorted(edges, values, side="right")
    counts: npt.NDArray[np.int64] = np.cumsum(np.bincount(bins, minlength=len(edges) + 1))
    return counts[:-1]


def _is_sorted(values: npt.NDArray[np.int64]) -> bool:
    return bool((values[1:] >= values[:-1]).all())
