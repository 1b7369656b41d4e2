from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from socket import gaierror
from ssl import SSLError
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pytest_certload.engine.executors.constant_arrival_rate import ConstantArrivalRate
from pytest_certload.engine.executors.constant_vus import ConstantVUs
from pytest_certload.engine.executors.fleet_arrivals import FleetArrivals
from pytest_certload.engine.executors.poisson_arrival_rate import PoissonArrivalRate
from pytest_certload.engine.runner import (
    Progress,
    ScenarioRun,
    WorkerReport,
    execute_together,
    merge,
)
from pytest_certload.engine.scenario import (
    Iteration,
    IterationFunction,
    Scenario,
    current_iteration,
)
from pytest_certload.errors import ConfigurationError, ScenarioError
from pytest_certload.samples import Outcome
from pytest_certload.session import _arrival_seed
from pytest_certload.testing import VirtualClock, run_virtual
from pytest_certload.units import ms, seconds

Executor = ConstantArrivalRate | ConstantVUs


def arrivals(rate: object = 100, duration: object = 10, **more: Any) -> ConstantArrivalRate:
    return ConstantArrivalRate(rate=rate, duration=duration, **more)


async def execute(function: IterationFunction, executor: Executor, **options: Any) -> WorkerReport:
    run = ScenarioRun(
        Scenario(name="tested", executor=executor, iteration=function),
        clients=[None],
        clock=VirtualClock(),
        classify=lambda error: None,
        **options,
    )
    await run.execute()
    assert asyncio.all_tasks() == {asyncio.current_task()}, "no task is left behind"
    return run.report()


def report_of(function: IterationFunction, executor: Executor, **options: Any) -> WorkerReport:
    return run_virtual(execute(function, executor, **options))


async def ten_ms(iteration: Iteration) -> None:
    await asyncio.sleep(0.01)


def test_five_minutes_at_167_per_second_are_50_100_iterations_each_on_time() -> None:
    report = report_of(ten_ms, arrivals(167, "5m"))
    rows = report.samples.iterations
    assert (report.offered, report.started, report.finished) == (50_100,) * 3
    assert (report.dropped, report.unfinished, report.backlog_peak) == (0, 0, 0)
    assert rows.lateness.max() == 0
    assert set(rows.response_time.tolist()) <= {10_000_000, 10_000_001, 9_999_999}
    assert sorted(rows.index.tolist()) == list(range(50_100))
    assert report.duration == seconds(300)


def test_a_stall_is_in_the_response_time_of_all_who_waited() -> None:
    """One second of stall at 1,000/s over 10 s, 50 slots: p95 is 500 ms and p99 900 ms."""

    async def stalling(iteration: Iteration) -> None:
        now = asyncio.get_running_loop().time()
        await asyncio.sleep(max(1e-6, 6.0 - now) if 5.0 <= now < 6.0 else 1e-6)

    rows = report_of(stalling, arrivals(1000, 10, max_in_flight=50)).samples.iterations
    p95, p99 = np.percentile(rows.response_time / 1e6, [95, 99])
    assert p95 == pytest.approx(500, rel=0.01)
    assert p99 == pytest.approx(900, rel=0.01)
    # The service time alone knows of the 50 that were in flight, half a per cent.
    assert np.percentile(rows.service_time / 1e6, 99) < 1


def test_warm_up_is_offered_and_left_out() -> None:
    calls: list[int] = []

    async def count(iteration: Iteration) -> None:
        calls.append(iteration.index)

    report = report_of(count, arrivals(10, 2, warm_up=1))
    assert len(calls) == 30
    assert report.offered == 20
    assert report.samples.iterations.index.min() == 10
    assert report.duration == seconds(2)


