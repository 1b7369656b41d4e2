"""What is the p95 right now? A bounded window over the latest response times.

PYTEST_DONT_REWRITE: it is fed from the hot path.
"""

from __future__ import annotations

from collections import deque

from pytest_certload.samples import Outcome

from .percentile import rank

__all__ = ["LiveWindow"]


class LiveWindow:
    """The latest successful response times, for the live line only; verdicts use all samples.

    Args:
        size: How many are kept; default 1,000.
    """

    def __init__(self, size: int = 1_000) -> None:
        self._latest: deque[int] = deque(maxlen=size)

    def note(self, outcome: Outcome, end: int, response_time: int) -> None:
        """Take note of an iteration that is over; errors are no latency samples."""
        if outcome is Outcome.OK:
            self._latest.append(response_time)

    def p95(self) -> int | None:
        """The 95th percentile of the kept ones in nanoseconds; None without samples."""
        if not self._latest:
            return None
        return sorted(self._latest)[rank(len(self._latest), 95) - 1]
