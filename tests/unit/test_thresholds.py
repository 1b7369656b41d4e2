from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_certload.early_end import EarlyEnd
from pytest_certload.engine.executors.constant_arrival_rate import ConstantArrivalRate
from pytest_certload.engine.runner import ScenarioRun, WorkerReport, execute_together
from pytest_certload.engine.scenario import Iteration, IterationFunction, Scenario
from pytest_certload.errors import ConfigurationError, ThresholdsMissed
from pytest_certload.testing import VirtualClock, run_virtual
from pytest_certload.units import Duration, ms, seconds
from pytest_certload.verdict.held import figure_of
from pytest_certload.verdict.measure import Measure
from pytest_certload.verdict.policy import Policy
from pytest_certload.verdict.result import CombinedResult, RunResult
from pytest_certload.verdict.thresholds import (
    METRICS,
    Threshold,
    parse_threshold,
    parse_thresholds,
)


class TestGrammar:
    @pytest.mark.parametrize(
        ("text", "figure", "statistic", "percent", "sign", "limit"),
        [
            ("p(95)<500", "response_time", None, 95.0, "<", ms(500)),
            ("p(99.9) <= 1.5s", "response_time", None, 99.9, "<=", seconds(1.5)),
            (" p( 50 )>250us ", "response_time", None, 50.0, ">", ms(0.25)),
            ("med<.5", "response_time", None, 50.0, "<", ms(0.5)),
            ("avg<200ms", "response_time", "mean", None, "<", ms(200)),
            ("min>=1", "response_time", "min", None, ">=", ms(1)),
            ("max!=1", "response_time", "max", None, "!=", ms(1)),
            ("rate<0.001", "error_rate", None, None, "<", 0.001),
            ("count===1000", "finished", None, None, "==", 1000),
            ("iterations: rate>100", "rate", None, None, ">", 100),
            ("iterations: rate>90/min", "rate", None, None, ">", 1.5),
            ("service time: max<1s", "service_time", "max", None, "<", seconds(1)),
            ("errors: rate<0.1", "error_rate", None, None, "<", 0.1),
            ("errors: count<10", "errors", None, None, "<", 10),
            ("dropped_iterations: rate<1", "dropped_rate", None, None, "<", 1),
            ("checks: rate>0.99", "success_rate", None, None, ">", 0.99),
            ("http_req_waiting: p(95)<100", "first_byte", None, 95.0, "<", ms(100)),
            ("http_reqs: count>=5", "finished", None, None, ">=", 5),
        ],
    )
    def test_an_expression(
        self,
        text: str,
        figure: str,
        statistic: str | None,
        percent: float | None,
        sign: str,
        limit: float,
    ) -> None:
        read = parse_threshold(text)
        found = (read.figure, read.statistic, read.percent, read.sign, read.limit)
        assert found == (figure, statistic, percent, sign, limit)
        assert isinstance(read.limit, Duration) is (statistic is not None or percent is not None), (
            "only times compare with durations"
        )
        assert (read.step, read.scenario, read.abort_on_fail, read.delay) == (None, None, False, 0)

    @pytest.mark.parametrize(
        ("subject", "step", "scenario"),
        [
            ("{step:login}", "login", None),
            ("http_req_duration{step:log in}", "log in", None),
            ("http_req_duration{ step : 'login' , scenario:shop }", "login", "shop"),
            ("group_duration{group:::login}", "login", None),
            ("http_req_duration{expected_response:true}", None, None),
            ("http_req_duration{}", None, None),
        ],
    )
    def test_tags(self, subject: str, step: str | None, scenario: str | None) -> None:
        for read in (
            parse_threshold(f"{subject}: max<5"),
            *parse_thresholds({subject: "max<5"}),
        ):
            assert (read.step, read.scenario) == (step, scenario)
            assert read.text == f"{subject}: max<5"

    @given(
        percent=st.floats(0, 100).map(lambda x: f"{x:.3f}"),
        sign=st.sampled_from(["<", "<=", ">", ">=", "==", "!="]),
        limit=st.integers(0, 10**6),
        decimals=st.integers(0, 999999),
        blank=st.sampled_from(["", " ", "  "]),
    )
    def test_a_bare_limit_is_milliseconds_to_the_nanosecond(
        self, percent: str, sign: str, limit: int, decimals: int, blank: str
    ) -> None:
        read = parse_threshold(f"p({percent}){blank}{sign}{blank}{limit}.{decimals:06}")
        assert (read.percent, read.sign) == (float(percent), sign)
        assert read.limit == limit * 1_000_000 + decimals

    @given(st.text(alphabet="pavgrtecounm(95)<>=!.: {}step,0") | st.text())
    def test_whatever_is_no_threshold_is_one_clear_error(self, text: str) -> None:
        problem = ""
        try:
            read = parse_threshold(text)
        except ConfigurationError as error:
            problem = str(error)
        else:
            assert parse_threshold(read.text) == read
        assert not problem or repr(text) in problem

    def test_forms(self) -> None:
        """A text, a list, k6's mapping, entries with abortOnFail: all at once."""
        read = parse_thresholds(
            [
                "p(95)<500",
                ["max<2s"],
                {
                    "http_req_duration": [
                        "p(95)<500",
                        {"threshold": "p(99)<1000", "abortOnFail": True, "delayAbortEval": "10s"},
                    ],
                    "iterations": "count>5",
                },
                {"threshold": "rate<0.1", "abort_on_fail": True, "delay": 3},
                {"threshold": "rate<0.2", "delayAbortEval": 500},
            ]
        )
        assert [(str(t), t.abort_on_fail, t.delay) for t in read] == [
            ("p(95)<500", False, 0),
            ("max<2s", False, 0),
            ("http_req_duration: p(95)<500", False, 0),
            ("http_req_duration: p(99)<1000", True, seconds(10)),
            ("iterations: count>5", False, 0),
            ("rate<0.1", True, seconds(3)),
            ("rate<0.2", False, ms(500)),
        ]
        assert parse_thresholds(()) == ()

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            ("p95<500", "'p95<500' is no threshold; write such as"),
            ("p(95)=<500", "is no threshold"),
            ("p(95)<500 && max<9", "is no threshold"),
            ("p<500", "'p' is none of avg, min, med, max, p(N), rate and count"),
            ("avg(5)<500", "'avg(5)' is none of"),
            ("value<5", "'value' is none of"),
            ("p(101)<5", "p(101) is none of p(0) to p(100)"),
            ("p(95)<abc", "limit: 'abc' is not a duration; write a duration such as"),
            ("p(95)<-5", "'-5' is not a duration"),
            ("rate<1%", "'1%' is no number; write such as 0.001"),
            ("count<many", "'many' is no number"),
            ("iterations: rate>fast", "limit: 'fast' is not a rate"),
            ("rate>100", "a bare rate is a share, from 0 to 1, not 100"),
            ("rate>100", "for iterations per second write iterations: rate>100"),
            ("http_req_failed: rate<5", "http_req_failed is a share, from 0 to 1, not 5"),
            ("vus: max<3", "there is no metric vus; there are response_time,"),
            ("http_req_blocked: max<3", "the wait for a free slot is in `response_time`"),
            ("http_req_connecting: max<3", "`connect` is of the connections that were made"),
            ("http_req_duration: rate<1", "has avg, min, med, max, p(N), not rate"),
            ("checks: max<1", "checks has rate, not max"),
            ("http_reqs: count<5", "there is no upper bound on http_reqs; put it on iterations"),
            ("iterations{step:a}: count>5", "iterations is of whole iterations; leave the step"),
            ("group_duration: max<5", "write group_duration{step:NAME}"),
            ("max{step:a}<5", "is no threshold"),
            ("{status:200}: max<5", "{status:200} is no tag here; there are {step:NAME} and"),
            ("{step:}: max<5", "{step:} is no tag here"),
            ({"a b{": "max<5"}, "'a b{' is no metric"),
            ({5: "max<5"}, "5 is no metric; there are"),
            ({"checks": "checks: rate>0.5"}, "the metric stands before it already, 'checks'"),
            ({"checks": {"abort": 1}}, "{'abort': 1} has no threshold; write {"),
            ({"threshold": "max<5", "abort": 1}, "'abort' is none of threshold, abort_on_fail"),
            ({"threshold": 5}, "5 is no threshold"),
            ({"threshold": "max<5", "abortOnFail": "yes"}, "'yes' is no True or False"),
            ({"threshold": "max<5", "delay": "soon"}, "delay: 'soon' is not a duration"),
            ({"threshold": "count>5", "abort_on_fail": True}, "a count grows until the end"),
            ({"threshold": "count==5", "abort_on_fail": True}, "a count grows until the end"),
            (
                {"threshold": "unanswered_rate: rate<0.1", "abort_on_fail": True},
                "what is on its way has no answer yet",
            ),
            (5, "5 is no threshold"),
            (None, "None is no threshold"),
            (b"max<5", "is no threshold"),
        ],
    )
    def test_what_cannot_be_read_is_named_with_the_remedy(
        self, value: object, message: str
    ) -> None:
        with pytest.raises(ConfigurationError) as error:
            parse_thresholds(value, name="here")
        assert str(error.value).startswith("here: ")
        assert message in str(error.value)