def test_steps_of_an_iteration_stay_with_it() -> None:
    async def two_steps(iteration: Iteration) -> None:
        async with iteration.step("first"):
            await asyncio.sleep(0.6)
        async with iteration.step("second"):
            await asyncio.sleep(0.6)

    # The last iteration is due before the end of the window, its second step begins after it.
    report = report_of(two_steps, arrivals(2, 1, warm_up=1))
    first, second = report.samples.of_step("first"), report.samples.of_step("second")
    assert (len(first), len(second), len(report.samples.iterations)) == (2, 2, 2)
    assert (second.due == second.start).all()
    assert (first.due == report.samples.iterations.due).all()
    assert report.samples.iterations.response_time.tolist() == pytest.approx([1.2e9] * 2)


def test_the_first_steps_response_time_counts_from_the_due_time() -> None:
    async def slow(iteration: Iteration) -> None:
        async with iteration.step("only"):
            await asyncio.sleep(1)

    report = report_of(slow, arrivals(2, 1, max_in_flight=1))
    only = report.samples.of_step("only")
    assert only.service_time.tolist() == pytest.approx([1e9, 1e9])
    assert only.response_time.tolist() == pytest.approx([1e9, 1.5e9])


def test_what_is_not_over_in_the_grace_period_is_cancelled_and_counted() -> None:
    cancelled: list[int] = []

    async def endless(iteration: Iteration) -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.append(iteration.index)
            raise

    report = report_of(endless, arrivals(1, 10, max_in_flight=4), grace=seconds(5))
    rows = report.samples.iterations
    assert cancelled == [0, 1, 2, 3]
    assert (report.offered, report.started, report.finished) == (10, 4, 0)
    assert (report.unfinished, report.dropped) == (4, 6)
    assert (rows.outcome[:4] == Outcome.UNFINISHED).all()
    assert (rows.outcome[4:] == Outcome.DROPPED).all()
    # At least as old as it is: nothing that was waited for looks quick.
    assert rows.response_time.min() == seconds(5) + seconds(1)
    assert report.drain == seconds(5)


def test_an_iteration_that_begins_as_the_grace_period_ends_is_counted_too() -> None:
    async def half_a_second(iteration: Iteration) -> None:
        await asyncio.sleep(0.5)

    # Number 3 ends, and number 4 begins, two seconds after the begin: just when all is over.
    report = report_of(half_a_second, arrivals(10, 1, max_in_flight=1), grace=seconds(1))
    rows = report.samples.iterations
    assert sorted(rows.index.tolist()) == list(range(10))
    assert (report.offered, report.finished) == (10, 4)
    assert report.unfinished + report.dropped == 6


def test_vus_ask_again_once_they_are_answered() -> None:
    report = report_of(ten_ms, ConstantVUs(vus=3, duration=1))
    assert report.offered == 300
    assert report.in_flight_peak == 3
    assert report.samples.iterations.lateness.max() == 0
    assert sorted(report.samples.iterations.index.tolist()) == list(range(300))


def test_a_cancelled_run_keeps_what_it_saw() -> None:
    async def main() -> tuple[WorkerReport, list[str]]:
        run = ScenarioRun(
            Scenario(name="cut", executor=arrivals(100, 60), iteration=ten_ms),
            clients=[None],
            clock=VirtualClock(),
            classify=lambda error: None,
        )
        task = asyncio.create_task(run.execute())
        await asyncio.sleep(2.0049)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        left = asyncio.all_tasks() - {asyncio.current_task()}
        return run.report(), [repr(t) for t in left]

    report, left = run_virtual(main())
    assert left == []
    assert report.interrupted
    assert report.duration == pytest.approx(2.0049e9)
    assert (report.offered, report.finished, report.unfinished) == (201, 200, 1)


def test_errors_are_kinds_with_counts_and_never_samples_of_a_success() -> None:
    async def unlucky(iteration: Iteration) -> None:
        await asyncio.sleep(0.001)
        match iteration.index % 5:
            case 0:
                iteration.expect(SimpleNamespace(status=503, content_type="text/html"), 200)
            case 1:
                iteration.check(False, "the body is right")
            case 2:
                raise TimeoutError
            case 3:
                raise ConnectionResetError(f"peer {iteration.index} went away")

    report = report_of(unlucky, arrivals(100, 10))
    rows = report.samples.iterations
    assert [int((rows.outcome == o).sum()) for o in Outcome] == [200, 200, 200, 200, 200, 0, 0, 0]
    assert {(e.outcome, e.count) for e in report.errors} == {
        (Outcome.UNEXPECTED_STATUS, 200),
        (Outcome.CHECK_FAILED, 200),
        (Outcome.TIMEOUT, 200),
        (Outcome.CONNECTION_ERROR, 200),
    }
    assert "expected status 200, got 503 (text/html)" in {e.message for e in report.errors}
    assert all(e.traceback is None for e in report.errors)
    assert (rows.status[rows.index % 5 == 0] == 503).all()


