"""What reports draw a run from: its timeline, its percentile curves, its slowest requests."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_certload.samples import Observation, Outcome, Samples
from pytest_certload.stats.curve import curve_of
from pytest_certload.stats.distribution import ExactTimes
from pytest_certload.stats.histogram import histogram_of
from pytest_certload.stats.sketch import SketchedTimes
from pytest_certload.stats.slowest import slowest_of
from pytest_certload.stats.steady import settled_after
from pytest_certload.stats.timeline import timeline_of

MS = 1_000_000
SECOND = 1_000 * MS


def row(
    index: int,
    due: int,
    took: int,
    *,
    waited: int = 0,
    step: int = 0,
    outcome: Outcome = Outcome.OK,
    status: int = 200,
) -> Observation:
    """Times in milliseconds."""
    return Observation(
        step=step,
        index=index,
        due=due * MS,
        start=(due + waited) * MS,
        sent=(due + waited) * MS,
        end=(due + waited + took) * MS,
        outcome=outcome,
        status=status,
    )


def samples(*rows: Observation, steps: tuple[str, ...] = ("storm",)) -> Samples:
    return Samples.from_observations(rows, steps=steps)


def test_a_timeline_tells_each_part_of_the_window() -> None:
    rows = samples(
        row(0, 1000, 10),
        row(1, 1050, 30),
        row(2, 1120, 200, waited=100),
        row(3, 1130, 5, outcome=Outcome.UNEXPECTED_STATUS, status=500),
        row(4, 1290, 7),
    )
    timeline = timeline_of(rows, begin=SECOND, end=SECOND + 300 * MS)
    assert timeline is not None
    assert timeline.width == 0.1
    assert timeline.due == (2, 2, 1)
    assert timeline.started == (2, 1, 2)
    assert timeline.in_flight == (0, 0, 1)
    assert timeline.backlog == (0, 1, 0)
    whole = timeline.iterations
    assert whole.name == "storm"
    assert whole.count == (2, 2, 1)
    assert whole.errors == (0, 1, 0)
    assert whole.p50 == (10 * MS, 300 * MS, 7 * MS)
    assert whole.max == (30 * MS, 300 * MS, 7 * MS)


def test_a_part_without_samples_has_no_percentiles() -> None:
    timeline = timeline_of(samples(row(0, 250, 10)), begin=0, end=300 * MS)
    assert timeline is not None
    assert timeline.iterations.p95 == (None, None, 10 * MS)
    assert timeline.iterations.count == (0, 0, 1)


def test_what_was_dropped_waits_for_nothing() -> None:
    refused = row(0, 50, 0, outcome=Outcome.DROPPED, status=0)
    timeline = timeline_of(samples(refused, row(1, 150, 500)), begin=0, end=300 * MS)
    assert timeline is not None
    assert timeline.backlog == (0, 0, 0)
    assert timeline.started == (0, 1, 0)
    assert timeline.in_flight == (0, 1, 1)


def test_steps_are_told_by_when_they_began_and_the_last_part_takes_what_came_late() -> None:
    rows = samples(
        row(0, 50, 400), row(0, 60, 100, step=1), row(0, 350, 90, step=1), steps=("shop", "login")
    )
    timeline = timeline_of(rows, begin=0, end=200 * MS)
    assert timeline is not None
    (login,) = timeline.steps
    assert (login.name, login.count, login.max) == ("login", (1, 1), (100 * MS, 90 * MS))


@pytest.mark.parametrize(
    ("seconds", "width", "parts"),
    [(15, 0.1, 150), (31, 0.2, 155), (300, 1, 300), (301, 2, 151), (86_400, 300, 288)],
)
def test_a_timeline_has_few_parts_however_long_the_run(
    seconds: int, width: float, parts: int
) -> None:
    timeline = timeline_of(samples(row(0, 0, 1)), begin=0, end=seconds * SECOND)
    assert timeline is not None
    assert (timeline.width, len(timeline.due)) == (width, parts)


def test_a_window_without_length_has_no_timeline() -> None:
    assert timeline_of(samples(), begin=5, end=5) is None


@given(
    st.lists(st.tuples(st.integers(0, 949), st.integers(0, 300), st.integers(0, 900)), max_size=40),
    st.integers(950, 1000),
)
def test_a_timeline_says_what_was_at_work_when_each_part_ended(
    loads: list[tuple[int, int, int]], length: int
) -> None:
    rows = samples(*(row(n, due, took, waited=w) for n, (due, w, took) in enumerate(sorted(loads))))
    timeline = timeline_of(rows, begin=0, end=length * MS)
    assert timeline is not None
    ends = [min(100 * part, length) for part in range(1, 11)]
    assert timeline.in_flight == tuple(
        sum(due + w < end <= due + w + took for due, w, took in loads) for end in ends
    )
    assert timeline.backlog == tuple(
        sum(due < end <= due + w for due, w, _ in loads) for end in ends
    )
    assert np.cumsum(timeline.started).tolist() == [
        sum(due + w < end for due, w, _ in loads) for end in ends
    ]


@given(st.lists(st.tuples(st.integers(0, 999), st.integers(0, 3000)), max_size=60))
def test_a_timeline_loses_nothing(loads: list[tuple[int, int]]) -> None:
    rows = samples(*(row(n, due, took) for n, (due, took) in enumerate(sorted(loads))))
    timeline = timeline_of(rows, begin=0, end=SECOND)
    assert timeline is not None
    assert sum(timeline.due) == sum(timeline.iterations.count) == len(loads)
    assert sum(timeline.started) == len(loads)
    assert timeline.in_flight[-1] == sum(due + took >= 1000 for due, took in loads)


def test_a_curve_goes_as_far_as_the_samples_do() -> None:
    curve = curve_of(ExactTimes(np.arange(1, 1001) * MS))
    assert curve.percents[:5] == (0, 10, 20, 30, 40)
    assert curve.percents[5:10] == (50, 55, 60, 65, 70)
    assert curve.percents[-1] == 100
    assert 99.8 < curve.percents[-2] < 100
    assert curve.values[5] == 500 * MS
    assert list(curve.values) == sorted(curve.values)
    assert curve.values[-1] == 1000 * MS
    assert curve_of(ExactTimes(np.empty(0, np.int64))).values == ()


def test_the_slowest_are_steps_where_there_are_steps() -> None:
    rows = samples(
        row(0, 1000, 900),
        row(0, 1000, 300, step=1),
        row(0, 1300, 600, step=1, outcome=Outcome.UNFINISHED, status=0),
        row(0, 1310, 700, step=1, outcome=Outcome.TIMEOUT, status=0),
        steps=("shop", "login"),
    )
    first, second = slowest_of(rows, begin=SECOND)
    assert (first.step, first.response_time, first.outcome) == ("login", 600 * MS, "unfinished")
    assert (first.due, first.status, second.response_time) == (0.3, 0, 300 * MS)


def test_the_slowest_are_ten_and_the_earlier_of_equal_ones() -> None:
    rows = samples(*(row(n, n, 100, waited=7 if n == 40 else 0) for n in range(50)))
    slowest = slowest_of(rows, begin=0)
    assert [slow.iteration for slow in slowest[:1]] == [40]
    assert (slowest[0].response_time, slowest[0].service_time) == (107 * MS, 100 * MS)
    assert len(slowest) == 10
    assert [s.response_time for s in slowest] == sorted(s.response_time for s in slowest)[::-1]
    assert slowest_of(samples(), begin=0) == ()


def _settled(times: list[float]) -> int | None:
    return settled_after(np.array(times, np.int64), np.arange(len(times)) * MS)


def test_a_run_that_settles_late_is_told() -> None:
    rng = np.random.default_rng(1)
    noise = rng.exponential(2, 5000)
    slow = np.where(np.arange(5000) < 1000, 30.0, 10.0)
    after = _settled(((slow + noise) * MS).tolist())
    assert after == pytest.approx(1000 * MS, rel=0.15)


@pytest.mark.parametrize("seed", range(20))
def test_noise_is_not_a_beginning(seed: int) -> None:
    rng = np.random.default_rng(seed)
    assert _settled((rng.lognormal(0, 1, 5000) * MS).tolist()) is None


def test_a_beginning_that_is_quick_is_no_matter_of_warm_up() -> None:
    assert _settled([1.0 * MS] * 1000 + [10.0 * MS] * 4000) is None


def test_too_short_a_run_does_not_tell() -> None:
    assert _settled([30.0 * MS] * 10 + [1.0 * MS] * 39) is None


@given(st.lists(st.integers(0, 10**11), min_size=1, max_size=50))
def test_a_histogram_counts_each_time_in_its_bin(times: list[int]) -> None:
    found = histogram_of(ExactTimes(np.array(times, np.int64)))
    assert found is not None
    bins = list(zip(found.edges, found.edges[1:], found.counts, strict=False))
    assert len(bins) == len(found.counts) == len(found.edges) - 1
    assert [count for _, _, count in bins] == [
        sum(low <= time < high for time in times) for low, high, _ in bins
    ]
    assert sum(found.counts) == len(times)
    assert found.counts[0]
    assert found.counts[-1]


@given(st.lists(st.integers(0, 10**11), min_size=1, max_size=50))
def test_a_sketch_has_the_same_histogram_but_for_what_lies_at_an_edge(times: list[int]) -> None:
    sketched = SketchedTimes()
    sketched.add(np.array(times, np.int64))
    exact, found = histogram_of(ExactTimes(np.array(times, np.int64))), histogram_of(sketched)
    assert exact is not None
    assert found is not None
    assert found.edges == exact.edges
    at_an_edge = sum(
        any(abs(time - edge) <= 0.0011 * edge + 1 for edge in exact.edges) for time in times
    )
    assert sum(found.counts) == len(times)
    assert (
        sum(abs(a - b) for a, b in zip(exact.counts, found.counts, strict=True)) <= 2 * at_an_edge
    )


def test_no_times_have_no_histogram() -> None:
    assert histogram_of(ExactTimes(np.array([], np.int64))) is None