def result_of(*functions: IterationFunction, duration: object = 2, **more: Any) -> RunResult:
    """What scenarios ``a``, ``b`` … come to at 100/s, in virtual time."""

    async def execute() -> dict[str, WorkerReport]:
        runs = {
            name: scenario_run(name, function, duration=duration, **more)
            for name, function in zip("abc", functions, strict=False)
        }
        await execute_together(list(runs.values()))
        return {name: run.report() for name, run in runs.items()}

    results = {name: RunResult(report) for name, report in run_virtual(execute()).items()}
    return results["a"] if len(results) == 1 else CombinedResult(results, name="all")


def scenario_run(
    name: str, function: IterationFunction, *, duration: object, warm_up: object = 0, **more: Any
) -> ScenarioRun:
    return ScenarioRun(
        Scenario(
            name=name,
            executor=ConstantArrivalRate(rate=100, duration=duration, warm_up=warm_up),
            iteration=function,
        ),
        clients=[None],
        clock=VirtualClock(),
        classify=lambda error: None,
        **more,
    )


async def shop(iteration: Iteration) -> None:
    """A step of 10 ms, then one of 5 to 14 ms; every tenth fails in it."""
    async with iteration.step("login"):
        await asyncio.sleep(0.01)
    async with iteration.step("pay"):
        await asyncio.sleep(0.005 + iteration.index % 10 / 1000)
        iteration.check(iteration.index % 10, "paid")