def test_what_a_connection_of_its_own_raises_is_no_fault_of_the_scenario() -> None:
    errors = [ConnectionResetError("gone"), gaierror("no such name"), SSLError("not trusted")]

    async def connects(iteration: Iteration) -> None:
        raise errors[iteration.index]

    report = report_of(connects, arrivals(3, 1))
    assert (report.samples.iterations.outcome == Outcome.CONNECTION_ERROR).all()


def test_a_failing_step_ends_the_iteration_and_is_counted_once() -> None:
    async def fails_in_step(iteration: Iteration) -> None:
        async with iteration.step("one"):
            iteration.check(False, "no")
        raise AssertionError("never reached")

    report = report_of(fails_in_step, arrivals(10, 1))
    (error,) = report.errors
    assert (error.step, error.count) == ("one", 10)
    assert (report.samples.of_step("one").outcome == Outcome.CHECK_FAILED).all()
    assert (report.samples.iterations.outcome == Outcome.CHECK_FAILED).all()


def test_an_error_that_the_scenario_swallows_still_fails_the_iteration() -> None:
    async def swallows(iteration: Iteration) -> None:
        try:
            async with iteration.step("one"):
                iteration.check(False, "no")
        except Exception:  # noqa: BLE001 - what a careless scenario does
            return

    report = report_of(swallows, arrivals(10, 1))
    assert (report.samples.iterations.outcome == Outcome.CHECK_FAILED).all()


def response(status: int) -> SimpleNamespace:
    return SimpleNamespace(status=status, content_type="application/json")


def test_a_request_may_go_on_beside_a_step() -> None:
    async def beside(iteration: Iteration) -> None:
        observer = current_iteration()
        assert observer is iteration
        async with iteration.step("other"):
            await asyncio.sleep(0.001)
        iteration.answered(response(200), 1)

    async def for_ever(iteration: Iteration) -> None:
        current_iteration()
        async with iteration.step("other"):
            await asyncio.sleep(0.001)

    answered, unanswered = report_of(beside, arrivals(1, 1)), report_of(for_ever, arrivals(1, 1))
    assert answered.samples.iterations.outcome.tolist() == [Outcome.OK]
    assert answered.samples.of_step("other").outcome.tolist() == [Outcome.OK]
    assert unanswered.samples.of_step("other").outcome.tolist() == [Outcome.OK]
    assert unanswered.samples.iterations.outcome.tolist() == [Outcome.CONNECTION_ERROR]


@pytest.mark.parametrize(
    ("declared", "outcome"),
    [
        (None, Outcome.UNEXPECTED_STATUS),
        ((404,), Outcome.OK),
        ((200, 404), Outcome.OK),
        ((), Outcome.UNEXPECTED_STATUS),
    ],
    ids=["nothing", "the status", "several", "any success"],
)
@pytest.mark.parametrize("in_step", [False, True])
def test_a_failure_status_must_be_declared(
    declared: tuple[int, ...] | None, outcome: Outcome, in_step: bool
) -> None:
    async def asks(iteration: Iteration) -> None:
        async with iteration.step("s") if in_step else contextlib.nullcontext():
            refusal = response(404)
            iteration.answered(response(200), 1)
            iteration.answered(refusal, 2)
            if declared is not None:
                iteration.expect(refusal, *declared)

    report = report_of(asks, arrivals(1, 1))
    assert report.samples.iterations.outcome.tolist() == [outcome]
    assert len(report.errors) == (outcome is not Outcome.OK)


