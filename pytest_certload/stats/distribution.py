"""How are times of one kind distributed? One question, asked of all times or of a sketch of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

from .percentile import percentile
from .uncertainty import Interval, interval

__all__ = ["Distribution", "ExactTimes"]


class Distribution(Protocol):
    """Times of one kind, nanoseconds. Count, mean, least and greatest are exact."""

    @property
    def count(self) -> int:
        """How many there are."""

    @property
    def error(self) -> float | None:
        """The most by which a percentile may be off, as a share of it; None: it is exact."""

    @property
    def min(self) -> int | None:
        """The least; None when there are none."""

    @property
    def max(self) -> int | None:
        """The greatest; None when there are none."""

    @property
    def mean(self) -> float | None:
        """The arithmetic mean; None when there are none."""

    def percentile(self, percent: float) -> int | None:
        """The nearest rank's value; None when there are none.

        Raises:
            ValueError: The percentage is outside 0 to 100.
        """

    def interval(self, percent: float) -> Interval | None:
        """Where the percentile of the process lies; None when that is not known.

        Raises:
            ValueError: The percentage is outside 0 to 100.
        """

    def below(self, edges: Sequence[int]) -> list[int]:
        """How many are below each of some times; as near as percentiles are."""

    def joined(self, others: Iterable[Self]) -> Self:
        """These and others together."""


class ExactTimes:
    """Every time, so that a percentile is one that was really measured.

    Args:
        values: int64, in any order.
        due: When each was due; None: they stand in that order.
    """

    error = None

    def __init__(
        self, values: npt.NDArray[np.int64], due: npt.NDArray[np.int64] | None = None
    ) -> None:
        self._values = values
        self._due = np.arange(len(values)) if due is None else due
        self._sorted = np.sort(values)
        self._intervals: dict[float, Interval] = {}

    @property
    def count(self) -> int:
        """See ``Distribution.count``."""
        return len(self._sorted)

    @property
    def min(self) -> int | None:
        """See ``Distribution.min``."""
        return int(self._sorted[0]) if len(self._sorted) else None

    @property
    def max(self) -> int | None:
        """See ``Distribution.max``."""
        return int(self._sorted[-1]) if len(self._sorted) else None

    @property
    def mean(self) -> float | None:
        """See ``Distribution.mean``."""
        return float(self._sorted.mean()) if len(self._sorted) else None

    def percentile(self, percent: float) -> int | None:
        """See ``Distribution.percentile``."""
        __tracebackhide__ = True
        return percentile(self._sorted, percent)

    def interval(self, percent: float) -> Interval | None:
        """See ``Distribution.interval``; it is known."""
        if percent not in self._intervals:
            in_order = self._values[np.argsort(self._due, kind="stable")]
            self._intervals[percent] = interval(in_order, percent, ordered=self._sorted)
        return self._intervals[percent]

    def below(self, edges: Sequence[int]) -> list[int]:
        """See ``Distribution.below``; exact."""
        found: list[int] = np.searchsorted(self._sorted, edges, side="left").tolist()
        return found

    def joined(self, others: Iterable[Self]) -> Self:
        """See ``Distribution.joined``."""
        parts = [self, *others]
        return type(self)(
            np.concatenate([part._values for part in parts]),
            np.concatenate([part._due for part in parts]),
        )