class TestFigures:
    @pytest.mark.parametrize(
        ("text", "of"),
        [
            ("p(95)<1", lambda r: r.p95),
            ("med<1", lambda r: r.p50),
            ("avg<1", lambda r: r.mean),
            ("min<1", lambda r: r.min),
            ("max<1", lambda r: r.max),
            ("service_time: p(99)<1", lambda r: r.service_time.p99),
            ("first_byte: p(50)<1", lambda r: r.first_byte.p50),
            ("rate<1", lambda r: r.error_rate),
            ("http_req_failed: rate<1", lambda r: r.error_rate),
            ("server_error_rate: rate<1", lambda r: r.server_error_rate),
            ("checks: rate<1", lambda r: r.success_rate),
            ("errors: count<1", lambda r: r.errors),
            ("count<1", lambda r: r.finished),
            ("iterations: rate<1", lambda r: r.rate),
            ("dropped: count<1", lambda r: r.dropped),
            ("dropped_iterations: rate<1", lambda r: r.dropped_rate),
            ("{step:pay}: p(90)<1", lambda r: r.step("pay").p90),
            ("http_reqs{step:pay}: count>1", lambda r: r.step("pay").finished),
            ("http_req_failed{step:pay}: rate<1", lambda r: r.step("pay").error_rate),
        ],
    )
    def test_an_expression_is_about_the_figure_of_python(
        self, text: str, of: Callable[[RunResult], Measure]
    ) -> None:
        result = result_of(shop)
        threshold = parse_threshold(text)
        (bearer,) = result.bearers(threshold)
        found, wanted = figure_of(bearer, threshold), of(result)
        assert (found.value, found.metric, found.step, found.kind) == (
            wanted.value,
            wanted.metric,
            wanted.step,
            threshold.kind,
        )
        assert found.metric == threshold.label

    def test_the_figures_are_right(self) -> None:
        result = result_of(shop)
        assert (int(result.finished), int(result.ok), int(result.errors)) == (200, 180, 20)
        assert float(result.success_rate) == 0.9
        assert int(result.min) == ms(16)
        assert int(result.step("pay").response_time.min) == ms(6)

    def test_every_metric_can_be_judged(self) -> None:
        result = result_of(shop)
        for metric, figures in METRICS.items():
            for aggregate in figures:
                text = {"time": "p(95)>=0", "rate": "rate>=0", "count": "count>=0"}[aggregate]
                of = "{step:pay}" if metric == "group_duration" else ""
                threshold = parse_threshold(f"{metric}{of}: {text}")
                (bearer,) = result.bearers(threshold)
                assert figure_of(bearer, threshold).metric == threshold.label

    def test_of_several_scenarios(self) -> None:
        async def other(iteration: Iteration) -> None:
            async with iteration.step("pay"):
                await asyncio.sleep(0.001)

        result = result_of(shop, other)
        assert isinstance(result, CombinedResult)

        def bearers(subject: str) -> list[object]:
            return list(result.bearers(parse_threshold(f"{subject}: max<5")))

        a, b = result["a"], result["b"]
        assert bearers("response_time") == [result]
        assert bearers("{step:pay}") == [a.steps["pay"], b.steps["pay"]]
        assert bearers("{step:login}") == [a.steps["login"]]
        assert bearers("{step:b.pay}") == [result.steps["b.pay"]]
        assert bearers("{scenario:b}") == [b]
        assert bearers("{scenario:b,step:pay}") == [b.steps["pay"]]
        assert bearers("{scenario:b,step:login}") == bearers("{scenario:c}") == []

    def test_a_later_run_of_a_scenario_has_a_number(self) -> None:
        report = result_of(shop).report
        later, another = RunResult(report, given="shop"), RunResult(report)

        def bears(result: RunResult, scenario: str) -> bool:
            return bool(result.bearers(parse_threshold(f"{{scenario:{scenario}}}: max<5")))

        assert [bears(later, name) for name in ("shop", "a", "b")] == [True, True, False]
        assert [bears(another, name) for name in ("shop", "a", "b")] == [False, True, False]