def test_a_client_finds_the_iteration_of_its_task_and_of_tasks_that_this_one_starts() -> None:
    seen: list[bool] = []

    async def note(iteration: Iteration) -> None:
        seen.append(current_iteration() is iteration)

    async def asks(iteration: Iteration) -> None:
        await note(iteration)
        await asyncio.gather(note(iteration), note(iteration))

    assert current_iteration() is None
    report_of(asks, arrivals(2, 1))
    assert seen == [True] * 6
    assert current_iteration() is None


def test_a_scenario_whose_code_is_broken_ends_early_with_one_traceback() -> None:
    async def broken(iteration: Iteration) -> None:
        await asyncio.sleep(0.001)
        raise KeyError(f"nothing for {iteration.index}")

    report = report_of(broken, arrivals(100, "5m"))
    assert report.broken
    assert report.duration < seconds(1)
    (error,) = report.errors
    assert error.count == report.finished == 50
    assert error.traceback is not None
    assert error.traceback.count("in broken") == 1
    assert "iterate" not in error.traceback


def test_one_good_iteration_among_exceptions_lets_the_run_go_on() -> None:
    async def mostly_broken(iteration: Iteration) -> None:
        if iteration.index:
            raise KeyError("x")

    report = report_of(mostly_broken, arrivals(100, 1))
    assert not report.broken
    assert report.finished == 100


def test_very_many_kinds_of_errors_are_bounded() -> None:
    async def each_its_own(iteration: Iteration) -> None:
        iteration.check(False, f"kind {iteration.index}")

    report = report_of(each_its_own, arrivals(100, 10))
    assert len(report.errors) <= 101
    assert sum(e.count for e in report.errors) == 1000


def test_progress_comes_once_a_second() -> None:
    seen: list[Progress] = []
    finished: list[Outcome] = []
    report_of(
        ten_ms,
        arrivals(100, 5),
        on_progress=seen.append,
        on_finish=lambda outcome, end, took: finished.append(outcome),
    )
    assert [round(p.elapsed / 1e9) for p in seen] == [1, 2, 3, 4, 5]
    assert [p.offered for p in seen] == [101, 201, 301, 401, 500]
    assert seen[0].duration == seconds(5)
    assert finished == [Outcome.OK] * 500


def test_random_numbers_depend_on_seed_and_index_alone() -> None:
    def drawn(seed: int) -> dict[int, float]:
        numbers: dict[int, float] = {}

        async def draw(iteration: Iteration) -> None:
            numbers[iteration.index] = iteration.rng.random()

        report_of(draw, arrivals(10, 1), seed=seed)
        return numbers

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)
    assert len(set(drawn(1).values())) == 10


def test_random_numbers_of_an_iteration_go_on() -> None:
    drawn: list[list[float]] = []

    async def draw(iteration: Iteration) -> None:
        numbers = [iteration.rng.random() for _ in range(3)]
        await asyncio.sleep(0.001)
        drawn.append([*numbers, iteration.rng.random()])

    for _ in range(2):
        report_of(draw, arrivals(5, 1), seed=7)
    assert drawn[:5] == drawn[5:]
    assert len({number for numbers in drawn[:5] for number in numbers}) == 20


def test_a_step_without_a_request_has_no_status_and_takes_none_away() -> None:
    async def asks(iteration: Iteration) -> None:
        async with iteration.step("order"):
            current_iteration()
            iteration.answered(response(201), 1)
        async with iteration.step("verify"):
            await asyncio.sleep(0.001)

    samples = report_of(asks, arrivals(1, 1)).samples
    assert samples.of_step("order").status.tolist() == [201]
    assert samples.of_step("verify").status.tolist() == [0]
    assert samples.iterations.status.tolist() == [201]


def test_a_request_without_an_answer_has_no_status() -> None:
    async def asks(iteration: Iteration) -> None:
        for name in ("first", "second"):
            async with iteration.step(name):
                current_iteration()
                if name == "second":
                    raise ConnectionError("reset")
                iteration.answered(response(200), 1)

    samples = report_of(asks, arrivals(1, 1)).samples
    assert samples.of_step("first").status.tolist() == [200]
    assert samples.of_step("second").status.tolist() == [0]
    assert samples.iterations.status.tolist() == [0]


