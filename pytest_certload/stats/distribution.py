"""How are times of one kind distributed? One question, asked of all times or of a sketch of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

from .percentile import counted_below, percentiles
from .uncertainty import Interval, intervals

__all__ = ["Distribution", "ExactTimes"]

Times = npt.NDArray[np.int64]
Reader = Callable[[], Times]

#: Percentiles that every report asks for.
_USUAL = (50.0, 90.0, 95.0, 99.0)


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

    def percentiles(self, percents: Sequence[float]) -> list[int | None]:
        """Several of them, for little more than one.

        Raises:
            ValueError: A percentage is outside 0 to 100.
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

    Times are read whenever something new is asked of them, and not kept: the samples of a long run are there
    already, and each kind of time beside them would take an eighth of their memory, twice.

    Args:
        read: The times, int64, in any order; or what reads them, always the same, into an array that
            nobody else has.
        due: When each was due, or what reads that; None: they stand in that order.
    """

    error = None

    def __init__(self, read: Times | Reader, due: Times | Reader | None = None) -> None:
        self._read = _reader(read)
        self._due = None if due is None else _reader(due)
        times = self._read()
        self._count = len(times)
        self._min = int(times.min()) if len(times) else None
        self._max = int(times.max()) if len(times) else None
        self._mean = float(times.mean()) if len(times) else None
        self._percentiles = dict(
            zip(_USUAL, percentiles(times, _USUAL, overwrite=True), strict=True)
        )
        self._intervals: dict[float, Interval] = {}

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
        return self._mean

    def percentile(self, percent: float) -> int | None:
        """See ``Distribution.percentile``."""
        __tracebackhide__ = True
        return self.percentiles([percent])[0]

    def percentiles(self, percents: Sequence[float]) -> list[int | None]:
        """See ``Distribution.percentiles``."""
        __tracebackhide__ = True
        new = [percent for percent in percents if percent not in self._percentiles]
        if new:
            self._percentiles |= zip(
                new, percentiles(self._read(), new, overwrite=True), strict=True
            )
        return [self._percentiles[percent] for percent in percents]

    def interval(self, percent: float) -> Interval | None:
        """See ``Distribution.interval``; it is known."""
        if percent not in self._intervals:
            times = self._read()
            if self._due is not None:
                times = times[np.argsort(self._due(), kind="stable")]
            # Those that will be asked for as well cost little beside the first.
            wanted = _USUAL if percent in _USUAL else (percent,)
            self._intervals |= intervals(times, wanted)
        return self._intervals[percent]

    def below(self, edges: Sequence[int]) -> list[int]:
        """See ``Distribution.below``; exact."""
        found: list[int] = counted_below(self._read(), edges).tolist()
        return found

    def joined(self, others: Iterable[Self]) -> Self:
        """See ``Distribution.joined``."""
        parts = [self, *others]
        return type(self)(
            lambda: np.concatenate([part._read() for part in parts]),
            lambda: np.concatenate([part._due_times() for part in parts]),
        )

    def _due_times(self) -> Times:
        return np.arange(self._count) if self._due is None else self._due()


def _reader(times: Times | Reader) -> Reader:
    return times if callable(times) else times.copy