class TestHold:
    def test_all_breaches_are_listed(self) -> None:
        result = result_of(shop)
        with pytest.raises(ThresholdsMissed) as error:
            result.hold("max<1s", ["count>200"], {"http_req_failed{step:pay}": "rate<0.05"})
        assert str(error.value) == (
            "2 of 3 thresholds missed: finished, error rate of step pay\n"
            "  finished = 200, wanted > 200 (missed by 0, 0%)\n"
            "  error rate of step pay = 10 % (6.57 – 14.9 %, 95 % sure), wanted < 5 % "
            "(missed by 5 %, 100%)"
        )
        assert [j.passed for j in result.judgements] == [True, False, False]
        assert [j.expression for j in result.judgements] == [
            "max<1s",
            "count>200",
            "http_req_failed{step:pay}: rate<0.05",
        ]

    def test_a_step_that_is_not_there(self) -> None:
        result = result_of(shop)
        with pytest.raises(ThresholdsMissed) as error:
            result.hold("{step:gone}: p(95)<5s")
        assert str(error.value) == (
            "threshold missed: response time p95 of step gone = no samples: step 'gone' was never "
            "finished; steps that were: login, pay, wanted < 5 s"
        )

    @pytest.mark.parametrize(
        ("text", "unjudged"),
        [("rate<=1", 0), ("checks: rate>=0", 0), ("checks: rate<=1", 20), ("max<5s", 20),
         ("http_req_failed{step:pay}: rate<=1", 0), ("http_req_failed{step:login}: rate<=1", 20)],
    )  # fmt: skip
    def test_which_thresholds_judge_errors(self, text: str, unjudged: int) -> None:
        result = result_of(shop)
        result.hold(text)
        assert result.unjudged_errors() == unjudged


class TestSoFar:
    @pytest.mark.parametrize("keep_samples", [True, False])
    def test_the_figures_so_far_are_of_what_is_over(self, keep_samples: bool) -> None:
        """After 3 s, of which 1 s was warm-up: 200 were due, of which the last one is at work."""

        async def execute() -> tuple[WorkerReport, WorkerReport]:
            run = scenario_run("a", shop, duration=4, warm_up=1, keep_samples=keep_samples)
            task = asyncio.ensure_future(run.execute())
            await asyncio.sleep(3.0101)
            so_far = run.so_far()()
            await task
            return so_far, run.report()

        so_far, report = run_virtual(execute())
        counts = so_far.figures.iterations.counts
        pay = so_far.figures.step("pay").counts
        assert 198 <= counts.count <= 200
        assert pay.count == counts.count
        assert counts.count - 20 <= counts.of_outcome(0) <= counts.count - 19  # type: ignore[arg-type]
        assert so_far.duration == ms(2010.1)
        assert so_far.window_begin == report.window_begin
        assert report.offered == 400
        assert report.figures.step("pay").counts.count == 400, "a look takes nothing away"


