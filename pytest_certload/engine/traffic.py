"""How many requests went out so far, and how were they answered?

PYTEST_DONT_REWRITE: this is the hot path.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from typing import Self

__all__ = ["Traffic"]


class Traffic:
    """Requests on ``iteration.client`` of one load, warm-up included.

    A hop of a redirect counts like a request of its own.

    Attributes:
        sent: Handed to the socket.
        statuses: How often each HTTP status came back.
        failed: Iterations that did not succeed, or were not over in the end; not those that were dropped.
        unaccounted: Not answered, beyond the one for which each failed iteration stands: the client, or the
            iteration, sent them again.
    """

    __slots__ = ("failed", "sent", "statuses", "unaccounted")

    def __init__(self) -> None:
        self.sent = 0
        self.failed = 0
        self.unaccounted = 0
        self.statuses: dict[int, int] = {}

    @classmethod
    def together(cls, parts: Iterable[Traffic]) -> Self:
        """What several scenarios have asked and been answered by now."""
        whole = cls()
        statuses: Counter[int] = Counter()
        for part in parts:
            whole.sent += part.sent
            whole.failed += part.failed
            whole.unaccounted += part.unaccounted
            statuses.update(part.statuses)
        whole.statuses = dict(statuses)
        return whole

    def note_answer(self, status: int) -> None:
        """Count an answer."""
        self.statuses[status] = self.statuses.get(status, 0) + 1

    def answered(self, *, but: Collection[int] = ()) -> int:
        """How many were answered, those with some statuses left out."""
        return sum(n for status, n in self.statuses.items() if status not in but)

    @property
    def unanswered(self) -> int:
        """How many have no answer, or none yet."""
        return self.sent - sum(self.statuses.values())
