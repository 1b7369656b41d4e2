"""Figures without samples are those with samples: counts to the unit, percentiles to a tenth of a per cent."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_certload.engine import recorder as recorders
from pytest_certload.engine.executors import Executor
from pytest_certload.engine.executors.constant_arrival_rate import ConstantArrivalRate
from pytest_certload.engine.executors.constant_vus import ConstantVUs
from pytest_certload.engine.executors.shared_iterations import SharedIterations
from pytest_certload.engine.recorder import FoldingRecorder, Recorder
from pytest_certload.engine.runner import ScenarioRun, WorkerReport, merge
from pytest_certload.engine.scenario import Iteration, IterationFunction, Scenario
from pytest_certload.errors import ConfigurationError
from pytest_certload.samples import QUEUED, ROW, Connections, Outcome, Samples
from pytest_certload.stats.distribution import Distribution, ExactTimes
from pytest_certload.stats.figures import RunFigures, StepFigures, figures_of
from pytest_certload.stats.folding import Fold
from pytest_certload.stats.sketch import ERROR, MOST_OCTETS, SketchedTimes
from pytest_certload.testing import VirtualClock, run_virtual
from pytest_certload.units import seconds
from pytest_certload.verdict.diagnosis import diagnose
from pytest_certload.verdict.result import CombinedResult, RunResult

IntColumn = npt.NDArray[np.int64]

#: Up to ten years; small ones often, as they are what rounding hurts.
times = st.lists(
    st.one_of(st.integers(0, 2_000), st.integers(0, 10**7), st.integers(0, 3 * 10**17)),
    max_size=60,
)
percents = st.one_of(st.integers(0, 100).map(float), st.decimals(0, 100, places=3).map(float))


def column(values: list[int]) -> IntColumn:
    return np.array(values, np.int64)


def sketch(*parts: list[int]) -> SketchedTimes:
    made = SketchedTimes()
    for part in parts:
        made.add(column(part))
    return made


def assert_near(found: Distribution, exact: Distribution, *percentages: float) -> None:
    assert (found.count, found.min, found.max) == (exact.count, exact.min, exact.max)
    assert found.mean == (exact.mean and pytest.approx(exact.mean, rel=1e-12))
    for percent in percentages or (0, 50, 90, 95, 99, 99.9, 100):
        near, true = found.percentile(percent), exact.percentile(percent)
        if true is None:
            assert near is None
        else:
            assert near is not None
            # It is rounded to a nanosecond.
            assert abs(near - true) <= ERROR * (1 + 1e-9) * true + 0.5


class TestASketch:
    @given(times, times, percents)
    def test_is_as_near_as_it_says(
        self, values: list[int], more: list[int], percent: float
    ) -> None:
        assert_near(sketch(values, more), ExactTimes(column(values + more)), percent)

    @given(st.lists(times, min_size=1, max_size=4), percents)
    def test_is_merged_without_a_loss(self, parts: list[list[int]], percent: float) -> None:
        first, *others = [sketch(part) for part in parts]
        together = first.joined(others)
        assert_near(together, ExactTimes(column([*chain(*parts)])), percent)
        assert first.count == len(parts[0]), "the parts stay what they were"

    def test_takes_what_came_before_its_begin_for_nothing(self) -> None:
        made = sketch([-5, -3, 0, 4_000, 4_000])
        assert (made.min, made.percentile(50), made.max) == (-5, 0, 4_000)
        assert made.mean == pytest.approx(1598.4)

    def test_of_many_times(self) -> None:
        drawn = np.random.default_rng(1).lognormal(np.log(4e6), 1.5, 100_000).astype(np.int64)
        made = SketchedTimes()
        for part in np.array_split(drawn, 7):
            made.add(part)
        assert_near(made, ExactTimes(drawn), *np.linspace(0, 100, 401).tolist())

    def test_asks_the_library_once_a_bucket(self, monkeypatch: pytest.MonkeyPatch) -> None:
        made, calls = SketchedTimes(), 0
        add = made._sketch.add

        def counting(*args: float) -> None:
            nonlocal calls
            calls += 1
            add(*args)

        monkeypatch.setattr(made._sketch, "add", counting)
        for seed in range(10):
            made.add(np.random.default_rng(seed).integers(10**6, 2 * 10**6, 16_384))
        for percent in (50, 90, 95):
            made.percentile(percent)
        assert calls <= 348, "ln 2 / ln gamma buckets, and one where the range begins"

    def test_does_not_grow_beyond_what_it_says(self) -> None:
        made = SketchedTimes()
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            made.add(np.geomspace(1, 366 * 86_400e9, 100_000).astype(np.int64))
            made.percentile(50)
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert after - before < 1.1 * MOST_OCTETS

    @pytest.mark.parametrize("percent", [-1, 100.5])
    def test_what_is_no_percentage(self, percent: float) -> None:
        for values in ([], [1, 2]):
            with pytest.raises(ValueError, match="is not a percentage from 0 to 100"):
                sketch(values).percentile(percent)


def assert_same(found: RunFigures, exact: RunFigures) -> None:
    assert (found.name, found.failures) == (exact.name, exact.failures)
    assert list(found.steps) == list(exact.steps)
    for step, true in [
        (found.iterations, exact.iterations),
        *((found.steps[name], exact.steps[name]) for name in exact.steps),
    ]:
        assert_same_step(step, true)


def assert_same_step(found: StepFigures, exact: StepFigures) -> None:
    assert found.counts == exact.counts
    assert found.times.keys() == exact.times.keys()
    for kind in exact.times:
        assert_near(found.times[kind], exact.times[kind])


STEPS = ("storm", "login", "buy", "pay")


@st.composite
def streams(draw: st.DrawFn) -> list[dict[str, int]]:
    """Rows in an order in which a run may record them: an iteration's own after those of its steps."""
    rows: list[dict[str, int]] = []
    due = 0
    for index in range(draw(st.integers(0, 12))):
        due += draw(st.integers(0, 3))
        for step in [*draw(st.lists(st.integers(1, 3), max_size=4)), 0]:
            start = due + draw(st.integers(0, 4))
            rows.append(
                {
                    "step": step,
                    "index": index,
                    # A later step is due when it begins, which may be after the window.
                    "due": due if step == 0 or draw(st.booleans()) else start,
                    "start": start,
                    "sent": draw(st.sampled_from([0, start, start + 1])),
                    "first_byte": draw(st.sampled_from([0, start + 1, start + 2])),
                    "end": start + draw(st.integers(2, 9)),
                    "size": draw(st.integers(0, 5)),
                    "status": draw(st.sampled_from([0, 200, 503])),
                    "outcome": int(draw(st.sampled_from(Outcome))),
                    "flags": draw(st.sampled_from([0, QUEUED])),
                }
            )
    places = draw(st.permutations(range(len(rows))))
    mixed: list[dict[str, int]] = [{}] * len(rows)
    for index in {row["index"] for row in rows}:
        own = [place for place, row in enumerate(rows) if row["index"] == index]
        for place, row in zip(sorted(places[p] for p in own), own, strict=True):
            mixed[place] = rows[row]
    return mixed


