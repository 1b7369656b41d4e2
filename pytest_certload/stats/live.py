"""How long do answers take right now? Percentiles of the last seconds, for those who watch.

PYTEST_DONT_REWRITE: it is fed from the hot path.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import chain

from pytest_certload.samples import Outcome

from .percentile import rank

__all__ = ["LiveWindow", "Recent"]

#: So many times of each second are looked at, evenly picked: the load must not wait for the rest.
_MOST = 1_000
_TREND = 60


@dataclass(frozen=True, kw_only=True)
class Recent:
    """The latest successful response times; verdicts use all samples.

    Attributes:
        p50, p95, p99: Of the last seconds, nanoseconds; None without samples.
        trend: p95 of each of the last seconds, the latest last; None where there is none.
    """

    p50: int | None
    p95: int | None
    p99: int | None
    trend: tuple[int | None, ...]


class LiveWindow:
    """A window over the last seconds.

    Args:
        seconds: How many percentiles are made of; default 5.
    """

    def __init__(self, seconds: int = 5) -> None:
        self._running: list[int] = []
        self._latest: deque[list[int]] = deque(maxlen=seconds)
        self._trend: deque[int | None] = deque(maxlen=_TREND)

    def note(self, outcome: Outcome, end: int, response_time: int) -> None:
        """Take note of an iteration that is over; errors are no latency samples."""
        if outcome is Outcome.OK:
            self._running.append(response_time)

    def turn(self) -> Recent:
        """A second is over: what it was like, and those before it."""
        ended, self._running = self._running, []
        picked = sorted(ended[:: -(-len(ended) // _MOST) or 1])
        self._latest.append(picked)
        self._trend.append(_percentile(picked, 95))
        # Runs that are sorted already are only merged, and that in C.
        together = sorted(chain.from_iterable(self._latest))
        return Recent(
            p50=_percentile(together, 50),
            p95=_percentile(together, 95),
            p99=_percentile(together, 99),
            trend=tuple(self._trend),
        )


def _percentile(ordered: list[int], percent: float) -> int | None:
    return ordered[rank(len(ordered), percent) - 1] if ordered else None
