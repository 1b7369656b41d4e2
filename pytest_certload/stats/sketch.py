"""What can be said of times that are not kept? Every percentile, to a tenth of a per cent.

The method is DDSketch: times are counted in buckets whose bounds grow by a constant factor, see Masson, Rim
and Lee, "DDSketch: A Fast and Fully-Mergeable Quantile Sketch with Relative-Error Guarantees", PVLDB 12
(2019). The library of that name keeps the buckets; it is imported when the first sketch is made.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Self

import numpy as np
import numpy.typing as npt

from .percentile import rank

__all__ = ["ERROR", "MOST_OCTETS", "SketchedTimes"]

#: The most by which a percentile may be off, as a share of it, before it is rounded to a nanosecond.
ERROR = 0.001
#: The most memory that a sketch takes: buckets from a nanosecond to the longest load, each with a count here
#: and with a list's place and a float in the library.
MOST_OCTETS = 40 * math.ceil(math.log(366 * 86_400e9) / math.log((1 + ERROR) / (1 - ERROR)))


class SketchedTimes:
    """A ``Distribution`` that does not grow with the number of its times.

    Its percentiles take what is below a nanosecond for 0, as a first byte that came before the whole
    request was sent.

    Times are counted by their bucket as they come. The library is asked to add them once a bucket, when
    the first percentile is wanted: a call for each time would stop the load for long.
    """

    error = ERROR

    def __init__(self) -> None:
        from ddsketch import DDSketch, LogarithmicMapping

        self._sketch = DDSketch(ERROR)
        self._mapping = LogarithmicMapping(ERROR)
        self._factor = 1 / math.log(self._mapping.gamma)
        #: By bucket, from 1 ns on: how many wait to be added to the sketch. The zeros have none.
        self._waiting = np.zeros(0, np.int64)
        self._waiting_zeros = 0
        self._count = 0
        self._sum = 0.0
        self._min: int | None = None
        self._max: int | None = None

    def add(self, values: npt.NDArray[np.int64]) -> None:
        """Count times in.

        Args:
            values: int64, in any order.
        """
        if not len(values):
            return
        self._note(len(values), float(values.sum(dtype=np.float64)), values.min(), values.max())
        above = values[values > 0]
        buckets = np.ceil(np.log(above) * self._factor).astype(np.int64)
        waiting = np.bincount(buckets, minlength=len(self._waiting))
        waiting[: len(self._waiting)] += self._waiting
        self._waiting = waiting
        self._waiting_zeros += len(values) - len(above)

    def _add_waiting(self) -> None:
        add, middle = self._sketch.add, self._mapping.value
        for bucket in np.flatnonzero(self._waiting).tolist():
            # Its middle, which no rounding takes for a neighbour's.
            add(middle(bucket), int(self._waiting[bucket]))
        if self._waiting_zeros:
            add(0.0, self._waiting_zeros)
        self._waiting = self._waiting[:0]
        self._waiting_zeros = 0

    def _note(self, count: int, total: float, least: int, greatest: int) -> None:
        self._count += count
        self._sum += total
        self._min = int(least) if self._min is None else min(self._min, int(least))
        self._max = int(greatest) if self._max is None else max(self._max, int(greatest))

    @property
    def count(self) -> int:
        """See ``Distribution.count``."""
        return self._count

    @property
    def min(self) -> int | None:
        """See ``Distribution.min``."""
        return self._min

    @property
    def max(self) -> int | None:
        """See ``Distribution.max``."""
        return self._max

    @property
    def mean(self) -> float | None:
        """See ``Distribution.mean``."""
        return self._sum / self._count if self._count else None

    def percentile(self, percent: float) -> int | None:
        """See ``Distribution.percentile``: the middle of the bucket that the nearest rank is in."""
        __tracebackhide__ = True
        position = rank(max(1, self._count), percent)
        if self._min is None or self._max is None or position == 1:
            return self._min
        if position == self._count:
            return self._max
        self._add_waiting()
        # The library counts ranks from 0 to count - 1. Half a rank lies safely between two of them.
        value = self._sketch.get_quantile_value((position - 0.5) / (self._count - 1))
        assert value is not None
        return min(max(round(value), self._min), self._max)

    def percentiles(self, percents: Sequence[float]) -> list[int | None]:
        """See ``Distribution.percentiles``."""
        __tracebackhide__ = True
        return [self.percentile(percent) for percent in percents]

    def interval(self, percent: float) -> None:
        """See ``Distribution.interval``; without the samples nobody knows how alike they are."""
        self.percentile(percent)

    def below(self, edges: Sequence[int]) -> list[int]:
        """See ``Distribution.below``: by the middles of the buckets; the least and greatest are exact."""
        self._add_waiting()
        # The library tells quantiles, and its buckets to nobody.
        store = self._sketch._store
        counts = np.asarray(store.bins, np.float64)
        buckets = np.arange(len(counts)) + store.offset
        middles = np.asarray([self._mapping.value(bucket) for bucket in buckets.tolist()])
        so_far = np.concatenate([[0.0], np.cumsum(counts)]) + (self._count - counts.sum())
        found = so_far[np.searchsorted(middles, edges, side="left")].round().astype(np.int64)
        return [
            0
            if self._min is None or edge <= self._min
            else self._count
            if self._max is None or edge > self._max
            else int(number)
            for edge, number in zip(edges, found, strict=True)
        ]

    def joined(self, others: Iterable[Self]) -> Self:
        """See ``Distribution.joined``."""
        together = type(self)()
        for part in (self, *others):
            if part._min is not None and part._max is not None:
                part._add_waiting()
                together._sketch.merge(part._sketch)
                together._note(part._count, part._sum, part._min, part._max)
        return together
