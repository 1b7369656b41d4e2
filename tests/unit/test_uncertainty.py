from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_certload.stats.percentile import percentile
from pytest_certload.stats.uncertainty import (
    Interval,
    _ranks,
    interval,
    intervals,
    share_interval,
    smallest_count,
)

times = st.lists(st.integers(0, 10**12), min_size=1, max_size=200).map(
    lambda values: np.array(values, np.int64)
)
percents = st.sampled_from([0.0, 1.0, 50.0, 90.0, 95.0, 99.0, 99.9, 100.0])


@pytest.mark.parametrize(
    ("percent", "count"),
    [(50, 2), (90, 10), (95, 20), (99, 100), (99.9, 1000), (1, 100), (0, 1), (100, 1)],
)
def test_as_many_as_keep_it_from_being_the_greatest(percent: float, count: int) -> None:
    assert smallest_count(percent) == count


@pytest.mark.parametrize("percent", [-1, 101])
def test_a_percentage_that_is_none(percent: float) -> None:
    with pytest.raises(ValueError, match="is not a percentage"):
        smallest_count(percent)
    with pytest.raises(ValueError, match="is not a percentage"):
        interval(np.empty(0, np.int64), percent)


def test_without_samples() -> None:
    assert interval(np.empty(0, np.int64), 95) == Interval(low=None, high=None, effective=0)


@given(times, percents)
def test_holds_the_estimate_and_values_that_were_measured(
    values: npt.NDArray[np.int64], percent: float
) -> None:
    found = interval(values, percent)
    estimate = percentile(values, percent)
    assert estimate is not None
    assert 1 <= found.effective <= len(values)
    if found.low is not None:
        assert found.low in values
        assert found.low <= estimate
    if found.high is not None:
        assert found.high in values
        assert found.high >= estimate


def test_independent_samples_count_as_they_are() -> None:
    values = np.random.default_rng(1).permutation(10_000)
    found = interval(values, 50)
    assert found.effective > 6_500
    # Half a percent up and down: the binomial's 1.96 standard deviations.
    assert found.low == pytest.approx(5000 - 98, abs=60)
    assert found.high == pytest.approx(5000 + 98, abs=60)


def test_samples_that_come_in_fives_count_a_fifth() -> None:
    values = np.random.default_rng(2).permutation(4_000).repeat(5)
    assert interval(values, 50).effective == pytest.approx(4_000, rel=0.25)


def test_the_order_is_what_makes_them_alike() -> None:
    values = np.random.default_rng(3).permutation(4_000).repeat(5)
    mixed = np.random.default_rng(4).permutation(values)
    assert interval(mixed, 95).effective > 3 * interval(values, 95).effective


def test_few_samples_bound_no_high_percentile() -> None:
    found = interval(np.arange(100), 99)
    assert found.high is None
    assert found.low is not None


def test_all_the_same() -> None:
    assert interval(np.full(1000, 7), 95) == Interval(low=7, high=7, effective=1000)


def test_very_many_are_measured_in_blocks() -> None:
    generator = np.random.default_rng(5)
    values = generator.permutation(200_000).repeat(5)
    assert interval(values, 50).effective == pytest.approx(200_000, rel=0.25)


def test_the_ranks_are_those_of_the_binomial() -> None:
    # 95 % of 1,000 throws of a coin lie between 469 and 531.
    values = np.random.default_rng(6).permutation(1_000)
    found = interval(values, 50)
    if found.effective == 1_000:
        assert (found.low, found.high) == (468, 531)
    assert math.isclose(found.confidence, 0.95)


@given(st.integers(1, 300), st.sampled_from([1.0, 50.0, 95.0, 99.0, 99.9]))
def test_ranks_leave_out_as_much_as_they_may(count: int, percent: float) -> None:
    below, above = _ranks(count, percent)
    share = percent / 100
    chances = [
        math.comb(count, k) * share**k * (1 - share) ** (count - k) for k in range(count + 1)
    ]
    # So many of them are fewer than ``below``, or ``above`` and more, in one of forty runs at either side.
    assert sum(chances[:below]) < 0.025 + 1e-9 <= sum(chances[: below + 1]) + 2e-9
    assert sum(chances[:above]) > 0.975 - 1e-9 >= sum(chances[: above - 1]) - 2e-9


