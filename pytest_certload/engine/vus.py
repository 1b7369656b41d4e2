"""How is a closed load made? VUs, each of which asks again once it is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from pytest_certload.errors import ConfigurationError
from pytest_certload.units import Duration, parse_duration

from .executors import Drive

__all__ = ["Pause", "VuExecutor", "VuLoad", "parse_pause", "show_pause", "sleep_until"]

#: A pause: always the same, or drawn evenly from a range.
Pause = Duration | tuple[Duration, Duration]


def parse_pause(value: object, name: str) -> Pause:
    """A duration, or a pair of them, the shorter one first.

    Raises:
        ConfigurationError: It is neither.
    """
    if not isinstance(value, (tuple, list)):
        return parse_duration(value, name=name)
    if len(value) != 2:
        raise ConfigurationError(f'{name}: {value!r} is no range; write such as ("1s", "3s")')
    shortest, longest = (parse_duration(part, name=name) for part in value)
    if shortest > longest:
        raise ConfigurationError(f"{name}: {value!r} is no range: the longer one comes first")
    return shortest, longest


def show_pause(pause: Pause) -> str:
    """A pause as reports show it."""
    return f"{pause[0]} to {pause[1]}" if isinstance(pause, tuple) else str(pause)


def _draw(pause: Pause, random: Random) -> int:
    return random.randint(*pause) if isinstance(pause, tuple) else pause


async def sleep_until(drive: Drive, when: int) -> None:
    """Wait for an instant of the engine's clock."""
    reached = asyncio.get_running_loop().create_future()

    def ring() -> None:
        if not reached.done():
            reached.set_result(None)

    alarm = drive.clock.alarm(ring)
    try:
        alarm.set(when)
        await reached
    finally:
        alarm.close()


class VuExecutor:
    """An executor of VUs, each running iterations one after the other.

    A subclass has ``vus`` and a ``duration``, and says when its VUs are there.

    Args:
        pacing: Least time from the begin of an iteration to the begin of the VU's next one; a range
            such as ``("1s", "3s")`` is drawn from evenly. Default 0.
        think_time: Pause of a VU after each iteration; likewise.

    Raises:
        ConfigurationError: A value that is not one.
    """

    kind: ClassVar[str]
    scheduled: ClassVar[bool] = False

    vus: int
    pacing: Pause
    think_time: Pause

    def _set_pauses(self, *, pacing: object, think_time: object) -> None:
        object.__setattr__(self, "pacing", parse_pause(pacing, "pacing"))
        object.__setattr__(self, "think_time", parse_pause(think_time, "think_time"))

    @property
    def slots(self) -> int:
        """See ``Executor.slots``."""
        return self.vus

    @property
    def alarms(self) -> int:
        """How many VUs may wait at once; each has an alarm of its own for that."""
        return self.vus if self.pacing or self.think_time else 0

    @property
    def _pauses(self) -> dict[str, str]:
        """What reports say of them."""
        return {"pacing": show_pause(self.pacing), "think_time": show_pause(self.think_time)}


class VuLoad:
    """A ``Load`` made by VUs.

    Args:
        drive: What to work with.
        lives: For each VU its spans of ``(begin, end)``, nanoseconds of the clock: no iteration of it
            begins outside of them.
        pacing: Least time from the begin of a VU's iteration to the begin of its next one.
        think_time: Pause of a VU after each iteration.
        limit: How many iterations there are for all of them; None: as many as fit.
    """

    def __init__(
        self,
        drive: Drive,
        *,
        lives: Sequence[Sequence[tuple[int, int]]],
        pacing: Pause,
        think_time: Pause,
        limit: int | None = None,
    ) -> None:
        self._drive = drive
        self._pacing = pacing
        self._think_time = think_time
        self._limit = limit
        self._end = max(end for spans in lives for _, end in spans)
        self._stopped = False
        self._running = len(lives)
        self._finished = asyncio.Event()
        self.started = 0
        self.in_flight = 0
        self.in_flight_peak = 0
        for vu, spans in enumerate(lives):
            drive.spawn(self._live(vu, spans), vu)

    async def _live(self, vu: int, spans: Sequence[tuple[int, int]]) -> None:
        random = Random(f"{self._drive.seed}/{vu}")
        try:
            for begin, end in spans:
                await self._span(vu, begin, end, random)
        finally:
            self._running -= 1
            if self._running == 0:
                self._finished.set()

    async def _span(self, vu: int, begin: int, end: int, random: Random) -> None:
        drive = self._drive
        now = drive.clock.now
        wanted = begin
        while wanted < end and not self._used_up:
            if now() < wanted:
                await sleep_until(drive, wanted)
                continue  # others may have used up what there was
            start = now()
            if start >= end:
                break
            index = self.started
            self.started = index + 1
            self.in_flight += 1
            self.in_flight_peak = max(self.in_flight_peak, self.in_flight)
            try:
                await drive.iterate(index, start, vu)
            finally:
                self.in_flight -= 1
            wanted = max(
                now() + _draw(self._think_time, random), start + _draw(self._pacing, random)
            )
            # An iteration that never waits must not keep the other VUs from running.
            await asyncio.sleep(0)

    @property
    def _used_up(self) -> bool:
        return self._stopped or (self._limit is not None and self.started >= self._limit)

    @property
    def offered(self) -> int:
        """In the closed model what is started is what is offered."""
        return self.started

    @property
    def backlog(self) -> int:
        """In the closed model nothing waits for a slot."""
        return 0

    @property
    def backlog_peak(self) -> int:
        """See ``backlog``."""
        return 0

    async def wait(self) -> None:
        """See ``Load.wait``."""
        await self._finished.wait()

    def stop(self) -> None:
        """See ``Load.stop``."""
        self._stopped = True

    def not_started(self) -> tuple[int, npt.NDArray[np.int64]]:
        """See ``Load.not_started``: iterations that are still on the heap, due until the very end."""
        left = 0 if self._limit is None else self._limit - self.started
        return self.started, np.full(left, self._end - 1, np.int64)