def packed(rows: list[dict[str, int]]) -> npt.NDArray[np.void]:
    table = np.zeros(len(rows), ROW)
    for place, row in enumerate(rows):
        for name, value in row.items():
            table[name][place] = value
    return table


@st.composite
def connections(draw: st.DrawFn) -> list[tuple[int, ...]]:
    phases = st.integers(0, 3)
    return draw(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 3), phases, phases, phases)))


class TestAFold:
    @given(streams(), connections(), st.integers(0, 20), st.integers(0, 20), st.integers(1, 9))
    @settings(max_examples=200)
    def test_is_what_the_kept_samples_say(
        self,
        rows: list[dict[str, int]],
        made: list[tuple[int, ...]],
        begin: int,
        length: int,
        chunk: int,
    ) -> None:
        table = packed(rows)
        taken = np.array(made, np.int64).reshape(-1, 5)
        window_end = begin + length // 2
        fold = Fold("storm")
        fold.measure(begin, begin + length)
        fold.window_end = window_end
        for place in range(0, len(rows), chunk):
            # All connections come before the row of their iteration.
            early = taken if place == 0 else taken[:0]
            fold.add(table[place : place + chunk], early, steps=STEPS)

        samples = Samples.from_rows([table], steps=STEPS).window(begin, begin + length)
        inside = np.isin(taken[:, 0], samples.iterations.index)
        exact = figures_of(samples, Connections.from_table(taken[inside]), window_end=window_end)
        assert_same(fold.figures(steps=STEPS), exact)

    def test_keeps_rows_only_until_their_iteration_is_over(self) -> None:
        fold = Fold("storm")
        fold.measure(0, 10**9)
        row = {"due": 0, "start": 0, "end": 1}
        for index in range(0, 1000, 2):
            steps = [row | {"index": n, "step": 1} for n in (index, index + 1)]
            before = [row | {"index": index - 1, "step": 0}] if index else []
            fold.add(
                packed([*before, *steps, row | {"index": index, "step": 0}]),
                np.array([[index, 1, 0, 1, 0]]),
                steps=STEPS[:2],
            )
            assert len(fold._rows) <= 1
            assert len(fold._connections) == 0

    def test_a_step_that_outlives_its_iteration_is_counted_too(self) -> None:
        fold = Fold("storm")
        fold.measure(0, 100)
        row = {"due": 5, "start": 5, "end": 7}
        fold.add(packed([row | {"index": 0, "step": 0}]), np.empty((0, 5), np.int64), steps=STEPS)
        late = [row | {"index": 0, "step": 1}, row | {"index": 1, "step": 1}]
        fold.add(packed(late), np.empty((0, 5), np.int64), steps=STEPS)
        for _ in range(2):
            figures = fold.figures(steps=STEPS)
            assert figures.steps["login"].counts.count == 1, (
                "the other iteration is not the window's"
            )
            assert figures.iterations.counts.count == 1