def test_of_very_many_the_ranks_are_those_of_the_normal_distribution() -> None:
    width = 1.96 * math.sqrt(10_000_000 * 0.95 * 0.05)
    assert _ranks(10_000_000, 95) == pytest.approx((9_500_000 - width, 9_500_000 + width), abs=3)


class TestTimesThatWander:
    def wandering(self, count: int, *, by: float, noise: float) -> npt.NDArray[np.int64]:
        """20 ms, up and down again four times, and a little noise."""
        random = np.random.default_rng(7)
        wave = np.sin(np.arange(count) * 8 * np.pi / count)
        times = 20 + by * wave + random.gamma(2, noise, count)
        return (times * 1_000_000).astype(np.int64)

    def test_are_known_well_though_they_are_all_alike(self) -> None:
        values = self.wandering(10_000, by=0.1, noise=0.02)
        found, p95 = interval(values, 95), percentile(values, 95)
        assert found.effective < 72, "by ranks nothing would bound it above"
        assert p95 is not None
        assert found.low is not None
        assert found.high is not None
        assert p95 * 0.98 < found.low <= p95 <= found.high < p95 * 1.02

    def test_show_beneath_noise_that_hides_them_from_one_sample_to_the_next(self) -> None:
        still, moving = (
            interval(self.wandering(10_000, by=by, noise=0.1), 95) for by in (0.0, 0.05)
        )
        assert still.effective > 5_000
        assert moving.effective < 2_500

    def test_a_disturbed_part_stretches_the_interval_to_itself_and_not_far_beyond(self) -> None:
        values = self.wandering(10_000, by=0.1, noise=0.02)
        values[4_000:4_400] += 5_000_000
        found = interval(values, 95)
        assert found.high is not None
        assert found.high < 26_500_000

    @given(st.integers(2_000, 4_000), st.floats(0, 1), st.integers(0, 2**32 - 1))
    def test_the_estimate_lies_among_the_parts(self, count: int, drift: float, seed: int) -> None:
        random = np.random.default_rng(seed)
        values = (20 + drift * np.cumsum(random.standard_normal(count)) / 10) * 1_000_000
        times = np.maximum(values, 0).astype(np.int64) + random.integers(0, 1_000, count)
        found, estimate = interval(times, 95), percentile(times, 95)
        assert estimate is not None
        assert found.low is None or 0 < found.low <= estimate
        assert found.high is not None
        assert estimate <= found.high

    def test_too_few_are_not_cut(self) -> None:
        found = interval(np.arange(1, 1_900) * 1_000, 95)
        assert found.high is None


def test_several_intervals_are_those_that_each_has_by_itself() -> None:
    values = np.random.default_rng(8).permutation(5_000)
    together = intervals(values, [50, 95, 99])
    assert together == {percent: interval(values, percent) for percent in (50, 95, 99)}


def test_a_share_of_none_and_of_all_is_not_certain() -> None:
    low, high = share_interval(0, 1000)
    assert low == 0
    assert high == pytest.approx(0.00383, abs=1e-5)
    low, high = share_interval(1000, 1000)
    assert low == pytest.approx(1 - 0.00383, abs=1e-5)
    assert high == 1


@given(st.integers(1, 10**6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_a_share_lies_in_its_interval(counts: tuple[int, int]) -> None:
    found, count = counts
    low, high = share_interval(found, count)
    assert 0 <= low <= found / count <= high <= 1


@pytest.mark.parametrize("percent", [50, 95, 99, 99.9])
def test_the_estimate_lies_between_the_ends_however_alike_samples_are(percent: float) -> None:
    values = np.arange(10_000)
    found, estimate = interval(values, percent), percentile(values, percent)
    assert found.effective < 100
    assert estimate is not None
    assert found.low is None or found.low <= estimate
    assert found.high is None or found.high >= estimate
