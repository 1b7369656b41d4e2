from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import uvloop

from pytest_certload.engine import clock
from pytest_certload.engine.clock import Alarm, SystemClock

Make = Callable[[Callable[[], None]], Alarm]
Run = Callable[[Coroutine[Any, Any, Any]], Any]


def by_event_loop(ring: Callable[[], None]) -> Alarm:
    return clock._LoopAlarm(asyncio.get_running_loop(), ring)


def by_system(ring: Callable[[], None]) -> Alarm:
    return SystemClock().alarm(ring)


@pytest.fixture(params=[by_event_loop, by_system])
def make(request: pytest.FixtureRequest) -> Make:
    found: Make = request.param
    return found


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    with asyncio.Runner(loop_factory=request.param) as runner:
        yield runner.run


def rings(run: Run, make: Make, script: Callable[[Alarm], None], *, wait: float) -> list[int]:
    """When an alarm rang while a script of its owner went on, for so many seconds."""

    async def main() -> list[int]:
        seen: list[int] = []
        alarm = make(lambda: seen.append(time.monotonic_ns()))
        script(alarm)
        await asyncio.sleep(wait)
        alarm.close()
        alarm.close()
        return seen

    found: list[int] = run(main())
    return found


def test_rings_once_and_never_early(run: Run, make: Make) -> None:
    wanted = time.monotonic_ns() + 20_000_000
    (rang,) = rings(run, make, lambda alarm: alarm.set(wanted), wait=0.1)
    assert rang >= wanted


def test_rings_at_once_for_what_is_past(run: Run, make: Make) -> None:
    for past in (0, time.monotonic_ns() - 10**9):
        assert len(rings(run, make, lambda alarm, past=past: alarm.set(past), wait=0.05)) == 1  # type: ignore[misc]


def test_a_new_time_replaces_the_old_one(run: Run, make: Make) -> None:
    soon, later = (time.monotonic_ns() + n * 1_000_000 for n in (10, 60))

    def script(alarm: Alarm) -> None:
        alarm.set(soon)
        alarm.set(later)

    (rang,) = rings(run, make, script, wait=0.2)
    assert rang >= later


def test_does_not_ring_when_it_is_cancelled(run: Run, make: Make) -> None:
    def script(alarm: Alarm) -> None:
        alarm.set(time.monotonic_ns() + 10_000_000)
        alarm.cancel()

    assert rings(run, make, script, wait=0.05) == []


def test_can_be_set_again_while_it_rings(run: Run, make: Make) -> None:
    async def main() -> int:
        count = 0
        over = asyncio.Event()

        def ring() -> None:
            nonlocal count
            count += 1
            if count == 3:
                over.set()
            else:
                alarm.set(time.monotonic_ns() + 1_000_000)

        alarm = make(ring)
        alarm.set(time.monotonic_ns())
        async with asyncio.timeout(5):
            await over.wait()
        # It has not been set again, so it keeps quiet.
        await asyncio.sleep(0.02)
        alarm.close()
        return count

    assert run(main()) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: timerfd")
def test_leaves_no_descriptor_open() -> None:
    def open_timers() -> int:
        # Not all descriptors: some may be closed with what an earlier test left to be collected.
        links = []
        for name in Path("/proc/self/fd").iterdir():
            with suppress(FileNotFoundError):  # of the listing itself
                links.append(str(name.readlink()))
        return sum("timerfd" in link for link in links)

    before = open_timers()
    rings(asyncio.run, by_system, lambda alarm: alarm.set(0), wait=0.01)
    assert open_timers() == before


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: timerfd")
def test_without_a_descriptor_it_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_certload.engine import timerfd

    class Refusing:
        timerfd_settime = None

        @staticmethod
        def timerfd_create(kind: int, flags: int) -> int:
            return -1

    monkeypatch.setattr(timerfd, "_libc", lambda: Refusing)

    async def main() -> None:
        with pytest.raises(OSError, match="timerfd_create failed"):
            SystemClock().alarm(lambda: None)

    asyncio.run(main())
