"""Readings of processes add up, deaths are noticed, and the limit is named when there was one."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_certload.proof import processes
from pytest_certload.proof.findings import ProcessFinding, ProcessMoment, Proof
from pytest_certload.proof.processes import (
    ProcessWitness,
    Track,
    crash_recoveries,
    limit_of,
)
from pytest_certload.stack import Endpoint, Part, Stack
from pytest_certload.stack.meters import Reading, UnknownMeter, describe_exit
from pytest_certload.stack.process_meter import OwnMeter, ProcessMeter, working_in

BUSY_CHILDREN = """
import os, sys, time
for _ in range(4):
    if not (child := os.fork()):
        end = time.process_time() + 0.1
        while time.process_time() < end: pass
        os._exit(0)
    print("running", flush=True)
    sys.stdin.readline()
    os.waitpid(child, 0)
print("done", flush=True)
sys.stdin.readline()
"""


def finding(name: str, *cores: float) -> ProcessFinding:
    moments = tuple(
        ProcessMoment(at=float(at), cores=used, memory=None) for at, used in enumerate(cores, 1)
    )
    return ProcessFinding(
        name=name,
        cpu_seconds=sum(cores),
        cores=sum(cores) / len(cores) if cores else None,
        memory_peak=None,
        descriptors_peak=None,
        switches=None,
        forced_switches=None,
        died_at=None,
        death=None,
        events=(),
        moments=moments,
        missing=(),
    )


class TestATrack:
    @given(
        st.lists(
            st.tuples(
                st.floats(0.25, 5), st.floats(0, 8), st.integers(0, 10**9), st.integers(0, 1000)
            ),
            min_size=2,
            max_size=30,
        )
    )
    def test_adds_up(self, steps: list[tuple[float, float, int, int]]) -> None:
        track, at, cpu, switches = Track(UnknownMeter("server")), 0.0, 3.0, 7
        for length, used, memory, count in steps:
            at, cpu, switches = at + length, cpu + used, switches + count
            track.note(at, Reading(cpu=cpu, memory=memory, switches=switches))
        found = track.finding()
        assert found.cpu_seconds == pytest.approx(sum(used for _, used, _, _ in steps[1:]))
        assert found.switches == sum(count for *_, count in steps[1:])
        assert found.memory_peak == max(memory for _, _, memory, _ in steps)
        assert found.cores == pytest.approx((cpu - 3.0 - steps[0][1]) / (at - steps[0][0]))
        lengths = [length for length, *_ in steps[1:]]
        by_moments = sum(m.cores * t for m, t in zip(found.moments, lengths, strict=True))
        assert by_moments == pytest.approx(found.cpu_seconds)
        assert (found.descriptors_peak, found.forced_switches) == (None, None)

    def test_without_a_reading_knows_nothing(self) -> None:
        found = Track(UnknownMeter("postgres")).finding()
        assert (found.cpu_seconds, found.cores, found.memory_peak, found.moments) == (
            *(None, None, None),
            (),
        )
        assert len(found.missing) == 1

    @pytest.mark.parametrize(
        ("kept_before", "kept_after", "expected"),
        [(900, 900, 120), (900, 950, 950), (None, None, 120)],
    )
    def test_a_peak_from_before_the_load_does_not_count(
        self, kept_before: int | None, kept_after: int | None, expected: int
    ) -> None:
        track = Track(UnknownMeter("server"))
        track.note(0, Reading(cpu=0.0, memory=100, memory_peak=kept_before))
        track.note(1, Reading(cpu=0.0, memory=120, memory_peak=kept_after))
        assert track.finding().memory_peak == expected

    def test_readings_that_are_too_near_are_no_moment(self) -> None:
        track = Track(UnknownMeter("server"))
        for at, cpu in ((0.0, 0.0), (1.0, 0.5), (1.01, 0.51)):
            track.note(at, Reading(cpu=cpu))
        assert [moment.at for moment in track.finding().moments] == [1.0]


class TestTheLimit:
    def test_of_a_full_machine_is_who_uses_most(self) -> None:
        parts = [finding("server", 1.2, 1.3, 1.25), finding("postgres", 0.7, 0.6, 0.7)]
        assert limit_of(parts, 2) == "the server: 1.25 of 2 cores, of which 1.92 were in use in all"
        assert limit_of(parts, 4) is None

    def test_of_one_thread_is_a_core(self) -> None:
        words = "the server: 0.99 of 8 cores, as much as work in one thread can have"
        assert limit_of([finding("server", 0.99, 1.0, 0.98, 0.2 + 0.79)], 8) == words
        assert limit_of([finding("server", 0.99, 0.4, 0.3)], 8) is None
        assert limit_of([finding("postgres", 1.0, 1.0)], 8) is None, "it has many processes"

    def test_is_not_clear_without_readings(self) -> None:
        assert limit_of([], 2) is None
        assert limit_of([finding("server")], 2) is None


class TestAProcess:
    @pytest.fixture
    def busy(self) -> Iterator[subprocess.Popen[str]]:
        with subprocess.Popen(
            [sys.executable, "-c", BUSY_CHILDREN],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            yield process
            process.kill()

    def test_counts_children_that_ended_and_never_goes_back(
        self, busy: subprocess.Popen[str]
    ) -> None:
        assert busy.stdout is not None
        assert busy.stdin is not None
        meter = ProcessMeter("server", busy.pid)
        readings: list[Reading | None] = []
        while busy.stdout.readline() == "running\n":
            readings.append(meter.read())
            busy.stdin.write("\n")
            busy.stdin.flush()
        readings.append(meter.read())
        cpu = [reading.cpu or 0.0 for reading in readings if reading is not None]
        switches = [reading.switches or 0 for reading in readings if reading is not None]
        assert len(cpu) == 5
        assert cpu == sorted(cpu)
        assert switches == sorted(switches)
        assert cpu[-1] - cpu[0] > 0.25, "four children used 0.1 s each"
        last = readings[-1]
        assert last is not None
        assert last.memory_peak is not None
        assert last.memory is not None
        assert last.memory_peak >= last.memory > 1_000_000
        assert (last.descriptors or 0) >= 3
        assert meter.missing == []

    @pytest.mark.parametrize(("ended", "missing"), [(True, False), (False, True)])
    def test_whose_descriptors_nobody_may_see_is_missed_unless_it_has_ended(
        self, monkeypatch: pytest.MonkeyPatch, ended: bool, missing: bool
    ) -> None:
        """The kernel gives /proc/PID/fd of a process that has ended to root alone."""

        def refused(process: psutil.Process) -> int:
            raise psutil.AccessDenied(process.pid, "server")

        with subprocess.Popen(["/bin/sleep", "600"]) as process:
            meter = ProcessMeter("server", process.pid)
            monkeypatch.setattr(psutil.Process, "num_fds", refused)
            if ended:
                process.kill()
                deadline = time.monotonic() + 60
                while meter.death() is None:
                    assert time.monotonic() < deadline
            assert meter.read() is not None
            assert bool(meter.missing) is missing
            process.kill()

    @pytest.mark.parametrize(
        ("program", "how"),
        [
            ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "killed by SIGKILL"),
            ("raise SystemExit(3)", "ended with exit code 3"),
        ],
    )
    def test_that_ended_says_how_and_is_left_to_its_parent(self, program: str, how: str) -> None:
        process = subprocess.Popen([sys.executable, "-c", program])
        meter = ProcessMeter("server", process.pid)
        deadline = time.monotonic() + 60
        while (death := meter.death()) is None:
            assert time.monotonic() < deadline
        assert death.how == how
        reading = meter.read()
        assert reading is not None, "its CPU time can be read until its parent has waited for it"
        assert process.wait() in (-signal.SIGKILL, 3)
        gone = meter.death()
        assert gone is not None
        assert gone.how == "ended"
        assert meter.read() is None

    def test_what_works_in_a_folder_is_found(self, tmp_path: Path) -> None:
        assert working_in(tmp_path) == []
        with subprocess.Popen(["/bin/sleep", "600"], cwd=tmp_path) as process:
            assert [found.pid for found in working_in(tmp_path)] == [process.pid]
            process.kill()
        assert working_in(tmp_path) == []

    def test_of_our_own(self) -> None:
        reading = OwnMeter("generator").read()
        assert reading is not None
        assert None not in (reading.cpu, reading.memory, reading.descriptors, reading.switches)

    def test_exit_codes_are_words(self) -> None:
        assert describe_exit(0) == "ended with exit code 0"
        assert describe_exit(-signal.SIGSEGV) == "killed by SIGSEGV"
        assert describe_exit(-250) == "killed by signal 250"


def stack_of(*parts: Part) -> Stack:
    return Stack(
        provider="embedded",
        reason="",
        endpoint=Endpoint(base_url="http://127.0.0.1:1"),
        dsn=None,
        server="",
        is_reference=True,
        image=None,
        postgres=None,
        postgres_settings={},
        cpu_count=2,
        seeds=(),
        find_parts=lambda: parts,
    )


class TestTheWitness:
    @pytest.fixture
    def process(self) -> Iterator[subprocess.Popen[bytes]]:
        with subprocess.Popen(["/bin/sleep", "600"]) as process:
            yield process
            process.kill()

    @pytest.mark.asyncio
    async def test_tells_of_a_death_at_once(
        self,
        process: subprocess.Popen[bytes],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        log = tmp_path / "log"
        log.write_text("long ago\n")
        said: list[str] = []
        stack = stack_of(Part(name="server", pid=process.pid, log_path=log), Part(name="postgres"))
        witness, proof = ProcessWitness(stack, say=said.append), Proof()
        # A look finds it, not a reading.
        monkeypatch.setattr(processes, "_READING_SECONDS", 1e6)
        before = time.monotonic()
        await witness.begin()
        begun = time.monotonic()
        with log.open("a") as file:
            file.write("now\n")
        await asyncio.sleep(0.3)
        lived = time.monotonic() - begun
        process.kill()
        async with asyncio.timeout(60):
            await witness.doomed()
        noticed = time.monotonic() - before
        await witness.end(proof)
        (death,) = witness.deaths
        assert (death.name, death.log) == ("server", "now\n")
        assert lived <= death.at <= noticed
        assert processes._DEATH_SECONDS <= 0.05, "twenty times a second it is looked for"
        assert str(death) == f"the server died {death.at:.1f} s into the load (killed by SIGKILL)"
        assert said == [str(death)]
        server, postgres, generator = proof.processes
        assert (server.died_at, server.death) == (death.at, "killed by SIGKILL")
        assert postgres.missing[0].startswith("all: it was not started here")
        assert generator.cpu_seconds is not None
        assert (generator.memory_peak or 0) > 1_000_000

    @pytest.mark.asyncio
    async def test_tells_of_what_was_dead_before(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        deadline = time.monotonic() + 60
        while ProcessMeter("server", process.pid).death() is None:
            assert time.monotonic() < deadline
        witness = ProcessWitness(stack_of(Part(name="server", pid=process.pid)))
        await witness.begin()
        async with asyncio.timeout(60):
            await witness.doomed()
        await witness.end(Proof())
        assert str(witness.deaths[0]) == "the server was dead before the load (killed by SIGKILL)"

    def test_that_was_cut_short_in_a_reading_tells_nobody(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        raised: list[object] = []
        monkeypatch.setattr(threading, "excepthook", raised.append)
        reading, go_on = threading.Event(), threading.Event()
        read = OwnMeter.read

        def held_up(meter: OwnMeter) -> Reading | None:
            if witness._stop.is_set():
                reading.set()
                go_on.wait(60)
            return read(meter)

        witness = ProcessWitness()
        monkeypatch.setattr(OwnMeter, "read", held_up)

        async def load() -> None:
            await witness.begin()
            ending = asyncio.create_task(witness.end(Proof()))
            assert await asyncio.to_thread(reading.wait, 60)
            ending.cancel()

        asyncio.run(load())
        go_on.set()
        witness._thread.join(60)
        assert not witness._thread.is_alive()
        assert not raised

    @pytest.mark.asyncio
    async def test_has_the_generator_alone_without_a_stack(self) -> None:
        witness, proof = ProcessWitness(), Proof()
        await witness.begin()
        await witness.end(proof)
        assert [part.name for part in proof.processes] == ["generator"]
        assert witness.deaths == []


class TestACrashRecovery:
    LOG = (
        "2026-11-25 10:00:01.000 UTC [7] LOG:  checkpoint starting: time\n"
        "2026-11-25 10:00:12.250 UTC [1] LOG:  server process (PID 99) was terminated by signal 9: "
        "Killed\n"
        "2026-11-25 10:00:12.250 UTC [1] DETAIL:  Failed process was running: SELECT 1\n"
        "2026-11-25 10:00:12.300 UTC [1] LOG:  all server processes terminated; reinitializing\n"
        "2026-11-25 10:00:12.500 UTC [1] LOG:  database system is ready to accept connections\n"
    )

    def test_says_when_and_why(self) -> None:
        assert list(crash_recoveries(self.LOG, began=1795600800.0)) == [
            "crash recovery 12.3 s into the load: server process (PID 99) was terminated by "
            "signal 9: Killed"
        ]

    def test_of_another_time_zone_says_no_moment(self) -> None:
        log = self.LOG.replace("UTC", "CET").splitlines()[3]
        assert list(crash_recoveries(log, began=0.0)) == ["crash recovery"]

    def test_is_none_without_one(self) -> None:
        assert list(crash_recoveries(self.LOG.splitlines()[0], began=0.0)) == []
