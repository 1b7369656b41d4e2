"""What did the generator see of itself? Its own lateness, its share of the CPU, and its pauses."""

from __future__ import annotations

import resource
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .clock import Clock
from .collector import QuietCollector

__all__ = ["SelfReport", "Watchdog"]

_BEAT = 20_000_000
_SECOND = 1_000_000_000
#: From such a share of a core on, the event loop has no time left to be punctual.
_BUSY = 0.95


@dataclass(frozen=True, kw_only=True)
class SelfReport:
    """How the generator fared. Times in nanoseconds, shares from 0 to 1; None: cannot be known here.

    Attributes:
        loop_lag_p50, loop_lag_p99, loop_lag_max: How late the event loop came to what was due, asked
            fifty times a second; moments that it slept through count as late as they were.
        cpu_share: CPU time of the load's thread, per second: 1 is a whole core.
        busy_share: Share of the seconds in which that thread used a whole core.
        wait_share: Share of the time in which it could have run and other processes did.
        steal_share: Share of the machine's CPU time that its host gave to others.
        gc_pauses, gc_longest, gc_total: Collections of garbage: how many, the longest, all together.
        memory_growth: Octets by which the process's greatest size grew.
    """

    loop_lag_p50: int
    loop_lag_p99: int
    loop_lag_max: int
    cpu_share: float
    busy_share: float
    wait_share: float | None
    steal_share: float | None
    gc_pauses: int
    gc_longest: int
    gc_total: int
    memory_growth: int


class Watchdog:
    """Watches the thread of the running event loop from ``start()`` to ``stop()``.

    Args:
        clock: Tells the time.
        collector: Is made to tidy up once a second.
        thread_time: CPU time of the running thread, nanoseconds.
    """

    def __init__(
        self,
        clock: Clock,
        collector: QuietCollector,
        thread_time: Callable[[], int] = time.thread_time_ns,
    ) -> None:
        self._clock = clock
        self._collector = collector
        self._thread_time = thread_time
        self._alarm = clock.alarm(self._ring)
        self._lags: list[int] = []
        self._busy = self._seconds = 0

    def start(self) -> None:
        """Begin to watch."""
        self._memory = _greatest_size()
        self._waited = _waited()
        self._stolen = _stolen()
        self._began_cpu = self._second_cpu = self._thread_time()
        self._began = self._second = self._clock.now()
        self._next = self._began + _BEAT
        self._alarm.set(self._next)

    def _ring(self) -> None:
        now = self._clock.now()
        while self._next <= now:
            self._lags.append(now - self._next)
            self._next += _BEAT
        if now - self._second >= _SECOND:
            self._note_second(now)
            self._collector.tidy()
        self._alarm.set(self._next)

    def _note_second(self, now: int) -> None:
        cpu = self._thread_time()
        self._seconds += 1
        self._busy += cpu - self._second_cpu >= _BUSY * (now - self._second)
        self._second, self._second_cpu = now, cpu

    def stop(self) -> SelfReport:
        """End, and tell."""
        self._alarm.close()
        now = self._clock.now()
        elapsed = max(1, now - self._began)
        cpu_share = (self._thread_time() - self._began_cpu) / elapsed
        lags = sorted(self._lags) or [0]
        waited = _waited()
        pauses = self._collector.pauses
        return SelfReport(
            loop_lag_p50=lags[len(lags) // 2],
            loop_lag_p99=lags[min(len(lags) - 1, len(lags) * 99 // 100)],
            loop_lag_max=lags[-1],
            cpu_share=cpu_share,
            busy_share=self._busy / self._seconds if self._seconds else float(cpu_share >= _BUSY),
            wait_share=(
                None
                if waited is None or self._waited is None
                else (waited - self._waited) / elapsed
            ),
            steal_share=_share(self._stolen, _stolen()),
            gc_pauses=len(pauses),
            gc_longest=max(pauses, default=0),
            gc_total=sum(pauses),
            memory_growth=_greatest_size() - self._memory,
        )


def _greatest_size() -> int:
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size if sys.platform == "darwin" else size * 1024


def _waited() -> int | None:
    """Nanoseconds the running thread waited for a core while it could have run (Linux)."""
    path = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
    try:
        return int(path.read_text("ascii").split()[1])
    except (OSError, IndexError, ValueError):
        return None


def _stolen() -> tuple[int, int] | None:
    """Ticks the machine's host gave to others, and all ticks (Linux)."""
    try:
        ticks = [int(word) for word in Path("/proc/stat").read_text("ascii").split(None, 9)[1:9]]
    except (OSError, ValueError):
        return None
    return ticks[7], sum(ticks)


def _share(before: tuple[int, int] | None, after: tuple[int, int] | None) -> float | None:
    if before is None or after is None or after[1] == before[1]:
        return None
    return (after[0] - before[0]) / (after[1] - before[1])