def test_an_exception_of_its_own_after_a_failed_step_is_not_hidden() -> None:
    async def handles_badly(iteration: Iteration) -> None:
        try:
            async with iteration.step("ask"):
                raise TimeoutError("late")
        except TimeoutError:
            raise KeyError("a slip in the handler")  # noqa: B904 - as a careless scenario does

    report = report_of(handles_badly, arrivals(10, 1))
    assert (report.samples.of_step("ask").outcome == Outcome.TIMEOUT).all()
    assert (report.samples.iterations.outcome == Outcome.EXCEPTION).all()
    assert {(error.step, error.outcome) for error in report.errors} == {
        ("ask", Outcome.TIMEOUT),
        ("tested", Outcome.EXCEPTION),
    }


def test_a_step_that_fails_again_and_again_is_no_exception_of_the_scenario() -> None:
    async def retries(iteration: Iteration) -> None:
        for attempt in range(3):
            try:
                async with iteration.step("login"):
                    raise TimeoutError("late")
            except TimeoutError as error:
                if attempt == 2:
                    raise RuntimeError("no login") from error

    async def logs_in(iteration: Iteration) -> None:
        try:
            await retries(iteration)
        except RuntimeError as error:
            raise ValueError("no visit") from error

    report = report_of(logs_in, arrivals(10, 1))
    assert (report.samples.iterations.outcome == Outcome.TIMEOUT).all()
    assert [(error.step, error.count) for error in report.errors] == [("login", 30)]


def test_an_exception_of_its_own_beside_that_of_a_step_is_not_hidden() -> None:
    async def gathers(iteration: Iteration) -> None:
        try:
            async with iteration.step("ask"):
                raise TimeoutError("late")
        except TimeoutError as error:
            raise ExceptionGroup("tasks", [error, KeyError("a slip")])  # noqa: B904 - as a TaskGroup does

    report = report_of(gathers, arrivals(10, 1))
    assert (report.samples.iterations.outcome == Outcome.EXCEPTION).all()


@pytest.mark.parametrize("how", ["the same", "from it", "a group"])
def test_what_comes_of_a_failed_step_is_counted_once(how: str) -> None:
    async def passes_on(iteration: Iteration) -> None:
        try:
            async with iteration.step("ask"):
                raise TimeoutError("late")
        except TimeoutError as error:
            if how == "from it":
                raise RuntimeError("the login failed") from error
            if how == "a group":
                raise ExceptionGroup("tasks", [error])  # noqa: B904 - as a TaskGroup does
            raise

    report = report_of(passes_on, arrivals(10, 1))
    assert (report.samples.iterations.outcome == Outcome.TIMEOUT).all()
    assert [(error.step, error.count) for error in report.errors] == [("ask", 10)]


def test_requests_that_a_client_sent_again_are_told_from_those_that_failed() -> None:
    async def asks(iteration: Iteration) -> None:
        iteration.sent(1, False)
        if iteration.index % 2:
            raise ConnectionError("reset")
        iteration.sent(2, False)
        iteration.answered(response(200), 3)

    report = report_of(asks, arrivals(10, 1))
    assert (report.requests, report.unanswered, report.unaccounted) == (15, 10, 5)


def test_requests_that_a_failed_iteration_sent_again_count_beyond_the_first() -> None:
    async def asks(iteration: Iteration) -> None:
        for _ in range(3):
            iteration.sent(1, False)
        raise ConnectionError("reset, each time")

    report = report_of(asks, arrivals(10, 1))
    assert (report.requests, report.unanswered, report.unaccounted) == (30, 30, 20)


def test_steps_do_not_nest() -> None:
    async def nested(iteration: Iteration) -> None:
        async with iteration.step("outer"), iteration.step("inner"):
            await asyncio.sleep(0)

    report = report_of(nested, arrivals(1, 1))
    assert "step 'inner' is opened inside step 'outer'" in report.errors[0].message


