from __future__ import annotations

import math
import random
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_certload.stats.percentile import counted_below, percentile, percentiles, rank

times = st.lists(st.integers(0, 2**62), min_size=1, max_size=200)
percents = st.one_of(st.integers(0, 100).map(float), st.decimals(0, 100, places=3).map(float))


@given(times, percents)
def test_at_least_so_many_percent_are_not_above(values: list[int], percent: float) -> None:
    found = percentile(np.array(values, np.int64), percent)
    assert found in values
    share = Fraction(sum(v <= found for v in values), len(values)) * 100
    assert share >= Fraction(str(percent))


@given(times, percents)
def test_no_smaller_value_would_do(values: list[int], percent: float) -> None:
    found = percentile(np.array(values, np.int64), percent)
    smaller = [v for v in values if found is not None and v < found]
    assert Fraction(len(smaller), len(values)) * 100 < Fraction(str(percent)) or not smaller


@given(times, percents)
def test_order_does_not_matter(values: list[int], percent: float) -> None:
    shuffled = random.Random(1).sample(values, len(values))
    assert percentile(np.array(values, np.int64), percent) == percentile(
        np.array(sorted(shuffled), np.int64), percent
    )


@given(times)
def test_the_ends_are_minimum_and_maximum(values: list[int]) -> None:
    column = np.array(values, np.int64)
    assert (percentile(column, 0), percentile(column, 100)) == (min(values), max(values))


@pytest.mark.parametrize(
    ("count", "percent", "position"),
    [(1, 50, 1), (4, 50, 2), (100, 95, 95), (100, 99, 99), (101, 99, 100), (1000, 99.9, 999)],
)
def test_ranks(count: int, percent: float, position: int) -> None:
    assert rank(count, percent) == position


def test_floating_point_would_be_one_too_high() -> None:
    assert math.ceil(99.9 / 100 * 1000) == 1000
    assert rank(1000, 99.9) == 999


@pytest.mark.parametrize("percent", [-1, 100.5, float("nan")])
def test_what_is_no_percentage(percent: float) -> None:
    for values in ([], [1]):
        with pytest.raises(ValueError, match="is not a percentage from 0 to 100"):
            percentile(np.array(values, np.int64), percent)


def test_no_samples_have_no_percentile() -> None:
    assert percentile(np.array([], np.int64), 95) is None


@given(times, st.lists(percents, min_size=1, max_size=5))
def test_several_are_as_each_by_itself(values: list[int], wanted: list[float]) -> None:
    column = np.array(values, np.int64)
    assert percentiles(column, wanted) == [percentile(column, percent) for percent in wanted]


def test_several_of_no_samples() -> None:
    assert percentiles(np.empty(0, np.int64), [50, 95]) == [None, None]
    with pytest.raises(ValueError, match="is not a percentage"):
        percentiles(np.empty(0, np.int64), [50, 101])


@given(times, st.lists(st.integers(0, 2**62), min_size=1, max_size=9).map(sorted))
def test_counted_below_edges(values: list[int], edges: list[int]) -> None:
    found = counted_below(np.array(values, np.int64), edges)
    assert found.tolist() == [sum(value < edge for value in values) for edge in edges]
