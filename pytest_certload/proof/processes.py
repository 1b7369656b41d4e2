"""What did server, Postgres and generator take of the machine, which was the bottleneck, did one of them die?"""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from pytest_certload.stack import Stack
from pytest_certload.stack.meters import Meter, Reading, open_meters
from pytest_certload.stack.model import cpu_count
from pytest_certload.stack.process_meter import OwnMeter

from .findings import ProcessFinding, ProcessMoment, Proof

__all__ = ["PartDeath", "ProcessWitness", "Track", "crash_recoveries", "limit_of"]

N = TypeVar("N", int, float)

#: How often it is asked whether somebody died: nothing but a system call for a process of ours.
_DEATH_SECONDS = 0.05
_READING_SECONDS = 1.0
#: In a shorter time than this, CPU time is too coarse to say how many cores were in use.
_LEAST_SECONDS = 0.2
#: From such a share of all cores on the machine has nothing left to give.
_FULL = 0.9
#: What runs in one thread uses that many cores at its limit; more than that, and it is several threads.
_ONE_CORE = (0.92, 1.08)
_MOSTLY = 0.5


@dataclass(frozen=True, kw_only=True)
class PartDeath:
    """The end of a part while it was under load.

    Attributes:
        name: ``server`` or ``postgres``.
        at: Seconds from the begin of the load; 0: it was dead before.
        how: Such as ``killed by SIGKILL``.
        log: What it wrote to its log during the load.
    """

    name: str
    at: float
    how: str
    log: str

    def __str__(self) -> str:
        """In words, such as ``the server died 12.3 s into the load (killed by SIGKILL)``."""
        when = f"died {self.at:.1f} s into the load" if self.at else "was dead before the load"
        return f"{_called(self.name)} {when} ({self.how})"


class Track:
    """What one meter has told.

    Args:
        meter: The meter.

    Attributes:
        died_at, how, events, moments: As in ``ProcessFinding``.
        alive_at: When it was last seen alive.
    """

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self.died_at: float | None = None
        self.how: str | None = None
        self.alive_at = 0.0
        self.moments: list[ProcessMoment] = []
        self.events: tuple[str, ...] = ()
        self._first: tuple[float, Reading] | None = None
        self._last: tuple[float, Reading] | None = None
        self._spoken: tuple[float, float] | None = None
        self._memory: list[int] = []
        self._descriptors: list[int] = []

    def read(self, at: float) -> None:
        """Have the meter look, so many seconds after the begin of the load."""
        reading = self.meter.read()
        if reading is not None:
            self.note(at, reading)

    def note(self, at: float, reading: Reading) -> None:
        """Add a reading."""
        if self._first is None:
            self._first = at, reading
        self._last = at, reading
        if reading.memory is not None:
            self._memory.append(reading.memory)
        if reading.descriptors is not None:
            self._descriptors.append(reading.descriptors)
        if reading.cpu is None:
            return
        if self._spoken is None:
            self._spoken = at, reading.cpu
        elif at - self._spoken[0] >= _LEAST_SECONDS:
            cores = (reading.cpu - self._spoken[1]) / (at - self._spoken[0])
            self.moments.append(ProcessMoment(at=at, cores=cores, memory=reading.memory))
            self._spoken = at, reading.cpu

    def finding(self) -> ProcessFinding:
        """All of them together."""
        first_at, first = self._first or (0.0, Reading())
        last_at, last = self._last or (0.0, Reading())
        cpu = _difference(first.cpu, last.cpu)
        return ProcessFinding(
            name=self.meter.name,
            cpu_seconds=cpu,
            cores=None if cpu is None or last_at <= first_at else cpu / (last_at - first_at),
            memory_peak=self._memory_peak(first, last),
            descriptors_peak=max(self._descriptors, default=None),
            switches=_difference(first.switches, last.switches),
            forced_switches=_difference(first.forced_switches, last.forced_switches),
            died_at=self.died_at,
            death=self.how,
            events=self.events,
            moments=tuple(self.moments),
            missing=tuple(self.meter.missing),
        )

    def _memory_peak(self, first: Reading, last: Reading) -> int | None:
        seen = max(self._memory, default=None)
        if seen is None or first.memory_peak is None or last.memory_peak is None:
            return seen
        # The system's own peak is as old as the process: only if it has risen was it in this load.
        return max(seen, last.memory_peak) if last.memory_peak > first.memory_peak else seen


def _difference(first: N | None, last: N | None) -> N | None:
    return None if first is None or last is None else last - first


