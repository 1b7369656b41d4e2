"""Which rate is tried next? A search for the highest that holds; it knows nothing of load."""

from __future__ import annotations

import math

__all__ = ["RateSearch"]


class RateSearch:
    """Doubles (or halves) until one rate held and a higher one did not, then bisects.

    Ask for ``rate``, try it, tell ``observe``; until ``rate`` is None.

    Args:
        start: The first rate.
        least, most: None below or above is tried.
        precision: Ends when ``failed / held`` is at most this, above 1.
        tries: How often a rate must fail to count as failed; once suffices to hold.
    """

    def __init__(
        self,
        *,
        start: int = 2000,
        least: int = 125,
        most: int = 64_000,
        precision: float = 1.05,
        tries: int = 2,
    ) -> None:
        self._least = least
        self._most = most
        self._precision = precision
        self._tries = tries
        self._failures = 0
        self._rate = start
        self._over = False
        #: Highest rate that held, 0: none did.
        self.held = 0
        #: Lowest rate that failed, 0: none did.
        self.failed = 0

    @property
    def rate(self) -> int | None:
        """The rate to try; None when the search is over."""
        return None if self._over else self._rate

    def observe(self, *, held: bool) -> None:
        """Take in what came of trying ``rate``."""
        if not held:
            self._failures += 1
            if self._failures < self._tries:
                return
            self.failed = self._rate
        else:
            self.held = self._rate
        self._failures = 0
        self._choose()

    def _choose(self) -> None:
        if not self.failed:
            following = min(self._most, self.held * 2)
        elif not self.held:
            following = max(self._least, self.failed // 2)
        elif self.failed <= self.held * self._precision:
            following = self.held
        else:
            following = round(math.sqrt(self.held * self.failed))
        self._over = following in (self.held, self.failed)
        self._rate = following
