from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import BenchError
from bench.lag import fidelity, punctuality

rates = st.integers(1, 50_000)
origins = st.integers(0, 2**60)
delays = st.lists(st.integers(0, 10**9), min_size=1, max_size=200)


def due_times(count: int, rate: float) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.round(np.arange(count) * 1e9 / rate).astype(np.int64)


@given(rates, origins, st.integers(1, 500))
def test_punctual_arrivals_have_no_lag(rate: int, origin: int, count: int) -> None:
    seen = punctuality(origin + due_times(count, rate), rate=rate)
    assert seen.lag.max() <= 2  # nanoseconds, of rounding


@given(rates, origins, delays)
def test_one_punctual_arrival_makes_every_lag_known(
    rate: int, origin: int, late: list[int]
) -> None:
    delay = np.maximum.accumulate(np.array([0, *late]))[::-1]  # ends with a punctual one
    stamps = due_times(len(delay), rate) + delay
    order = np.argsort(stamps, kind="stable")
    if (order != np.arange(len(order))).any():
        return  # one overtook another: counted, not matched
    seen = punctuality(origin + stamps, rate=rate)
    assert seen.lag == pytest.approx(delay, abs=2)


@given(rates, origins, delays, st.integers(0, 50))
def test_no_lag_is_below_zero_and_no_due_time_comes_twice(
    rate: int, origin: int, late: list[int], missing: int
) -> None:
    stamps = np.sort(origin + due_times(len(late), rate) + np.array(late))
    seen = punctuality(stamps, rate=rate, missing=missing)
    assert seen.lag.min() >= 0
    slots = np.round(seen.due * rate / 1e9).astype(int)
    assert (np.diff(slots) >= 1).all()
    assert slots[-1] <= len(late) - 1 + missing


@given(rates, origins, delays)
def test_a_common_delay_changes_nothing(rate: int, origin: int, late: list[int]) -> None:
    stamps = np.sort(due_times(len(late), rate) + np.array(late))
    there = punctuality(stamps, rate=rate).lag
    assert punctuality(origin + stamps, rate=rate).lag == pytest.approx(there)


@given(rates, st.sets(st.integers(1, 299), max_size=100))
def test_requests_that_were_left_out_make_no_others_late(rate: int, left_out: set[int]) -> None:
    kept = [i for i in range(300) if i not in left_out]
    seen = punctuality(due_times(300, rate)[kept], rate=rate, missing=len(left_out))
    assert seen.lag.max() <= 2
    assert np.round(seen.due * rate / 1e9).astype(int).tolist() == kept


def test_a_delay_that_is_made_up_is_a_delay_whatever_is_missing() -> None:
    stamps = due_times(1000, 1000)
    stamps[200:300] = np.maximum(stamps[200:300], stamps[299])
    whole = punctuality(stamps, rate=1000)
    short = punctuality(stamps[:-50], rate=1000, missing=50)
    assert whole.lag[200] == pytest.approx(99e6)
    assert short.lag[200] == pytest.approx(99e6)


def test_the_figures_of_a_load_with_a_start_and_a_gap() -> None:
    """10 s at 100/s; the first second late, one request 50 ms late, the last second left out."""
    stamps = due_times(1000, 100)[:900]
    stamps[:100] += 5_000_000
    stamps[500] += 9_000_000
    seen = fidelity(stamps, rate=100, seconds=10, start=1)
    assert (seen.offered, seen.arrived, seen.missing, seen.in_time) == (1000, 900, 100, 900)
    assert (seen.p50, seen.p99) == pytest.approx((0, 0), abs=2)
    assert seen.max == pytest.approx(9e6)
    assert seen.curve[-1] == seen.max
    assert seen.achieved_rate == pytest.approx(100)
    assert fidelity(stamps, rate=100, seconds=10).p99 == pytest.approx(5e6)


def test_what_comes_after_the_end_is_not_in_time() -> None:
    stamps = due_times(100, 100)
    stamps[90:] += 200_000_000
    assert fidelity(stamps, rate=100, seconds=1).in_time == 90
    assert fidelity(stamps, rate=100, seconds=1, allowance=200_000_000).in_time == 100


@pytest.mark.parametrize("arrivals", [0, 1])
def test_nothing_can_be_said_of_nothing(arrivals: int) -> None:
    with pytest.raises(BenchError, match="to measure"):
        fidelity(due_times(arrivals, 10), rate=10, seconds=1)
