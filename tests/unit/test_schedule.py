from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pytest_certload.engine.schedule import constant, count_due
from pytest_certload.units import Duration, Rate, minutes, parse_rate, seconds

rates = st.fractions(Fraction(1, 1000), Fraction(5000), max_denominator=10_000)
durations = st.integers(1, 3_000_000_000).map(Duration)


@given(rates, durations)
def test_each_arrival_is_where_exact_arithmetic_puts_it(rate: Fraction, duration: Duration) -> None:
    due = constant(Rate(rate), duration)
    assert due.dtype == np.int64
    exact = [int(i * 10**9 / rate) for i in range(len(due))]
    assert due.tolist() == exact


@given(rates, durations)
def test_the_window_is_filled_and_not_left(rate: Fraction, duration: Duration) -> None:
    due = constant(Rate(rate), duration)
    assert len(due) == count_due(Rate(rate), duration)
    assert due[0] == 0
    assert due[-1] < duration
    # One more would lie outside.
    assert Fraction(len(due)) / rate * 10**9 >= duration


@given(rates, st.integers(1, 10**9).map(Duration), st.integers(1, 10**9).map(Duration))
def test_a_longer_window_only_adds(rate: Fraction, one: Duration, more: Duration) -> None:
    short = constant(Rate(rate), one)
    longer = constant(Rate(rate), Duration(one + more))
    assert longer[: len(short)].tolist() == short.tolist()


def test_the_shipped_loads_have_their_counts() -> None:
    assert count_due(parse_rate(167), minutes(5)) == 50_100
    assert count_due(parse_rate(5), minutes(5)) == 1_500
    assert count_due(parse_rate("100/min"), minutes(5)) == 500


def test_a_rate_with_very_many_digits_does_not_overflow() -> None:
    rate = Rate(Fraction(10**18 + 9, 10**16 + 61))
    due = constant(rate, seconds(100))
    assert due[-1] == int((len(due) - 1) * 10**9 / rate.per_second)
    assert (np.diff(due) > 0).all()
