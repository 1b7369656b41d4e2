"""Each executor in virtual time: when iterations begin, and how many there are."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_certload import (
    ConfigurationError,
    ConstantArrivalRate,
    ConstantVUs,
    FleetArrivals,
    Iteration,
    Outcome,
    PoissonArrivalRate,
    RampingArrivalRate,
    RampingVUs,
    ReplayedArrivals,
    Scenario,
    SharedIterations,
    Stage,
    seconds,
)
from pytest_certload.engine.executors import Executor
from pytest_certload.engine.runner import ScenarioRun, WorkerReport
from pytest_certload.testing import VirtualClock, run_virtual
from pytest_certload.units import Duration, parse_duration, parse_rate

SECOND = 1_000_000_000


async def execute(executor: Executor, takes: float, **options: Any) -> WorkerReport:
    async def iteration(iteration: Iteration) -> None:
        await asyncio.sleep(takes)

    run = ScenarioRun(
        Scenario(name="tested", executor=executor, iteration=iteration),
        clients=[None],
        clock=VirtualClock(),
        classify=lambda error: None,
        **options,
    )
    await run.execute()
    assert asyncio.all_tasks() == {asyncio.current_task()}, "no task is left behind"
    return run.report()


def report_of(executor: Executor, *, takes: float = 0.01, **options: Any) -> WorkerReport:
    return run_virtual(execute(executor, takes, **options))


def starts(report: WorkerReport) -> list[float]:
    return sorted((report.samples.iterations.start / SECOND).tolist())


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "recording.txt"
    path.write_text("5\n5.25\n5.25\n6\n7.5\n", "utf-8")
    return path


class TestWhatAllHaveInCommon:
    @pytest.fixture(
        params=[
            "constant",
            "poisson",
            "fleet",
            "ramping",
            "replayed",
            "vus",
            "ramping vus",
            "shared",
        ]
    )
    def executor(self, request: pytest.FixtureRequest, recording: Path) -> Executor:
        made: dict[str, Executor] = {
            "constant": ConstantArrivalRate(rate=20, duration=3),
            "poisson": PoissonArrivalRate(rate=20, duration=3),
            "fleet": FleetArrivals(members=20, every="1s", jitter=0.2, duration=3),
            "ramping": RampingArrivalRate(stages=[Stage(2, 20), Stage(1, 0)]),
            "replayed": ReplayedArrivals(path=recording),
            "vus": ConstantVUs(vus=2, duration=3, pacing="100ms"),
            "ramping vus": RampingVUs(stages=[Stage(2, 4), Stage(1, 0)], pacing="100ms"),
            "shared": SharedIterations(iterations=25, vus=2),
        }
        return made[request.param]

    def test_every_iteration_is_accounted_for(self, executor: Executor) -> None:
        report = report_of(executor)
        rows = report.samples.iterations
        assert report.offered == report.started == report.finished == len(rows) > 0
        assert (rows.outcome == Outcome.OK).all()
        assert sorted(rows.index.tolist()) == list(range(len(rows)))
        assert report.in_flight_peak <= executor.slots
        assert (rows.start >= rows.due).all()

    def test_it_is_the_same_every_time(self, executor: Executor) -> None:
        assert starts(report_of(executor, seed=7)) == starts(report_of(executor, seed=7))

    def test_its_report_says_whether_the_clock_decides(self, executor: Executor) -> None:
        assert report_of(executor).scheduled is hasattr(executor, "max_in_flight")

    def test_the_plan_is_what_becomes_due(self, executor: Executor) -> None:
        if executor.planned is not None and not isinstance(executor, PoissonArrivalRate):
            assert report_of(executor).offered == executor.planned

    def test_reports_can_print_it(self, executor: Executor) -> None:
        assert executor.kind.replace("_", "").isalpha()
        assert executor.parameters
        assert all(isinstance(value, (str, int, float)) for value in executor.parameters.values())

    def test_the_command_line_can_shorten_it(self, executor: Executor) -> None:
        shorter = executor.replaced(duration=parse_duration("1s"))
        assert shorter.duration == pytest.approx(SECOND)
        assert type(shorter) is type(executor)
        assert executor.replaced() == executor

    def test_its_warm_up_can_be_another_one_if_it_can_have_any(self, executor: Executor) -> None:
        other = executor.replaced(warm_up=parse_duration("250ms"))
        possible = executor.kind != "shared_iterations"
        assert other.warm_up == (SECOND / 4 if possible else 0)
        assert other.duration == executor.duration


class TestDroppingInsteadOfWaiting:
    def test_counts_are_those_of_arithmetic(self) -> None:
        # One slot that is taken for 250 ms of every 300: of three arrivals one finds it free.
        executor = ConstantArrivalRate(rate=10, duration=30, max_in_flight=1, when_full="drop")
        report = report_of(executor, takes=0.25)
        rows = report.samples.iterations
        assert (report.offered, report.started, report.dropped) == (300, 100, 200)
        assert rows.lateness[rows.outcome == Outcome.OK].max() == 0
        assert report.backlog_peak == 0
        assert not rows.felt[rows.outcome == Outcome.DROPPED].any(), "it waited for nothing"

    def test_what_neither_waits_nor_drops_is_refused(self) -> None:
        with pytest.raises(ConfigurationError, match=r"when_full: 'wait' is neither 'queue'"):
            ConstantArrivalRate(rate=1, duration=1, when_full="wait")  # type: ignore[arg-type]


class TestAFleet:
    EVERY = 0.5
    JITTER = 0.2

    def fleet(self, **changes: Any) -> FleetArrivals:
        values = {"members": 40, "every": self.EVERY, "jitter": self.JITTER, "duration": 5}
        return FleetArrivals(**{**values, **changes})

    def test_every_member_comes_at_its_interval_from_somewhere_in_the_first_one(self) -> None:
        fleet = self.fleet()
        due, whose = fleet.due(3) / SECOND, fleet.members(3)
        for member in range(40):
            own = due[whose == member]
            gaps = np.diff(own)
            assert 0 <= own[0] < self.EVERY
            assert (gaps > self.EVERY * (1 - self.JITTER) - 1e-6).all()
            assert (gaps < self.EVERY * (1 + self.JITTER) + 1e-6).all()
            assert own[-1] + self.EVERY * (1 + self.JITTER) >= 5, "it comes until the end"
        assert len(set(np.diff(due[whose == 0]).round(6))) > 1
        assert len({due[whose == member][0] for member in range(40)}) == 40

    def test_without_jitter_it_keeps_time(self) -> None:
        fleet = self.fleet(jitter=0)
        due, whose = fleet.due(0), fleet.members()
        for member in range(40):
            assert np.allclose(np.diff(due[whose == member]), self.EVERY * SECOND, atol=2)

    def test_a_shorter_run_is_the_begin_of_a_longer_one(self) -> None:
        long, short = self.fleet(), self.fleet(duration=2)
        count = len(short.due(1))
        assert 0 < count < len(long.due(1))
        assert short.due(1).tolist() == long.due(1)[:count].tolist()
        assert short.members(1).tolist() == long.members(1)[:count].tolist()

    def test_the_seed_decides(self) -> None:
        assert self.fleet().due(1).tolist() != self.fleet().due(2).tolist()

    def test_another_rate_is_another_number_of_members(self) -> None:
        fleet = self.fleet()
        assert fleet.rate == parse_rate(80)
        smaller = fleet.replaced(rate=parse_rate(10))
        assert (smaller.size, smaller.every, smaller.rate) == (5, fleet.every, parse_rate(10))
        assert fleet.replaced(rate=parse_rate("1/h")).size == 1

    def test_the_interval_may_be_longer_than_the_run(self) -> None:
        fleet = self.fleet(members=1000, every=60, duration=3)
        assert len(set(fleet.members().tolist())) == len(fleet.due(0)) > 0

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"members": 0}, "members: 0"),
            ({"every": 0}, "every: 0s is no interval"),
            ({"jitter": 1}, "jitter: 1 is no share of an interval"),
            ({"jitter": -0.1}, "jitter: -0.1"),
            ({"jitter": True}, "jitter: True"),
        ],
    )
    def test_a_value_that_is_none_is_refused(self, changes: dict[str, Any], said: str) -> None:
        with pytest.raises(ConfigurationError, match=said):
            self.fleet(**changes)


class TestARampOfRates:
    def test_warm_up_goes_on_at_the_start_rate(self) -> None:
        executor = RampingArrivalRate(stages=[Stage(2, 30)], start_rate=10, warm_up=1)
        report = report_of(executor)
        assert report.offered == 40
        assert executor.planned == 50
        assert report.samples.iterations.index.min() == 10

    def test_is_planned_without_being_made(self) -> None:
        executor = RampingArrivalRate(stages=[Stage("1h", 10**15)])
        assert executor.planned == 18 * 10**17

    def test_keeps_its_shape_when_it_is_scaled(self) -> None:
        executor = RampingArrivalRate(stages=[Stage(60, 100), Stage(120, "50/s")], start_rate=10)
        scaled = executor.replaced(duration=Duration(18 * SECOND), rate=parse_rate(10))
        assert scaled == RampingArrivalRate(stages=[Stage(6, 10), Stage(12, 5)], start_rate=1)
        assert executor.rate == parse_rate(100)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"stages": []}, "is no list of stages"),
            ({"stages": [(1, 2)]}, "is no list of stages"),
            ({"stages": 5}, "is no list of stages"),
            ({"stages": [Stage(1, "fast")]}, "stages: 'fast' is not a rate"),
            ({"stages": [Stage(1, -5)]}, "stages: -5 is not a rate"),
            ({"stages": [Stage(1, 0)]}, "every rate is 0"),
            ({"stages": [Stage(1, 5)], "start_rate": "x"}, "start_rate: 'x' is not a rate"),
        ],
    )
    def test_that_is_none(self, arguments: dict[str, Any], message: str) -> None:
        with pytest.raises(ConfigurationError, match=message):
            RampingArrivalRate(**arguments)

    def test_a_stage_takes_time(self) -> None:
        with pytest.raises(ConfigurationError, match=r"Stage\(0, 5\) takes no time"):
            Stage(0, 5)
        with pytest.raises(ConfigurationError, match=r"Stage: 'soon' is not a duration"):
            Stage("soon", 5)


class TestPausesOfVUs:
    def test_pacing_is_from_begin_to_begin(self) -> None:
        report = report_of(ConstantVUs(vus=1, duration=2, pacing=0.5), takes=0.1)
        assert starts(report) == pytest.approx([0, 0.5, 1, 1.5])

    def test_an_iteration_longer_than_the_pacing_is_followed_at_once(self) -> None:
        report = report_of(ConstantVUs(vus=1, duration=2, pacing=0.5), takes=0.8)
        assert starts(report) == pytest.approx([0, 0.8, 1.6])

    def test_think_time_is_from_end_to_begin(self) -> None:
        report = report_of(ConstantVUs(vus=1, duration=2, think_time=0.5), takes=0.1)
        assert starts(report) == pytest.approx([0, 0.6, 1.2, 1.8])

    def test_a_range_is_drawn_from_evenly_by_the_seed(self) -> None:
        executor = ConstantVUs(vus=1, duration=2000, pacing=(1, 3))
        gaps = np.diff(starts(report_of(executor, seed=1)))
        assert gaps.min() >= 1
        assert gaps.max() <= 3
        assert gaps.mean() == pytest.approx(2, rel=0.05)
        assert starts(report_of(executor, seed=1)) != starts(report_of(executor, seed=2))

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            ((1, 2, 3), "is no range; write such as"),
            ((3, 1), "the longer one comes first"),
            (-1, "is not a duration"),
            (("x", 1), "is not a duration"),
        ],
    )
    def test_that_is_none(self, value: object, message: str) -> None:
        with pytest.raises(ConfigurationError, match=f"pacing: .*{message}"):
            ConstantVUs(vus=1, duration=1, pacing=value)
        with pytest.raises(ConfigurationError, match=f"think_time: .*{message}"):
            SharedIterations(iterations=1, vus=1, think_time=value)


class TestARampOfVUs:
    def test_each_comes_and_goes_where_the_line_crosses_it(self) -> None:
        executor = RampingVUs(stages=[Stage(4, 4), Stage(2, 4), Stage(4, 0)])
        lives = [executor._life(vu, 0) for vu in range(4)]
        assert lives == [
            [(0, 10 * SECOND)],
            [(1 * SECOND, 9 * SECOND)],
            [(2 * SECOND, 8 * SECOND)],
            [(3 * SECOND, 7 * SECOND)],
        ]

    def test_one_may_come_back(self) -> None:
        executor = RampingVUs(stages=[Stage(2, 0), Stage(2, 2)], start_vus=2, warm_up=1)
        assert executor._life(1, 5) == [
            (5, 5 + 2 * SECOND),
            (5 + 4 * SECOND, 5 + 5 * SECOND),
        ]

    @settings(max_examples=50)
    @given(
        st.integers(0, 6),
        st.lists(st.tuples(st.integers(1, 20), st.integers(0, 6)), min_size=1, max_size=4),
    )
    def test_so_many_are_there_as_the_line_says(
        self, start: int, corners: list[tuple[int, int]]
    ) -> None:
        targets = [start, *(target for _, target in corners)]
        if not any(targets):
            return
        executor = RampingVUs(
            stages=[Stage(Duration(length), target) for length, target in corners], start_vus=start
        )
        lives = [executor._life(vu, 0) for vu in range(executor.vus)]
        begun, height = 0, start
        for length, target in corners:
            for offset in range(length):
                # In the middle of a nanosecond, where no line ends.
                at = height + (target - height) * (offset + 0.5) / length
                there = sum(
                    first <= begun + offset < last for spans in lives for first, last in spans
                )
                # A VU comes and goes at whole nanoseconds: there may be one too many or too few.
                assert abs(there - np.ceil(at)) <= np.ceil(abs(target - height) / length)
            begun, height = begun + length, target
        for spans in lives:
            assert all(first < last for first, last in spans)
            assert all(a[1] < b[0] for a, b in pairwise(spans))

    def test_runs(self) -> None:
        report = report_of(RampingVUs(stages=[Stage(2, 2), Stage(2, 0)], pacing=1))
        assert report.in_flight_peak == 2
        assert starts(report) == pytest.approx([0, 1, 1, 2, 2, 3])

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"stages": [Stage(1, 1.5)]}, "stages: 1.5 is not a number of VUs"),
            ({"stages": [Stage(1, True)]}, "stages: True is not a number of VUs"),
            ({"stages": [Stage(1, 1)], "start_vus": -1}, "start_vus: -1 is not a number of VUs"),
            ({"stages": [Stage(1, 0)]}, "always 0, so there is no load"),
        ],
    )
    def test_that_is_none(self, arguments: dict[str, Any], message: str) -> None:
        with pytest.raises(ConfigurationError, match=message):
            RampingVUs(**arguments)

    def test_keeps_its_shape_when_it_is_scaled(self) -> None:
        executor = RampingVUs(stages=[Stage(60, 100), Stage(60, 50)], start_vus=10)
        scaled = executor.replaced(duration=Duration(12 * SECOND), vus=20)
        assert scaled == RampingVUs(stages=[Stage(6, 20), Stage(6, 10)], start_vus=2)


class TestSharedIterations:
    def test_end_with_the_last_one(self) -> None:
        report = report_of(SharedIterations(iterations=100, vus=4), takes=0.1)
        assert (report.offered, report.finished, report.dropped) == (100, 100, 0)
        assert report.duration == pytest.approx(2.5 * SECOND)
        assert report.drain == 0

    def test_that_were_never_started_are_dropped(self) -> None:
        executor = SharedIterations(iterations=100, vus=4, duration=1)
        report = report_of(executor, takes=0.1)
        assert (report.offered, report.finished, report.dropped) == (100, 40, 60)
        assert report.duration == seconds(1)

    def test_more_vus_than_iterations(self) -> None:
        report = report_of(SharedIterations(iterations=3, vus=10))
        assert (report.offered, report.in_flight_peak) == (3, 3)