class TestWhatCannotBeRun:
    def test_not_async(self) -> None:
        def plain(iteration: Iteration) -> None: ...

        with pytest.raises(ConfigurationError, match=r"plain is not async; write `async def"):
            Scenario(name="x", executor=arrivals(), iteration=plain)  # type: ignore[arg-type]

    def test_wrong_arguments(self) -> None:
        async def none() -> None: ...
        async def two(iteration: Iteration, client: object) -> None: ...
        async def keyword(iteration: Iteration, *, client: object) -> None: ...

        for function in (none, two, keyword):
            with pytest.raises(ConfigurationError, match="cannot be called with one argument"):
                Scenario(name="x", executor=arrivals(), iteration=function)  # type: ignore[arg-type]

    def test_what_can(self) -> None:
        async def optional(iteration: Iteration, extra: int = 0) -> None: ...
        async def anything(*args: object) -> None: ...

        class Visit:
            async def __call__(self, iteration: Iteration) -> None: ...

        for function in (optional, anything, Visit()):
            Scenario(name="x", executor=arrivals(), iteration=function)

    @pytest.mark.parametrize("start", ["30s", 30, seconds(30)])
    def test_when_it_starts(self, start: Any) -> None:
        scenario = Scenario(name="x", executor=arrivals(), iteration=ten_ms, start=start)
        assert scenario.start == seconds(30)
        with pytest.raises(ConfigurationError, match="start: 'soon'"):
            Scenario(name="x", executor=arrivals(), iteration=ten_ms, start="soon")  # type: ignore[arg-type]

    @pytest.mark.parametrize("slots", [0, -1, 1.5, True, "9", None])
    def test_slots(self, slots: Any) -> None:
        with pytest.raises(ConfigurationError, match=r"max_in_flight: .* at least 1"):
            arrivals(max_in_flight=slots)
        with pytest.raises(ConfigurationError, match=r"vus: .* at least 1"):
            ConstantVUs(vus=slots, duration=1)

    def test_an_empty_window(self) -> None:
        with pytest.raises(ConfigurationError, match="longer than 0 s"):
            arrivals(duration=0)
        with pytest.raises(ConfigurationError, match="longer than 0 s"):
            ConstantVUs(vus=1, duration=ms(0))