class TestEarlyEnd:
    """In virtual time, and so with sketches, which need no thread."""

    @staticmethod
    def run_with(
        *thresholds: object, function: IterationFunction = shop, duration: object = 60, **more: Any
    ) -> tuple[EarlyEnd, RunResult]:
        async def execute() -> tuple[EarlyEnd, WorkerReport]:
            run = scenario_run("a", function, duration=duration, keep_samples=False, **more)
            early_end = EarlyEnd(
                parse_thresholds(thresholds),
                {"a": run},
                name="a",
                policy=Policy(),
                keep_samples=False,
            )
            early_end.start()
            try:
                await run.execute()
            finally:
                await early_end.stop()
            assert asyncio.all_tasks() == {asyncio.current_task()}
            return early_end, run.report()

        early_end, report = run_virtual(execute())
        return early_end, RunResult(report)

    @staticmethod
    def abort(text: str, delay: object = 0) -> dict[str, object]:
        return {"threshold": text, "abort_on_fail": True, "delay": delay}

    @pytest.mark.parametrize(
        ("delay", "warm_up", "after"),
        [(0, 0, 1), ("500ms", 0, 1), ("10s", 0, 10), ("10s", "5s", 15), (0, "5s", 6)],
    )
    def test_after_its_delay_in_the_measured_window(
        self, delay: object, warm_up: object, after: float
    ) -> None:
        early_end, result = self.run_with(self.abort("max<1ms", delay), warm_up=warm_up)
        ((threshold, judgement),) = early_end.breaches.items()
        assert threshold.text == "max<1ms"
        assert (judgement.passed, judgement.decided, judgement.actual) == (False, True, "24 ms")
        assert early_end.after.total_seconds == pytest.approx(after, abs=0.1)
        assert result.report.duration.total_seconds == pytest.approx(
            after - (5 if warm_up else 0), abs=0.1
        )

    def test_once_it_is_breached(self) -> None:
        async def slower(iteration: Iteration) -> None:
            await asyncio.sleep(0.1 if iteration.index >= 1500 else 0.001)

        early_end, _ = self.run_with(self.abort("p(90)<50"), function=slower)
        # p90 is above it once a tenth is: after 16.67 s, and the next look.
        assert early_end.after.total_seconds == pytest.approx(17, abs=0.2)

    @pytest.mark.parametrize("text", ["max<5s", "p(99)<1s", "iterations: rate>50", "rate<0.2"])
    def test_what_holds_ends_nothing(self, text: str) -> None:
        early_end, result = self.run_with(self.abort(text), duration=5)
        assert early_end.breaches == {}
        assert result.report.offered == 500

    def test_what_is_in_flight_is_not_missing(self) -> None:
        async def slow(iteration: Iteration) -> None:
            await asyncio.sleep(0.3)

        early_end, _ = self.run_with(self.abort("iterations: rate>90"), function=slow, duration=5)
        assert early_end.breaches == {}

    def test_a_server_that_hangs_misses_a_least_rate(self) -> None:
        async def hanging(iteration: Iteration) -> None:
            await asyncio.sleep(1000)

        early_end, _ = self.run_with(self.abort("iterations: rate>45"), function=hanging)
        # A hundred are in flight: less than 45 a second are they once 2.2 seconds are over.
        assert early_end.after.total_seconds == pytest.approx(3, abs=0.2)

    def test_what_has_no_samples_ends_nothing(self) -> None:
        early_end, _ = self.run_with(
            self.abort("{step:gone}: max<1"), self.abort("first_byte: max<1"), duration=3
        )
        assert early_end.breaches == {}

    def test_what_is_not_decided_ends_nothing(self) -> None:
        """Of ten in a hundred that fail, as many may fail of which a tenth does."""
        early_end, _ = self.run_with(self.abort("rate<0.099"), duration=5)
        assert early_end.breaches == {}

    def test_without_thresholds_nothing_is_looked_at(self) -> None:
        async def execute() -> None:
            early_end = EarlyEnd((), {}, name="a", policy=Policy(), keep_samples=True)
            early_end.start()
            assert len(asyncio.all_tasks()) == 1
            await early_end.stop()

        run_virtual(execute())

    def test_a_look_that_raises_ends_the_load_and_is_raised(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        looks: list[float] = []

        def broken(self: ScenarioRun) -> Callable[[], WorkerReport]:
            looks.append(self.clock.now() / 1e9)
            raise RuntimeError("broken")

        monkeypatch.setattr(ScenarioRun, "so_far", broken)
        with pytest.raises(RuntimeError, match="broken"):
            self.run_with(self.abort("max<1"))
        assert looks == [pytest.approx(1, abs=0.1)]


def test_a_threshold_is_a_value() -> None:
    """Thresholds of several sources that say the same are one."""
    one: Threshold = parse_threshold("p(95)<500")
    assert {one, parse_threshold("p(95)<500")} == {one}
