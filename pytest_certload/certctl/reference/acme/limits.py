"""How much may one account order? certctl's limits, in memory but for the orders that are not finished.

All refuse with 429 and a problem document, and none of them says when to come back.
"""

from __future__ import annotations

import time
from typing import Any

from pytest_certload.certctl.reference.config import Config, Limit
from pytest_certload.certctl.reference.limiter import Limiter
from pytest_certload.certctl.reference.web import JSON, Answer, problem

from .problems import Refused

__all__ = ["OrderLimits"]

_HOUR = 3600
_WRONG_SHAPE = Answer(status=429, body=b'{"message":"slow down"}\n', content_type=JSON)
_TOO_OFTEN = problem(429, "rateLimited", "the account has made too many orders in this hour")
_TOO_MANY = problem(429, "rateLimited", "the account has too many orders that are not finished")
_TOO_EAGER = problem(429, "rateLimited", "the challenge was answered too often in this hour")
_COUNT_ACTIVE = (
    "SELECT count(1) FROM acme_orders WHERE account_id = $1"
    " AND status IN ('pending', 'ready', 'processing')"
)


class OrderLimits:
    """The limits of one process; when they are on there is one."""

    def __init__(self, config: Config) -> None:
        limits = config.acme_limits
        off = "acme-limit-off" in config.faults
        self._orders = None if off else _hourly(limits.orders_per_hour)
        self._most_active = 0 if off else limits.active_orders
        self._responds = _hourly(limits.challenge_responds_per_hour)
        self._wrong_shape = "acme-429-shape" in config.faults

    async def order(self, connection: Any, account_id: str) -> None:
        """Let an account make one more order.

        An attempt counts against the hour although the second limit refuses it. Two at once may
        both be the last one that is allowed: nothing is locked. certctl does the same.

        Raises:
            Refused: It has had enough.
        """
        if self._orders is not None and not self._orders.admit(account_id):
            raise self._refusal(_TOO_OFTEN)
        if self._most_active:
            active = await connection.fetchval(_COUNT_ACTIVE, account_id)
            if active >= self._most_active:
                raise self._refusal(_TOO_MANY)

    def respond(self, challenge_id: str) -> None:
        """Let a challenge be answered once more.

        Raises:
            Refused: It was answered too often.
        """
        if self._responds is not None and not self._responds.admit(challenge_id):
            raise self._refusal(_TOO_EAGER)

    def _refusal(self, answer: Answer) -> Refused:
        return Refused(_WRONG_SHAPE if self._wrong_shape else answer)


def _hourly(count: int) -> Limiter | None:
    """A bucket a key that is full at first, and fills up again within an hour; 0: no limit."""
    if not count:
        return None
    return Limiter(Limit(rate=count / _HOUR, burst=count), time.monotonic)
