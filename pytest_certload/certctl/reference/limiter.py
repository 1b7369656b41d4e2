"""Who is refused before anything else is looked at? A token bucket for each address."""

from __future__ import annotations

from collections.abc import Callable

from .config import Limit
from .web import Answer, text_answer

__all__ = ["REFUSAL", "Limiter"]

REFUSAL: Answer = text_answer(429, '{"error":"Rate limit exceeded"}', headers={"Retry-After": "1"})


class Limiter:
    """A bucket an address: full at first, refilled at the limit's rate, one token a request.

    Args:
        limit: Rate and size of each bucket.
        clock: Seconds that never go back.
    """

    def __init__(self, limit: Limit, clock: Callable[[], float]) -> None:
        self._limit = limit
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def admit(self, address: str) -> bool:
        """Take a token of an address's bucket; False when there is none."""
        now = self._clock()
        tokens, since = self._buckets.get(address, (float(self._limit.burst), now))
        tokens = min(self._limit.burst, tokens + (now - since) * self._limit.rate)
        admitted = tokens >= 1
        self._buckets[address] = (tokens - 1 if admitted else tokens, now)
        return admitted