async def steps_and_errors(iteration: Iteration) -> None:
    async with iteration.step("login"):
        iteration.connected(0, 1_000_000 + iteration.index, 0)
        await asyncio.sleep(0.001 * (1 + iteration.index % 50))
        iteration.check(iteration.index % 7, "seven")
    async with iteration.step("buy"):
        await asyncio.sleep(0.02)
        iteration.check(iteration.index % 11, "eleven")


async def sometimes_stuck(iteration: Iteration) -> None:
    await asyncio.sleep(3600 if iteration.index % 10 == 3 else 0.05)


async def broken(iteration: Iteration) -> None:
    await asyncio.sleep(0.001)
    raise KeyError


def report_of(
    function: IterationFunction, executor: Executor, *, keep: bool, cut_after: float | None = None
) -> WorkerReport:
    async def main() -> WorkerReport:
        run = ScenarioRun(
            Scenario(name="tested", executor=executor, iteration=function),
            clients=[None],
            clock=VirtualClock(),
            classify=lambda error: None,
            grace=seconds(1),
            keep_samples=keep,
        )
        task = asyncio.create_task(run.execute())
        if cut_after is None:
            await task
        else:
            await asyncio.sleep(cut_after)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        return run.report()

    return run_virtual(main())


ARRIVALS = ConstantArrivalRate(rate=200, duration=3)
RUNS: dict[str, tuple[IterationFunction, Executor, float | None]] = {
    "arrivals": (steps_and_errors, ARRIVALS, None),
    "warm-up": (
        steps_and_errors,
        ConstantArrivalRate(rate=200, duration=2, warm_up="1s", max_in_flight=20),
        None,
    ),
    "VUs after a warm-up": (steps_and_errors, ConstantVUs(vus=9, duration=2, warm_up="0.5s"), None),
    "dropped": (
        steps_and_errors,
        ConstantArrivalRate(rate=200, duration=2, max_in_flight=3, when_full="drop"),
        None,
    ),
    "unfinished": (sometimes_stuck, ConstantArrivalRate(rate=50, duration=3, warm_up=1), None),
    "ends early": (steps_and_errors, SharedIterations(iterations=400, vus=5), None),
    "interrupted": (steps_and_errors, ARRIVALS, 1.2345),
    "interrupted in the warm-up": (
        steps_and_errors,
        ConstantArrivalRate(rate=200, duration=2, warm_up="1s"),
        0.5,
    ),
    "broken": (broken, ARRIVALS, None),
}


