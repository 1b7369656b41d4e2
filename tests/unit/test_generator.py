"""The generator watches and judges itself."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_certload import ConfigurationError, Outcome, Samples, limits
from pytest_certload.engine.clock import SystemClock
from pytest_certload.engine.collector import QuietCollector
from pytest_certload.engine.executors.constant_vus import ConstantVUs
from pytest_certload.engine.executors.ramping_vus import RampingVUs
from pytest_certload.engine.executors.shared_iterations import SharedIterations
from pytest_certload.engine.runner import WorkerReport
from pytest_certload.engine.stages import Stage
from pytest_certload.engine.vus import VuExecutor
from pytest_certload.engine.watchdog import SelfReport, Watchdog
from pytest_certload.limits import check_descriptors, check_memory, check_ports
from pytest_certload.samples import QUEUED, Connections, Observation
from pytest_certload.stats.figures import figures_of
from pytest_certload.testing import VirtualClock, run_virtual
from pytest_certload.units import ms, seconds
from pytest_certload.verdict.diagnosis import diagnose, generator_lag

MS = 1_000_000
WELL = SelfReport(
    loop_lag_p50=MS // 10,
    loop_lag_p99=MS,
    loop_lag_max=2 * MS,
    cpu_share=0.2,
    busy_share=0.0,
    wait_share=0.01,
    steal_share=0.0,
    gc_pauses=3,
    gc_longest=MS,
    gc_total=2 * MS,
    memory_growth=0,
)
NO_CONNECTIONS = Connections.from_table(np.empty((0, 5), np.int64))


def with_samples(run: WorkerReport, **columns: Any) -> WorkerReport:
    """The run with other columns in its samples."""
    samples = replace(run.samples, **columns)
    figures = figures_of(samples, NO_CONNECTIONS, window_end=run.window_end)
    return replace(run, figures=figures, kept=(samples, NO_CONNECTIONS))


def report(
    *, lag: int, took: int, count: int = 200, queued: bool = False, own: SelfReport = WELL
) -> WorkerReport:
    """A run in which every iteration began so late, and took so long from its start; nanoseconds."""
    rows = [
        Observation(
            step=0,
            index=index,
            due=index * 10 * MS,
            start=index * 10 * MS + lag,
            end=index * 10 * MS + lag + took,
            status=200,
            flags=QUEUED if queued else 0,
        )
        for index in range(count)
    ]
    samples = Samples.from_observations(rows, steps=("tested",))
    return WorkerReport(
        figures=figures_of(samples, NO_CONNECTIONS, window_end=seconds(2)),
        kept=(samples, NO_CONNECTIONS),
        started_at=datetime(2026, 1, 2, tzinfo=UTC),
        duration=seconds(2),
        window_begin=0,
        window_end=seconds(2),
        drain=ms(0),
        offered=count,
        started=count,
        started_in_window=count,
        finished=count,
        dropped=0,
        unfinished=0,
        backlog_peak=0,
        in_flight_peak=10,
        errors=(),
        interrupted=False,
        broken=False,
        scheduled=True,
        generator=own,
    )


class TestTheVerdict:
    def test_a_quiet_generator_is_valid(self) -> None:
        assert diagnose(report(lag=MS // 5, took=5 * MS)).state == "valid"

    def test_waiting_for_a_slot_is_the_servers_doing(self) -> None:
        run = report(lag=900 * MS, took=5 * MS, queued=True)
        assert diagnose(run).state == "valid"
        assert generator_lag(run).count == 0

    def test_a_generator_that_is_late_itself_is_the_limit(self) -> None:
        verdict = diagnose(report(lag=80 * MS, took=40 * MS))
        assert verdict.state == "invalid"
        (reason,) = verdict.reasons
        assert "the generator was the bottleneck, not the server" in reason
        assert "began 80 ms late or more, of 120 ms that they took" in reason
        assert "--certload-transport fast" in reason

    def test_lateness_that_is_small_beside_what_the_server_takes_is_no_reason(self) -> None:
        assert diagnose(report(lag=20 * MS, took=900 * MS)).state == "valid"

    def test_a_hiccup_makes_it_suspect(self) -> None:
        run = report(lag=MS, took=5 * MS)
        start, end = run.samples.start.copy(), run.samples.end.copy()
        start[:6] += 200 * MS
        end[:6] += 200 * MS
        verdict = diagnose(with_samples(run, start=start, end=end))
        assert verdict.state == "suspect"
        assert "one iteration in a hundred began 201 ms late" in verdict.reasons[0]

    def test_vus_that_use_a_whole_core_are_held_back_by_the_generator(self) -> None:
        busy = replace(WELL, busy_share=0.8, cpu_share=0.97)
        # A VU's iteration begins a few microseconds after its due time, as everything does.
        run = report(lag=20_000, took=5 * MS, own=busy)
        assert diagnose(run).state == "suspect", "arrivals by the clock tell by their lag"
        verdict = diagnose(replace(run, scheduled=False))
        assert verdict.state == "invalid"
        assert "its event loop used a whole core in 80% of the seconds" in verdict.reasons[0]

    @pytest.mark.parametrize(
        ("own", "reason"),
        [
            (replace(WELL, busy_share=0.2), "used a whole core in 20% of the seconds"),
            (replace(WELL, wait_share=0.4), "for 40% of the time other processes kept"),
            (replace(WELL, steal_share=0.2), "gave 20% of its CPU time to others"),
            (
                replace(WELL, gc_longest=80 * MS),
                "collecting garbage stopped the generator for 80 ms",
            ),
        ],
    )
    def test_what_disturbs_makes_it_suspect(self, own: SelfReport, reason: str) -> None:
        verdict = diagnose(report(lag=MS, took=5 * MS, own=own))
        assert verdict.state == "suspect"
        assert reason in verdict.reasons[0]

    def test_what_a_machine_does_not_tell_is_no_reason(self) -> None:
        own = replace(WELL, wait_share=None, steal_share=None)
        assert diagnose(report(lag=MS, took=5 * MS, own=own)).state == "valid"
        assert diagnose(replace(report(lag=MS, took=5 * MS), generator=None)).state == "valid"

    def test_dropped_iterations_are_invalid_unless_they_are_allowed(self) -> None:
        run = replace(report(lag=0, took=MS), dropped=20, finished=180)
        verdict = diagnose(run)
        assert verdict.state == "invalid"
        assert "20 of 200 iterations never started" in verdict.reasons[0]
        assert "90.0% were served, 90/s" in verdict.reasons[0]
        assert diagnose(run, allow_dropped=0.1).state == "valid"
        assert diagnose(run, allow_dropped=0.09).state == "invalid"

    def test_what_begins_after_the_window_was_not_offered_in_it(self) -> None:
        late = replace(report(lag=0, took=MS), started_in_window=189)
        verdict = diagnose(late)
        assert verdict.state == "invalid"
        assert (
            "the offered load was offered late: 94% of 200 iterations began" in verdict.reasons[0]
        )
        assert "the generator was held up" in verdict.reasons[0]
        (reason,) = diagnose(replace(late, backlog_peak=3)).reasons
        assert "were in flight (max_in_flight)" in reason
        assert diagnose(replace(late, started_in_window=190)).state == "valid"

    def test_nothing_at_all(self) -> None:
        found = diagnose(report(lag=0, took=0, count=0))
        assert found.state == "invalid"
        assert found.reasons == ("nothing was due in the measured window: offer more, or longer",)
        errors = report(lag=0, took=MS)
        outcome = np.full(200, Outcome.TIMEOUT, np.uint8)
        assert diagnose(with_samples(errors, outcome=outcome)).state == "valid"


class TestTheWatchdog:
    def watch(self, work: Callable[[], None], *, for_seconds: float) -> SelfReport:
        async def main() -> SelfReport:
            with QuietCollector() as collector:
                watchdog = Watchdog(SystemClock(), collector)
                watchdog.start()
                end = time.monotonic() + for_seconds
                while time.monotonic() < end:
                    work()
                    await asyncio.sleep(0.01)
                return watchdog.stop()

        return asyncio.run(main())

    def test_moments_that_the_event_loop_slept_through_count(self) -> None:
        blocked = False

        def block_once() -> None:
            nonlocal blocked
            if not blocked:
                blocked = True
                time.sleep(0.4)

        own = self.watch(block_once, for_seconds=0.8)
        assert own.loop_lag_max >= 300 * MS
        # Twenty beats of forty fell into the block, late by 0 to 400 ms; as one beat it would be lost.
        assert own.loop_lag_p99 >= 300 * MS
        assert own.cpu_share < 0.5, "sleeping is no work"

    def test_work_is_told_from_waiting(self) -> None:
        def work() -> None:
            end = time.thread_time() + 0.05
            while time.thread_time() < end:
                pass

        def cpu_seconds_of_a_round(work: Callable[[], None]) -> float:
            """However long the machine holds it up."""
            rounds = 20

            async def main() -> float:
                with QuietCollector() as collector:
                    watchdog = Watchdog(SystemClock(), collector)
                    watchdog.start()
                    begun = time.monotonic()
                    for _ in range(rounds):
                        work()
                        await asyncio.sleep(0.01)
                    own = watchdog.stop()
                    return own.cpu_share * (time.monotonic() - begun) / rounds

            return asyncio.run(main())

        worked, idle = cpu_seconds_of_a_round(work), cpu_seconds_of_a_round(lambda: None)
        assert worked > 0.045
        assert idle < worked / 4

    def test_every_second_is_looked_at_and_tidied(self) -> None:
        """In virtual time: CPU time is what we say it is."""
        cpu = 0

        async def main() -> SelfReport:
            clock = VirtualClock()
            with QuietCollector() as collector:
                watchdog = Watchdog(clock, collector, thread_time=lambda: cpu + clock.now() // 2)
                watchdog.start()
                await asyncio.sleep(4.5)
                nonlocal_cpu(10**9)
                await asyncio.sleep(5.6)
                return watchdog.stop()

        def nonlocal_cpu(more: int) -> None:
            nonlocal cpu
            cpu += more

        own = run_virtual(main())
        assert own.busy_share == 0.1, "one second of ten"
        assert own.cpu_share == pytest.approx(0.5 + 1 / 10.1)
        assert own.gc_pauses == 10
        assert own.loop_lag_max == 0


class TestTheCollector:
    def test_keeps_quiet_until_it_is_told(self) -> None:
        assert gc.isenabled()
        with QuietCollector() as collector:
            assert not gc.isenabled()
            assert gc.get_freeze_count() > 1000, "what there was is set aside"
            rubbish: list[object] = [[] for _ in range(5000)]
            rubbish.append(rubbish)
            del rubbish
            assert collector.pauses == []
            collector.tidy()
            assert len(collector.pauses) == 1
            assert collector.pauses[0] > 0
        assert gc.isenabled()
        assert gc.get_freeze_count() == 0

    def test_leaves_it_as_it_was_also_after_an_error(self) -> None:
        gc.disable()
        try:
            with pytest.raises(KeyError), QuietCollector():
                raise KeyError
            assert not gc.isenabled()
        finally:
            gc.enable()
        before = list(gc.callbacks)
        with QuietCollector():
            assert len(gc.callbacks) == len(before) + 1
        assert gc.callbacks == before


class TestWhatTheMachineHas:
    def test_descriptors(self) -> None:
        assert check_descriptors(10).startswith("74 wanted, ")
        with pytest.raises(
            ConfigurationError, match=r"max_in_flight: 10,000,000 connections want .* \(ulimit -n\)"
        ):
            check_descriptors(10_000_000)
        with pytest.raises(
            ConfigurationError,
            match=r"10 connections and 10,000,000 VUs that pause want 10,000,074 file descriptors",
        ):
            check_descriptors(10, alarms=10_000_000)

    @pytest.mark.parametrize(
        ("executor", "alarms"),
        [
            (ConstantVUs(vus=7, duration=1), 0),
            (ConstantVUs(vus=7, duration=1, think_time="1s"), 7),
            (ConstantVUs(vus=7, duration=1, pacing=("1s", "2s")), 7),
            (RampingVUs(stages=[Stage("1s", 9)]), 9),
            (SharedIterations(iterations=5, vus=3), 0),
        ],
    )
    def test_a_vu_that_pauses_has_an_alarm(self, executor: VuExecutor, alarms: int) -> None:
        assert executor.alarms == alarms

    @pytest.mark.parametrize(
        ("reuse", "loopback", "rate", "found"),
        [
            ("0", False, 15.0, "910 wanted, 1,000 there"),
            ("0", True, 20.0, None),
            ("2", True, 800.0, "810 wanted, 1,000 there"),
            ("2", False, 20.0, None),
            ("1", False, 800.0, "810 wanted, 1,000 there"),
            ("1", False, 1000.0, None),
            ("0", False, None, "10 wanted, 1,000 there"),
        ],
    )
    def test_ports_of_fresh_connections(
        self, tmp_path: Path, reuse: str, loopback: bool, rate: float | None, found: str | None
    ) -> None:
        (tmp_path / "ip_local_port_range").write_text("40000\t40999\n")
        (tmp_path / "tcp_tw_reuse").write_text(f"{reuse}\n")

        def check(connections: str, iterations: int = 100_000, slots: int = 10) -> str:
            return check_ports(
                slots,
                connections=connections,
                rate=rate,
                iterations=None if rate is None else iterations,
                loopback=loopback,
                kernel=tmp_path,
            )

        if found is None:
            with pytest.raises(
                ConfigurationError, match=r"local ports may be wanted, as .* 1,000; "
            ):
                check("fresh")
        else:
            assert check("fresh") == found
        assert check("fresh", iterations=5) == f"{10 if rate is None else 15} wanted, 1,000 there"
        assert check("keep-alive") == "10 wanted, 1,000 there"
        with pytest.raises(ConfigurationError, match="1,001 local ports may be wanted, and there"):
            check("per-vu", slots=1001)

    def test_ports_where_no_kernel_tells(self, tmp_path: Path) -> None:
        found = check_ports(
            10**6, connections="fresh", rate=1.0, iterations=1, loopback=False, kernel=tmp_path
        )
        assert found == "not known on this system"

    def test_memory_is_said_before_it_is_used(self) -> None:
        said: list[str] = []
        check_memory({"storm": 50_100, "burst": None}, said.append)
        assert said == [
            "storm: 50,100 iterations are due; samples take 3.1 MiB, as much again for each step, and "
            "twice that at the end",
            "burst: samples take 64 B an iteration and step, twice that at the end",
        ]

    def test_sketches_take_the_same_however_long_the_run_is(self) -> None:
        said: list[str] = []
        check_memory({"storm": 50_100, "burst": None}, said.append, keep_samples=False)
        sketched = "samples are sketched and not kept; figures take at most 5.8 MiB a step"
        assert said == [
            f"storm: {sketched}, however long the run; the schedule of 50,100 iterations takes 391.4 KiB",
            f"burst: {sketched}, however long the run",
        ]
        with pytest.raises(
            ConfigurationError, match=r"storm: .* for the schedule of .* are there; offer less"
        ):
            check_memory({"storm": 10**13}, said.append, keep_samples=False)

    def test_memory_that_is_not_there(self) -> None:
        with pytest.raises(
            ConfigurationError, match=r"storm: .* for the samples of .* are there; offer less"
        ):
            check_memory({"storm": 10**13}, lambda line: None)

    def test_scenarios_that_run_together_want_it_together(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(limits, "_available_memory", lambda: 200_000)
        for name in ("storm", "burst"):
            check_memory({name: 1_000, "flow": None}, lambda line: None)
        with pytest.raises(ConfigurationError, match=r"storm, burst: 250\.0 KiB of memory"):
            check_memory({"storm": 1_000, "burst": 1_000, "flow": None}, lambda line: None)
