"""Who wakes us to the nanosecond? A Linux timer that the event loop watches like a socket.

An event loop rounds its own timers up to whole milliseconds; a descriptor that becomes readable wakes
it at once. See timerfd_create(2).

PYTEST_DONT_REWRITE: this is the hot path.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections.abc import Callable

__all__ = ["TimerfdAlarm"]

_CLOCK_MONOTONIC = 1
_ABSOLUTE = 1
_SECOND = 1_000_000_000


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Setting(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.timerfd_settime.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    return libc


class TimerfdAlarm:
    """An alarm on ``CLOCK_MONOTONIC``, the clock of ``time.monotonic_ns``.

    Raises:
        OSError: The process has no descriptor left.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        libc = _libc()
        self._settime = libc.timerfd_settime
        self._loop = loop
        self._ring = ring
        self._set = False
        self._setting = _Setting()
        self._address = ctypes.addressof(self._setting)
        self._value = self._setting.value
        self._descriptor = libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create failed")
        loop.add_reader(self._descriptor, self._due)

    def set(self, when: int) -> None:
        """See ``Alarm.set``."""
        self._set = True
        # All zeros would switch the timer off, so the past is a nanosecond after the origin.
        value = self._value
        value.seconds, value.nanoseconds = divmod(when if when > 0 else 1, _SECOND)
        self._settime(self._descriptor, _ABSOLUTE, self._address, None)

    def cancel(self) -> None:
        """See ``Alarm.cancel``."""
        if self._descriptor >= 0:
            self._value.seconds = self._value.nanoseconds = 0
            self._settime(self._descriptor, _ABSOLUTE, self._address, None)

    def close(self) -> None:
        """See ``Alarm.close``."""
        if self._descriptor >= 0:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    def _due(self) -> None:
        # Setting the timer, also to "off", takes back that it is readable: no read is needed.
        self._set = False
        self._ring()
        if not self._set:
            self.cancel()