class TestARun:
    @pytest.mark.parametrize("name", RUNS)
    def test_comes_to_the_same(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(recorders, "_CHUNK", 100 * ROW.itemsize)
        function, executor, cut_after = RUNS[name]
        exact = report_of(function, executor, keep=True, cut_after=cut_after)
        found = report_of(function, executor, keep=False, cut_after=cut_after)
        assert_same(found.figures, exact.figures)
        # The wall's clock is not virtual.
        at: dict[str, Any] = {
            "figures": exact.figures,
            "kept": None,
            "started_at": exact.started_at,
        }
        assert replace(found, **at) == replace(exact, kept=None)
        assert diagnose(found).state == diagnose(exact).state

    def test_is_judged_without_samples(self) -> None:
        result = RunResult(report_of(steps_and_errors, ARRIVALS, keep=False))
        exact = RunResult(report_of(steps_and_errors, ARRIVALS, keep=True))
        assert str(result.p95).endswith(" ms ±0.1 %")
        assert "±" not in f"{result.max}{result.mean}{exact.p95}{result.step('none').p95}"
        assert result.p95 < seconds(1)
        assert result.judgements[-1].actual == str(result.p95)
        assert result.statuses == exact.statuses
        assert float(result.step("login").connect.max) == float(exact.step("login").connect.max)
        assert result.unjudged_errors() == exact.unjudged_errors() == int(exact.errors)
        for one in (result, exact):
            assert one.step("login").error_rate < 1.0
        assert result.unjudged_errors() == exact.unjudged_errors()
        assert 0 < exact.unjudged_errors() < int(exact.errors)
        for one in (result, exact):
            assert one.step("buy").errors < 10_000
        assert (result.unjudged_errors(), exact.unjudged_errors()) == (0, 0)

    def test_has_no_samples_to_look_at(self) -> None:
        result = RunResult(report_of(steps_and_errors, ARRIVALS, keep=False))
        for look in (lambda: result.samples, lambda: result.report.connections):
            with pytest.raises(
                ConfigurationError, match=r"--certload-samples: 'sketch' keeps no sample"
            ):
                look()

    def test_together_with_others_comes_to_the_same(self) -> None:
        def together(keep: bool) -> CombinedResult:
            parts = {
                "a": RunResult(report_of(steps_and_errors, ARRIVALS, keep=keep)),
                "b": RunResult(
                    report_of(steps_and_errors, ConstantVUs(vus=3, duration=1), keep=keep)
                ),
            }
            return CombinedResult(parts, name="all")

        exact, found = together(True), together(False)
        assert_same(found.report.figures, exact.report.figures)
        assert list(found.steps) == ["a.login", "a.buy", "b.login", "b.buy"]
        assert int(found.count) == len(exact.samples.iterations)
        assert found.report.figures.percentile_error == ERROR
        with pytest.raises(ConfigurationError, match="keeps no sample"):
            found.samples  # noqa: B018

    def test_of_some_together_is_kept_only_if_all_are(self) -> None:
        kept = report_of(steps_and_errors, ARRIVALS, keep=True)
        assert merge({"a": kept}, name="all").kept is not None


def fill(recorder: Recorder, rows: int) -> None:
    for index in range(rows):
        recorder.add(0, 200, 0, 0, index, index, index, index, index + 1, index + 1000, 1)


def test_memory_does_not_grow_with_the_run() -> None:
    def growth(make: Callable[[], Recorder]) -> int:
        recorder = make()
        fill(recorder, 20_000)
        before, _ = tracemalloc.get_traced_memory()
        fill(recorder, 50_000)
        return tracemalloc.get_traced_memory()[0] - before

    def folding() -> FoldingRecorder:
        made = FoldingRecorder("storm")
        made.fold.measure(0, 10**9)
        return made

    tracemalloc.start()
    try:
        assert growth(folding) < 100_000
        assert growth(lambda: Recorder("storm")) > 40_000 * ROW.itemsize
    finally:
        tracemalloc.stop()


def test_the_library_is_imported_when_a_sketch_is_made() -> None:
    script = "import sys, pytest_certload.session; print('ddsketch' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert result.stdout == "False\n"


def test_an_exact_distribution_joins_too() -> None:
    parts: list[Any] = [ExactTimes(column(values)) for values in ([5, 1], [], [3])]
    together = parts[0].joined(parts[1:])
    assert (together.count, together.min, together.percentile(50), together.max) == (3, 1, 3, 5)