class TestTogether:
    def test_each_has_its_offset_and_its_own_report(self) -> None:
        async def main() -> dict[str, WorkerReport]:
            clock = VirtualClock()
            runs = [
                ScenarioRun(
                    Scenario(name=name, executor=executor, iteration=ten_ms, start=seconds(start)),
                    clients=[None],
                    clock=clock,
                    classify=lambda error: None,
                )
                for name, executor, start in (
                    ("first", arrivals(10, 4), 0),
                    ("second", ConstantVUs(vus=1, duration=1), 2),
                )
            ]
            await execute_together(runs)
            return {run.scenario.name: run.report() for run in runs}

        reports = run_virtual(main())
        assert reports["first"].samples.due.min() == 0
        assert reports["second"].samples.due.min() == seconds(2)
        assert reports["second"].started_at - reports["first"].started_at >= timedelta(seconds=1.9)
        together = merge(reports, name="both")
        assert together.offered == 40 + 100
        assert len(together.samples) == 140
        assert together.duration == pytest.approx(seconds(4), rel=0.01)
        assert together.samples.steps == ("both",)

    def test_steps_carry_the_name_of_their_scenario(self) -> None:
        async def steps(iteration: Iteration) -> None:
            async with iteration.step("login"):
                await asyncio.sleep(0.001)
            if iteration.index == 1:
                iteration.check(False, "no")

        one = report_of(steps, arrivals(10, 1))
        other = report_of(ten_ms, arrivals(5, 1))
        another = report_of(steps, arrivals(20, 1))
        both = merge({"a": one, "b": other, "c": another}, name="all")
        assert both.samples.steps == ("all", "a.login", "c.login")
        assert len(both.samples.of_step("a.login")) == 10
        assert len(both.samples.of_step("c.login")) == 20
        assert len(both.samples.iterations) == 35
        assert sum(error.count for error in both.errors) == 2
        assert (both.offered, both.finished, both.broken) == (35, 35, False)

    def test_one_that_is_cancelled_takes_the_others_with_it(self) -> None:
        async def main() -> list[WorkerReport]:
            clock = VirtualClock()
            runs = [
                ScenarioRun(
                    Scenario(
                        name=name, executor=arrivals(10, 60), iteration=ten_ms, start=seconds(at)
                    ),
                    clients=[None],
                    clock=clock,
                    classify=lambda error: None,
                )
                for name, at in (("a", 0), ("b", 1), ("late", 30))
            ]
            task = asyncio.create_task(execute_together(runs))
            await asyncio.sleep(2.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert asyncio.all_tasks() == {asyncio.current_task()}
            return [run.report() for run in runs]

        a, b, late = run_virtual(main())
        assert (a.offered, b.offered, late.offered) == (21, 11, 0)
        assert a.interrupted
        assert late.interrupted
        assert (late.in_flight_peak, late.duration) == (0, 0)

    def test_each_is_told_once_and_clears_up_in_peace(self) -> None:
        async def slow_to_end(iteration: Iteration) -> None:
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                for _ in range(20):
                    await asyncio.sleep(0)
                raise

        async def main() -> list[WorkerReport]:
            clock = VirtualClock()
            runs = [
                ScenarioRun(
                    Scenario(name=name, executor=arrivals(10, 60, max_in_flight=1), iteration=work),
                    clients=[None],
                    clock=clock,
                    classify=lambda error: None,
                )
                for name, work in (("quick", ten_ms), ("slow", slow_to_end))
            ]
            task = asyncio.create_task(execute_together(runs))
            await asyncio.sleep(2.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert asyncio.all_tasks() == {asyncio.current_task()}
            return [run.report() for run in runs]

        quick, slow = run_virtual(main())
        assert (quick.offered, quick.finished) == (21, 21)
        # One was in flight, and twenty waited for it.
        assert (slow.offered, slow.unfinished, slow.dropped) == (21, 1, 20)

    def test_one_that_raises_ends_the_others_and_is_what_is_raised(self) -> None:
        def show(progress: Progress) -> None:
            raise KeyError("the board is broken")

        async def main() -> list[WorkerReport]:
            clock = VirtualClock()
            runs = [
                ScenarioRun(
                    Scenario(name=name, executor=arrivals(10, 60), iteration=ten_ms),
                    clients=[None],
                    clock=clock,
                    classify=lambda error: None,
                    on_progress=on_progress,
                )
                for name, on_progress in (("fine", None), ("broken", show))
            ]
            with pytest.raises(KeyError, match="the board is broken"):
                await execute_together(runs)
            assert asyncio.all_tasks() == {asyncio.current_task()}
            return [run.report() for run in runs]

        for report in run_virtual(main()):
            assert report.finished + report.unfinished == report.offered == 11
            assert report.interrupted
            assert report.duration == pytest.approx(seconds(1), rel=0.05)

    def test_each_draws_numbers_of_its_own_but_fleets_are_the_same_members(self) -> None:
        poisson = PoissonArrivalRate(rate=10, duration=10)
        fleet = FleetArrivals(members=10, every=1, duration=10)

        def seeds(executor: Any) -> list[int]:
            scenario = Scenario(name="x", executor=executor, iteration=ten_ms)
            return [_arrival_seed(scenario, 7, position) for position in range(3)]

        assert len({tuple(poisson.due(seed).tolist()) for seed in seeds(poisson)}) == 3
        assert seeds(poisson)[0] == 7
        assert seeds(fleet) == [7, 7, 7]

    @pytest.mark.parametrize("keep_samples", [True, False])
    def test_that_are_cut_short_keep_what_they_saw(self, keep_samples: bool) -> None:
        async def main() -> list[WorkerReport]:
            clock = VirtualClock()
            runs = [
                ScenarioRun(
                    Scenario(
                        name=name, executor=arrivals(10, 60), iteration=ten_ms, start=seconds(at)
                    ),
                    clients=[None],
                    clock=clock,
                    classify=lambda error: None,
                    keep_samples=keep_samples,
                )
                for name, at in (("a", 0), ("b", 1), ("late", 30))
            ]
            task = asyncio.create_task(execute_together(runs))
            await asyncio.sleep(2.05)
            for run in runs:
                run.cut_short()
            await task
            assert clock.now() < seconds(2.1), "the late one is not waited for"
            assert asyncio.all_tasks() == {asyncio.current_task()}
            assert [run.succeeded for run in runs] == [21, 11, 0]
            return [run.report() for run in runs]

        a, b, late = run_virtual(main())
        assert (a.offered, a.finished, b.offered, late.offered) == (21, 21, 11, 0)
        assert a.duration == pytest.approx(seconds(2.05))
        assert late.duration == 0
        assert not a.interrupted
        assert not a.broken


def test_what_is_raised_beside_exceptions_is_an_error_of_the_scenarios_code() -> None:
    async def fails(iteration: Iteration) -> None:
        pytest.fail("inside an iteration")

    report = report_of(fails, arrivals(100, 1))
    (error,) = report.errors
    assert error.outcome is Outcome.EXCEPTION
    assert "inside an iteration" in error.message
    assert report.broken


def test_an_iteration_that_cancels_itself_is_not_unfinished() -> None:
    async def cancels(iteration: Iteration) -> None:
        raise asyncio.CancelledError

    report = report_of(cancels, arrivals(10, 1))
    assert (report.finished, report.unfinished) == (10, 0)
    assert (report.samples.iterations.outcome == Outcome.EXCEPTION).all()


def test_an_iteration_that_will_not_be_cancelled_is_an_error_and_no_hang() -> None:
    async def stubborn(iteration: Iteration) -> None:
        while True:
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                if iteration.index >= 0:
                    continue
                raise

    async def main() -> None:
        run = ScenarioRun(
            Scenario(name="stubborn", executor=arrivals(1, 2), iteration=stubborn),
            clients=[None],
            clock=VirtualClock(),
            classify=lambda error: None,
            grace=seconds(1),
        )
        with pytest.raises(
            ScenarioError, match="2 iterations caught their cancellation and went on"
        ):
            await run.execute()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            coroutine = task.get_coro()
            assert coroutine is not None
            with contextlib.suppress(RuntimeError):
                coroutine.close()

    with contextlib.suppress(RuntimeError):
        run_virtual(main())


def test_what_a_client_tells_is_kept_for_the_step_and_the_iteration() -> None:
    clock_at: list[int] = []

    async def asks(iteration: Iteration) -> None:
        now = iteration._run.now
        await asyncio.sleep(0.005)
        async with iteration.step("one"):
            iteration.connected(1, 2, 3)
            iteration.sent(now(), False)
            await asyncio.sleep(0.01)
            iteration.answered(response(200), now())
            iteration.received(10)
        async with iteration.step("two"):
            await asyncio.sleep(0.001)
            clock_at.append(now())
            iteration.sent(now(), True)
            await asyncio.sleep(0.02)
            iteration.answered(response(200), now())
            iteration.received(5)

    report = report_of(asks, arrivals(1, 1))
    whole, one, two = (
        report.samples.iterations,
        report.samples.of_step("one"),
        report.samples.of_step("two"),
    )
    assert (one.size.tolist(), two.size.tolist(), whole.size.tolist()) == ([10], [5], [15])
    assert (one.reused.tolist(), two.reused.tolist(), whole.reused.tolist()) == (
        [False],
        [True],
        [False],
    )
    assert two.sent.tolist() == clock_at
    assert whole.sent.tolist() == one.sent.tolist()
    assert whole.first_byte.tolist() == two.first_byte.tolist()
    assert two.service_time.tolist() == pytest.approx([20 * 10**6])
    made = report.connections
    assert (made.index.tolist(), made.step.tolist()) == ([0], [1])
    assert (made.dns.tolist(), made.connect.tolist(), made.tls.tolist()) == ([1], [2], [3])
