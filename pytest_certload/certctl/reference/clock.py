"""What time does the server think it is?"""

from __future__ import annotations

from collections.abc import Callable, Container
from datetime import UTC, datetime, timedelta

__all__ = ["BEHIND", "Clock", "server_clock"]

#: How late a stale clock is.
BEHIND = timedelta(minutes=10)

Clock = Callable[[], datetime]


def server_clock(faults: Container[str]) -> Clock:
    """The machine's clock, or one that ``stale-clock`` has made late."""
    return _stale if "stale-clock" in faults else _right


def _right() -> datetime:
    return datetime.now(UTC)


def _stale() -> datetime:
    return datetime.now(UTC) - BEHIND