class ProcessWitness:
    """Looks at the processes once a second, and twenty times a second whether they live.

    That happens in a thread, which mostly waits.

    Args:
        stack: Of which to look at server and Postgres; None: at the generator alone.
        say: Told in a line when a part dies.

    Attributes:
        deaths: Those that died, in order.
    """

    def __init__(
        self, stack: Stack | None = None, *, say: Callable[[str], None] = lambda text: None
    ) -> None:
        self._stack = stack
        self._say = say
        self._stop = threading.Event()
        self._tracks: list[Track] = []
        self._error: BaseException | None = None
        self.deaths: list[PartDeath] = []

    async def begin(self) -> None:
        """See ``Witness``."""
        self._loop = asyncio.get_running_loop()
        self._begun, self._dead, self._over = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="certload-processes", daemon=True)
        self._thread.start()
        await self._begun.wait()
        self._raise_own()

    async def doomed(self) -> None:
        """Return when a part has died, so that more load proves nothing."""
        await self._dead.wait()

    async def end(self, proof: Proof) -> None:
        """See ``Witness``."""
        self._stop.set()
        await self._over.wait()
        self._thread.join()
        self._raise_own()
        findings = [track.finding() for track in self._tracks]
        proof.processes += findings
        cores = cpu_count() if self._stack is None else self._stack.cpu_count
        proof.limit = limit_of(findings, cores)

    def _raise_own(self) -> None:
        if self._error is not None:
            raise self._error

    # In the thread.

    def _run(self) -> None:
        try:
            self._look_on()
        except BaseException as error:  # noqa: BLE001 - a mistake in here, raised by who waits
            self._error = error
        finally:
            self._tell(self._begun)
            self._tell(self._over)

    def _look_on(self) -> None:
        meters = [*open_meters(self._stack), OwnMeter("generator")]
        try:
            self._tracks = [Track(meter) for meter in meters]
            self._began, self._began_wall = time.monotonic(), time.time()
            self._look_for_deaths(0.0)
            self._round(0.0)
            self._tell(self._begun)
            following = _READING_SECONDS
            while not self._stop.wait(_DEATH_SECONDS):
                self._look_for_deaths(self._now())
                if self._now() >= following:
                    self._round(self._now())
                    following = max(following + _READING_SECONDS, self._now())
            self._look_for_deaths(self._now())
            self._round(self._now())
            for track in self._tracks:
                if track.meter.name == "postgres":
                    log = track.meter.log()
                    track.events = tuple(crash_recoveries(log, began=self._began_wall))
        finally:
            for meter in meters:
                meter.close()

    def _now(self) -> float:
        return time.monotonic() - self._began

    def _round(self, at: float) -> None:
        for track in self._tracks:
            if track.died_at is None:
                track.read(at)

    def _look_for_deaths(self, now: float) -> None:
        for track in self._tracks:
            if track.died_at is not None:
                continue
            death = track.meter.death()
            if death is None:
                track.alive_at = now
                continue
            # A process that nobody has waited for yet still tells how much CPU time it took.
            track.read(now)
            at = now if death.at is None else death.at - self._began_wall
            # Whatever the clock of a daemon says.
            track.died_at = min(max(at, track.alive_at), now)
            track.how = death.how
            found = PartDeath(
                name=track.meter.name, at=track.died_at, how=death.how, log=track.meter.log()
            )
            self._call(self._notice, found)

    def _tell(self, event: asyncio.Event) -> None:
        self._call(event.set)

    def _call(self, function: Callable[..., None], *arguments: object) -> None:
        # In a loop that is closed nobody waits any more: the load was cut short.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *arguments)

    # In the event loop again.

    def _notice(self, death: PartDeath) -> None:
        self.deaths.append(death)
        self._say(str(death))
        self._dead.set()


def limit_of(findings: Sequence[ProcessFinding], cores: int) -> str | None:
    """Which of the parts was the bottleneck, in words; None when none of them was at one.

    All of the machine's cores were in use in most seconds: the part that used most of them. Else a
    server or generator that used a whole core in most seconds, and no more: as much as work in one
    thread can have. Postgres has a process for each connection, so there that would say nothing.

    Args:
        findings: The parts; the moments of readings that were made together are the same.
        cores: That the machine has.
    """
    together: dict[float, float] = {}
    for finding in findings:
        for moment in finding.moments:
            together[moment.at] = together.get(moment.at, 0.0) + moment.cores
    if not together:
        return None
    of_cores = f"of {cores} core{'s' if cores != 1 else ''}"
    full = sum(used >= _FULL * cores for used in together.values()) / len(together)
    if full > _MOSTLY:
        most = max(findings, key=lambda finding: finding.cores or 0)
        used = sum(finding.cores or 0 for finding in findings)
        return (
            f"{_called(most.name)}: {most.cores or 0:.2f} {of_cores}, of which {used:.2f} were in use "
            "in all"
        )
    low, high = _ONE_CORE
    for finding in findings:
        if finding.name == "postgres" or not finding.moments:
            continue
        busy = sum(low <= moment.cores <= high for moment in finding.moments)
        if busy > _MOSTLY * len(finding.moments):
            return (
                f"{_called(finding.name)}: {finding.cores or 0:.2f} {of_cores}, as much as work in one "
                "thread can have"
            )
    return None


def _called(name: str) -> str:
    return "Postgres" if name == "postgres" else f"the {name}"


_STAMP = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}) UTC ")
_CRASH = re.compile(r"LOG:\s+(.*\(PID \d+\) (?:was terminated by|exited with) .*)")
_RECOVERY = "all server processes terminated; reinitializing"


def crash_recoveries(log: str, *, began: float) -> Iterator[str]:
    """Where a Postgres that lives on had to recover, as one of its processes crashed.

    Args:
        log: What it wrote, in its own form.
        began: When the load began, as ``time.time()``.
    """
    cause = ""
    for line in log.splitlines():
        if crash := _CRASH.search(line):
            cause = f": {crash[1]}"
        elif _RECOVERY in line:
            stamp, when = _STAMP.match(line), ""
            if stamp is not None:
                moment = datetime.fromisoformat(stamp[1]).replace(tzinfo=UTC).timestamp()
                when = f" {moment - began:.1f} s into the load"
            yield f"crash recovery{when}{cause}"
            cause = ""
